"""Checkpoints: official names both ways, clear errors, and nothing lost."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from deeplab import common, model
from deeplab.testing import golden, tiny
from deeplab.utils import checkpoint, checkpoint_files, checkpoint_integrity, stored_options

_OPTIONS = common.ModelOptions(depth_multiplier=0.1, aspp_convs_filters=8, num_classes=3)


def _network(**changes) -> model.DeepLab:
    """Return a network with fewer blocks than the official one, and without random weights."""
    with tiny.minimal():
        return model.DeepLab(_OPTIONS.replace(**changes), random_weights=False)


@pytest.fixture(scope="module")
def net() -> model.DeepLab:
    network = _network()
    golden.assign(checkpoint.official_variables(network))
    return network


@pytest.fixture(scope="module")
def with_decoder() -> model.DeepLab:
    return _network(decoder_output_stride=(4,))


@pytest.fixture(scope="module")
def of_four_classes() -> model.DeepLab:
    return _network(num_classes=4)


@pytest.fixture(scope="module")
def official() -> model.DeepLab:
    """All of the official network that the golden files are about."""
    return model.DeepLab(common.ModelOptions(depth_multiplier=0.35), random_weights=False)


def _saved(net: model.DeepLab, folder: pathlib.Path, step: int = 7) -> str:
    return checkpoint.save(str(folder), step, checkpoint.official_variables(net))


def test_a_checkpoint_holds_official_names_shapes_and_the_step(official, tmp_path):
    configuration = golden.configuration("mnv2_dm0.35_os16")
    reader = tf.train.load_checkpoint(_saved(official, tmp_path, step=1234))
    shapes = {name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()}
    assert shapes == {**configuration.variables, "global_step": ()}
    assert reader.get_tensor("global_step") == 1234
    assert reader.get_tensor("global_step").dtype == np.int64


@pytest.mark.parametrize("place", ["a [x]*?/run", "ram://checkpoint_test/a [x]*?/run"])
def test_a_folder_whose_path_looks_like_a_pattern(tmp_path, place):
    folder = place if "://" in place else str(tmp_path / place)
    for step in (1, 2):
        checkpoint.save(folder, step, {"value": tf.Variable(float(step))})
    reader = checkpoint.read(folder)
    assert reader.get_tensor("value") == 2.0
    assert checkpoint.global_step(reader) == 2
    assert checkpoint_integrity.newest_whole(folder) == f"{folder}/model.ckpt-2"


def test_an_official_checkpoint_is_restored(official):
    folder = golden.shared("golden/_misc/ckpt_mnv2_dm0.35_fill")
    path = str(folder / "model.ckpt")
    checkpoint.restore(official, path)
    for name, variable in checkpoint.official_variables(official).items():
        np.testing.assert_array_equal(variable.numpy(), golden.fill(name, tuple(variable.shape)))
    assert checkpoint.global_step(checkpoint.read(path)) == 1234


def test_a_restore_that_lacks_variables_lists_them_and_changes_nothing(net, with_decoder, tmp_path):
    path = _saved(net, tmp_path)
    before = [variable.numpy() for variable in with_decoder.weights]
    with pytest.raises(ValueError, match=r"lacks 25 of \d+ variables: decoder/.*--model_variant"):
        checkpoint.restore(with_decoder, path)
    for variable, value in zip(with_decoder.weights, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_a_restore_with_other_shapes_names_the_flag(net, of_four_classes, tmp_path):
    path = _saved(net, tmp_path)
    with pytest.raises(ValueError, match=r"logits/semantic/weights \(1, 1, 8, 3\) there"):
        checkpoint.restore(of_four_classes, path)


def test_initializing_with_another_number_of_classes_names_the_flag(net, of_four_classes, tmp_path):
    path = _saved(net, tmp_path)
    with pytest.raises(ValueError, match="--initialize_last_layer=false"):
        checkpoint.initialize(of_four_classes, path)
    checkpoint.initialize(of_four_classes, path, excluded_scopes=("logits",))
    ours, theirs = map(checkpoint.official_variables, (of_four_classes, net))
    for name, variable in ours.items():
        if not name.startswith("logits"):
            np.testing.assert_array_equal(variable.numpy(), theirs[name].numpy())


def test_initializing_says_what_was_taken_skipped_and_missing(net, with_decoder, tmp_path, caplog):
    path = _saved(net, tmp_path)
    with caplog.at_level("INFO", logger="absl"):
        checkpoint.initialize(with_decoder, path, excluded_scopes=("logits",))
    assert f"{len(net.weights) - 2} variables initialized from {path}" in caplog.text
    assert "MobilenetV2/Conv/BatchNorm/gamma (3,)" in caplog.text
    assert "logits/semantic/biases (3,)" in caplog.text
    assert "decoder/feature_projection0/weights (1, 1," in caplog.text


def test_initializing_from_another_network_says_so(net, tmp_path):
    checkpoint.save(str(tmp_path), 1, {"resnet_v1_50/conv1/weights": tf.zeros((2, 2))})
    with pytest.raises(ValueError, match="has none of the network's variables.*resnet_v1_50"):
        checkpoint.initialize(net, str(tmp_path))


def test_the_newest_checkpoints_are_kept(net, tmp_path):
    for step in range(1, 5):
        checkpoint.save(str(tmp_path), step, checkpoint.official_variables(net), max_to_keep=2)
    assert {path.name for path in tmp_path.glob("*.index")} == {
        "model.ckpt-3.index",
        "model.ckpt-4.index",
    }
    assert checkpoint_files.latest(str(tmp_path)) == str(tmp_path / "model.ckpt-4")


def test_a_folder_may_be_given_relative_to_the_working_directory(net, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    variables = checkpoint.official_variables(net)
    for step in (1, 2):
        checkpoint.save("runs/train", step, variables)
    assert checkpoint_files.latest("runs/train") == "runs/train/model.ckpt-2"
    state = tf.train.get_checkpoint_state(str(tmp_path / "runs/train"))
    assert [pathlib.Path(path).name for path in state.all_model_checkpoint_paths] == [
        "model.ckpt-1",
        "model.ckpt-2",
    ]


def test_a_folder_of_checkpoints_can_be_moved(net, tmp_path):
    _saved(net, tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    checkpoint.restore(net, str(tmp_path / "there"))


def test_a_save_that_is_cut_off_leaves_the_last_checkpoint(net, tmp_path, monkeypatch):
    """The state file is replaced only after the new files are whole."""
    path = _saved(net, tmp_path, step=1)

    def die(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.files, "write_text", die)
    with pytest.raises(KeyboardInterrupt):
        _saved(net, tmp_path, step=2)
    assert checkpoint_files.latest(str(tmp_path)) == path
    checkpoint.restore(net, str(tmp_path))


@pytest.mark.parametrize("name", ["nothing", "model.ckpt-9"])
def test_a_checkpoint_that_is_not_there_says_what_is(net, tmp_path, name):
    _saved(net, tmp_path)
    (tmp_path / "checkpoint").unlink()
    with pytest.raises(FileNotFoundError, match="holds model.ckpt-7"):
        checkpoint.read(str(tmp_path / name))


def test_a_truncated_checkpoint_is_one_error(net, tmp_path):
    path = _saved(net, tmp_path)
    index = pathlib.Path(f"{path}.index")
    index.write_bytes(index.read_bytes()[:100])
    with pytest.raises(ValueError, match="model.ckpt-7 cannot be read"):
        checkpoint.read(path)


def test_damaged_data_are_one_error(net, tmp_path):
    path = _saved(net, tmp_path)
    data = pathlib.Path(f"{path}.data-00000-of-00001")
    whole = data.read_bytes()
    for content in (whole[:1000], whole[:1000] + b"x" + whole[1001:]):
        data.write_bytes(content)
        with pytest.raises(ValueError, match="model.ckpt-7 is damaged: "):
            checkpoint.restore(net, path)


def test_options_travel_with_the_checkpoint(net, tmp_path):
    assert checkpoint.load_options(str(tmp_path)) is None
    stored_options.save(str(tmp_path), _OPTIONS)
    assert checkpoint.load_options(str(tmp_path)) == _OPTIONS
    assert checkpoint.load_options(_saved(net, tmp_path)) == _OPTIONS


def test_a_new_folder_has_no_options_whatever_lies_above_it(tmp_path):
    stored_options.save(str(tmp_path), _OPTIONS)
    assert checkpoint.load_options(str(tmp_path / "new")) is None


def test_options_that_cannot_be_read_name_the_file(tmp_path):
    (tmp_path / common.OPTIONS_FILE).write_text('{"num_clases": 3}')
    with pytest.raises(ValueError, match=r"model_options.json: unknown model options \['num_clas"):
        checkpoint.load_options(str(tmp_path))
