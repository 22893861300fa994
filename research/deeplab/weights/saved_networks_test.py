"""Networks that Keras saved are taken where checkpoints are; other files say what they are."""

import io
import json
import logging
import pathlib
import shutil
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab import model
from deeplab.testing import golden, tiny
from deeplab.utils import checkpoint, checkpoint_files, stored_options
from deeplab.weights import saved_networks

_OPTIONS = tiny.OPTIONS.replace(decoder_output_stride=(4,), decoder_filters=8)


@pytest.fixture(scope="module", autouse=True)
def shallow():
    with tiny.shallow():
        yield


@pytest.fixture(scope="module")
def net() -> model.DeepLab:
    net = model.DeepLab(_OPTIONS, random_weights=False)
    golden.assign(checkpoint.official_variables(net))
    net.compile("adam", "mse")
    net.optimizer.build(net.trainable_variables)
    net.optimizer.iterations.assign(7)
    return net


@pytest.fixture(scope="module")
def fresh() -> model.DeepLab:
    return model.DeepLab(_OPTIONS, random_weights=False)


@pytest.fixture(scope="module")
def folder(net, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("saved")
    net.save(folder / "net.keras")
    net.save_weights(folder / "net.weights.h5")
    return folder


def _values(net: model.DeepLab) -> dict[str, np.ndarray]:
    return {name: each.numpy() for name, each in checkpoint.official_variables(net).items()}


def _forget(net: model.DeepLab) -> None:
    for variable in net.weights:
        variable.assign(tf.zeros_like(variable))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["net.keras", "net.weights.h5"])
def test_a_saved_network_is_restored_with_its_step(net, fresh, folder, name):
    path = str(folder / name)
    assert checkpoint_files.latest(path) == path
    for load in (checkpoint.restore, checkpoint.initialize):
        _forget(fresh)
        step = load(fresh, path)
        assert step in (None, 7)
        restored = _values(fresh)
        for variable, value in _values(net).items():
            np.testing.assert_array_equal(restored[variable], value)


def test_the_options_are_in_the_file_or_beside_it(folder, tmp_path):
    assert checkpoint.load_options(str(folder / "net.keras")) == _OPTIONS
    path = str(shutil.copy(folder / "net.weights.h5", tmp_path))
    assert checkpoint.load_options(path) is None
    reader = checkpoint.read(path)
    with pytest.raises(ValueError, match=f"^{path} holds weights without the options of their"):
        reader.get_variable_to_shape_map()
    stored_options.save(str(tmp_path), _OPTIONS)
    assert checkpoint.load_options(path) == _OPTIONS
    assert checkpoint.read(path).has_tensor("logits/semantic/weights")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["net.keras", "net.weights.h5"])
def test_other_classes_start_from_all_but_the_last_layer(net, folder, name):
    other = model.DeepLab(_OPTIONS.replace(num_classes=3), random_weights=False)
    path = str(folder / name)
    with pytest.raises(ValueError, match="holds other shapes than the network: logits/semantic/w"):
        checkpoint.initialize(other, path)
    checkpoint.initialize(other, path, [model.LOGITS_SCOPE])
    values = _values(net)
    for variable, value in _values(other).items():
        if not variable.startswith(model.LOGITS_SCOPE):
            np.testing.assert_array_equal(value, values[variable])


@pytest.mark.slow
def test_a_forgotten_decoder_is_noticed(folder, caplog):
    with caplog.at_level(logging.WARNING, logger="absl"):
        other = model.DeepLab(tiny.OPTIONS)
        for name in ("net.weights.h5", "net.keras"):
            checkpoint.restore(other, str(folder / name))
            assert "variables that the network does not have" in caplog.text
            caplog.clear()


@pytest.mark.slow
def test_a_file_of_a_remote_folder(net, fresh, folder):
    path = "ram://saved/net.weights.h5"
    tf.io.gfile.makedirs("ram://saved")
    tf.io.gfile.copy(str(folder / "net.weights.h5"), path, overwrite=True)
    _forget(fresh)
    checkpoint.restore(fresh, path)
    np.testing.assert_array_equal(fresh.weights[0], net.weights[0])


def _zip(**content: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, value in content.items():
            archive.writestr(name.replace("__", "."), value)
    return data.getvalue()


def _classifier(path: pathlib.Path) -> None:
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="top")]).save(path)


def _named(path: pathlib.Path, content: bytes | None) -> str:
    path.write_bytes(content) if content is not None else _classifier(path)
    return str(path)


@pytest.mark.parametrize(
    ("name", "content", "meaning"),
    [
        ("net.pth", _zip(archive__data__pkl=b"", **{"archive/data.pkl": b""}), "a file of PyTorch"),
        ("net.pt", b"\x80\x02", "a file of PyTorch"),
        ("net.bin", b"\x80\x02}q\x00", "a pickle of PyTorch or Python"),
        ("model.ckpt", b"\x80\x02}q\x00", "a pickle of PyTorch or Python"),
        ("net.tflite", b"\x1c\0\0\0TFL3", "a TensorFlow Lite model"),
        ("net", b"\x1c\0\0\0TFL3", "a TensorFlow Lite model"),
        ("frozen.pb", b"\n\x10", "a graph, such as an export"),
        ("net.onnx", b"\x08\x07", "an ONNX model"),
        ("net.safetensors", b"{}", "a file of safetensors"),
        ("model.ckpt-5.meta", b"", "a TensorFlow 1 graph, whose weights are beside it"),
        ("net.tar.gz", b"\x1f\x8b", "a compressed archive: unpack it"),
        ("weights", b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    ],
)
def test_a_file_of_another_maker_says_what_it_is(tmp_path, name, content, meaning):
    path = _named(tmp_path / name, content)
    with pytest.raises(ValueError, match="give a checkpoint") as raised:
        checkpoint.read(path)
    assert str(raised.value).startswith(f"{path} is {meaning}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "meaning"),
    [
        ("top.keras", None, "holds a Sequential of Keras, which is not a DeepLab"),
        ("top.h5", None, "holds a network of Keras that is not a DeepLab: its first parts are "),
        ("bad.keras", b"no archive", "is not a file of Keras, or is damaged: "),
        ("bad.h5", b"no HDF5", "is not a weights file of Keras, or is damaged: "),
        ("other.keras", _zip(data__pkl=b""), "is not a file of Keras, or is damaged: "),
        ("text.keras", _zip(config__json=b"{"), ", config.json is not JSON: "),
        ("list.keras", _zip(config__json=b"[]"), "holds a None of Keras, which is not a DeepLab"),
    ],
)
def test_a_file_of_keras_that_is_no_deeplab_says_so(fresh, tmp_path, name, content, meaning):
    path = _named(tmp_path / name, content)
    for use in (checkpoint.read, lambda path: checkpoint.initialize(fresh, path)):
        with pytest.raises(ValueError, match=path) as raised:
            use(path)
        assert f"{path}{'' if meaning[0] == ',' else ' '}{meaning}" in str(raised.value)
        assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_a_damaged_file_of_a_deeplab_is_one_line(folder, tmp_path):
    data = bytearray((folder / "net.keras").read_bytes())
    start = data.index(b"model.weights.h5") + 4000
    data[start : start + 3000] = bytes(3000)
    path = tmp_path / "net.keras"
    path.write_bytes(data)
    for read in (lambda: checkpoint.read(str(path)).has_tensor("x"),):
        with pytest.raises(ValueError, match=f"^{path} .*damaged") as raised:
            read()
        assert "\n" not in str(raised.value)
    path = tmp_path / "net.weights.h5"
    path.write_bytes((folder / "net.weights.h5").read_bytes()[:-5000])
    with pytest.raises(ValueError, match=f"^{path} .*damaged"):
        checkpoint.read(str(path), _OPTIONS).has_tensor("x")


def test_missing_files_and_bad_names(fresh, folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint at .*none.keras"):
        checkpoint.read(str(tmp_path / "none.keras"))
    path = str(shutil.copy(folder / "net.weights.h5", tmp_path / "net.h5"))
    with pytest.raises(ValueError, match=f"^{path} .*: rename it to end in .weights.h5"):
        checkpoint.read(path)


def test_options_of_a_later_version_are_one_line(folder, tmp_path):
    config = json.loads(zipfile.ZipFile(folder / "net.keras").read("config.json"))
    config["config"]["options"] = '{"from_the_future": 1}'
    path = tmp_path / "net.keras"
    path.write_bytes(_zip(config__json=json.dumps(config).encode()))
    with pytest.raises(ValueError, match=f"^{path}, config.json: .*unknown model options"):
        saved_networks.stored_options(str(path))


def test_the_weights_of_other_networks_are_not_taken(fresh, tmp_path):
    path = tmp_path / "net.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_group("backbone").create_dataset("vars", data=np.zeros(3))
    with pytest.raises(ValueError, match=f"^{path} holds another network than the flags"):
        checkpoint.restore(fresh, str(path))
