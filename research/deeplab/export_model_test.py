"""The export script: from flags and a checkpoint to an export."""

import os

import numpy as np
import pytest
import tensorflow as tf

from deeplab import export_model, model
from deeplab.core import dense_crf, depthwise
from deeplab.core.options import CrfOptions
from deeplab.datasets import descriptors
from deeplab.export import comparison, runtimes, saved_model
from deeplab.testing import tiny
from deeplab.utils import checkpoint


@pytest.fixture(scope="module", autouse=True)
def _cheap():
    with tiny.shallow(), tiny.unoptimized():
        yield


@pytest.fixture(scope="module")
def net():
    return tiny.shared_network()


@pytest.fixture(scope="module")
def trained(net, tmp_path_factory):
    """A checkpoint of ours, which says what it holds."""
    return tiny.save(net, tmp_path_factory.mktemp("trained"), 7)


@pytest.fixture(scope="module")
def official(net, tmp_path_factory):
    """A checkpoint that does not say what it holds, as the official ones."""
    return tiny.save(net, tmp_path_factory.mktemp("official"), 7, with_options=False)


@pytest.fixture
def dataset(tmp_path):
    path = tmp_path / "data" / "tiny.json"
    tiny.DATASET.save(path)
    return path


def export(checkpoint_path, path, *more):
    flags = (f"--checkpoint_path={checkpoint_path}", f"--export_path={path}")
    tiny.run(export_model, *flags, *more)


class TestOptions:
    @pytest.mark.slow
    def test_the_trained_ones_are_taken(self, trained, dataset, tmp_path):
        path = tmp_path / "export" / "1"
        export(os.path.dirname(trained), path, f"--dataset={dataset}")
        assert checkpoint.load_options(str(path)) == tiny.OPTIONS
        assert descriptors.load(str(path / "dataset.json")) == tiny.DATASET
        assert "0 ground, 1 disc, 2 square, 3 star" in (path / "MODEL_CARD.md").read_text()
        assert "serving_default" in tf.saved_model.load(str(path)).signatures

    @pytest.mark.slow
    def test_a_frozen_graph_says_its_classes_and_is_compared(
        self, trained, dataset, tmp_path, capsys
    ):
        label = np.zeros((40, 50), np.uint8)
        records = tiny.write_records(tmp_path / "records", {"a": (tiny.picture(40, 50), label)})
        path = tmp_path / "graph.pb"
        export(trained, path, f"--dataset={dataset}", f"--test_images={records}/val")
        assert runtimes.open_network(str(path)).descriptor == tiny.DATASET
        text = capsys.readouterr().out
        assert f"{path}: 100.00% of the pixels of 1 image have the same label, mIoU " in text

    @pytest.mark.slow
    def test_an_official_checkpoint_needs_the_flags(self, net, official, tmp_path):
        path = tmp_path / "graph.pb"
        flags = ("--num_classes=4", "--crop_size=40", "--crop_size=33", *tiny.NETWORK_FLAGS)
        export(official, path, *flags, "--save_inference_graph")
        assert sorted(os.listdir(tmp_path)) == [
            *("graph.MODEL_CARD.md", "graph.pb", "inference_graph.pbtxt")
        ]
        image = tiny.picture(21, 30)[np.newaxis]
        with comparison.open_frozen_graph(str(path)) as run:
            outputs = run(image)
        assert outputs["RawSemanticPredictions"].shape == (1, 40, 33)
        padded = np.full((1, 40, 33, 3), 127.5, np.float32)
        padded[:, :21, :30] = image
        labels, _ = model.predict_labels(net, padded)
        np.testing.assert_array_equal(outputs["SemanticPredictions"], labels[:, :21, :30])
        assert len(np.unique(labels)) > 1

    def test_official_defaults(self):
        values = tiny.parse(export_model)
        assert (values.output_stride, values.num_classes, values.crop_size) == (8, 21, [513, 513])

    @pytest.mark.slow
    def test_scales_and_flips_are_baked_in(self, net, trained, tmp_path):
        path = tmp_path / "graph.pb"
        scales = ("--inference_scales=1.0", "--inference_scales=1.5")
        export(trained, path, *scales, "--add_flipped_images")
        image = tiny.picture(33, 33)[np.newaxis]
        with comparison.open_frozen_graph(str(path)) as run:
            probabilities = run(image)["SemanticProbabilities"]
        _, expected = model.predict_labels(net, image, (1.0, 1.5), add_flipped_images=True)
        np.testing.assert_allclose(probabilities, expected, atol=1e-5)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["1", "graph.pb"])
    def test_a_crf_is_baked_in(self, net, trained, tmp_path, name):
        """The final outputs are refined, inside of the padding; the raw ones are the network's."""
        path = tmp_path / name
        with tiny.few_signatures():
            export(trained, path, "--crf", "--crf_iterations=2", "--crf_bi_w=5")
        image = tiny.picture(25, 30)[np.newaxis]
        padded = np.full((1, 33, 33, 3), 127.5, np.float32)
        padded[:, :25, :30] = image
        labels, probabilities = model.predict_labels(net, padded)
        crf = CrfOptions(iterations=2, bi_w=5)
        expected = dense_crf.refine(image, probabilities[:, :25, :30], crf).numpy()
        if name == "graph.pb":
            with comparison.open_frozen_graph(str(path)) as run:
                outputs = run(image)
        else:
            loaded = tf.saved_model.load(str(path))
            outputs = loaded.signatures["serving_default"](ImageTensor=tf.constant(image))
            predicted = saved_model.ExportedNetwork(str(path)).predict(image[0])
            np.testing.assert_array_equal(predicted, outputs["SemanticPredictions"][0])
        np.testing.assert_allclose(outputs["SemanticProbabilities"], expected, atol=1e-3)
        refined = np.asarray(outputs["SemanticPredictions"])
        assert np.mean(refined == expected.argmax(axis=-1)) > 0.99
        assert np.mean(refined == labels[:, :25, :30]) < 0.99
        assert np.mean(np.asarray(outputs["RawSemanticPredictions"]) == labels) > 0.99


class TestErrors:
    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (["--num_classes=21"], "21 classes are asked for .* trained with 4"),
            (["--crop_size=65"], "must be height,width: two whole numbers, each at least 1"),
            (
                ["--crop_size=0", "--crop_size=65"],
                "must be height,width: two whole numbers, each at least 1",
            ),
            (
                ["--crf", "--crf_pos_sxy=0"],
                "--crf_pos_sxy is 0.0; it must be a finite number, above 0",
            ),
            (
                ["--inference_scales=0"],
                "--inference_scales is .0.0.; it must be a list of finite numbers, each above",
            ),
            (["--window=33,x"], "--window is .*; it must be height,width: two whole numbers"),
            (["--window_overlap=0.5"], "--window_overlap has no effect without --window"),
            (["--window=33,33", "--add_logits"], "--add_logits: with --window no image has"),
            (["--max_pixels=0"], "--max_pixels is 0; it must be"),
            (
                ["--server_config_dir=x"],
                "--server_config_dir: a server .*/export is none: add --next",
            ),
            (["--save_inference_graph"], "--save_inference_graph goes with a frozen graph"),
            (["--dataset=cityscapes"], "--dataset=cityscapes has 19 classes, the network 4"),
            (["--dataset=camvid"], "unknown dataset 'camvid'"),
        ],
    )
    def test_a_wrong_flag_is_named(self, trained, tmp_path, flags, message):
        with pytest.raises(ValueError, match=message):
            export(trained, tmp_path / "export", *flags)
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize(
        "flag", ["--max_pixels=9", "--server_config_dir=x", "--target=cpu", "--window=33,33"]
    )
    def test_what_a_frozen_graph_does_not_have_is_named(self, trained, tmp_path, flag):
        name = flag.partition("=")[0]
        with pytest.raises(ValueError, match=f"{name} goes with a SavedModel; .*ends in .pb"):
            export(trained, tmp_path / "graph.pb", flag)

    @pytest.mark.parametrize("flag", ["--target=cpu", "--window=33,33", "--crf", "--add_logits"])
    def test_what_an_onnx_model_does_not_have_is_named(self, trained, tmp_path, flag):
        name = flag.partition("=")[0]
        with pytest.raises(ValueError, match=f"{name} goes with a SavedModel; .*ends in .onnx"):
            export(trained, tmp_path / "net.onnx", flag)

    def test_a_target_that_this_machine_cannot_try_is_named(self, trained, tmp_path, monkeypatch):
        monkeypatch.setattr(depthwise, "native_dilation_works", lambda dtype: False)
        with pytest.raises(ValueError, match="--target=cpu: native dilation does not work here"):
            export(trained, tmp_path / "export", "--target=cpu")
        assert os.listdir(tmp_path) == []

    def test_photographs_are_looked_for_before_the_work(self, trained, tmp_path):
        with pytest.raises(FileNotFoundError, match="--test_images: there is no file .*photos"):
            export(trained, tmp_path / "graph.pb", f"--test_images={tmp_path}/photos")

    def test_a_base_is_a_folder_of_versions(self, trained, tmp_path):
        (tmp_path / "saved_model.pb").write_text("an export")
        with pytest.raises(ValueError, match=f"--export_path={tmp_path} is an export itself"):
            export(trained, tmp_path, "--next_version")
        with pytest.raises(ValueError, match="ends in .pb, so it is a file; give the folder"):
            export(trained, tmp_path / "graph.pb", "--next_version")

    def test_a_missing_checkpoint_is_named(self, trained, tmp_path):
        missing = trained.removesuffix("7") + "8"
        with pytest.raises(FileNotFoundError, match=f"no checkpoint at {missing}.*model.ckpt-7"):
            export(missing, tmp_path / "export")

    @pytest.mark.parametrize(
        ("forgotten", "message"),
        [
            ("--depth_multiplier=0.1", "other shapes than the network.*--depth_multiplier"),
            ("--noadd_image_level_feature", "lacks .* variables: image_pooling/"),
        ],
    )
    def test_a_forgotten_flag_is_no_blank_export(self, official, tmp_path, forgotten, message):
        flags = [flag for flag in tiny.NETWORK_FLAGS if flag != forgotten]
        with pytest.raises(ValueError, match=message):
            export(official, tmp_path / "export", "--num_classes=4", *flags)
        assert os.listdir(tmp_path) == []

    @pytest.mark.slow
    def test_variables_that_no_flag_asks_for_are_named(self, tmp_path, caplog):
        decoder = tiny.OPTIONS.replace(decoder_output_stride=(4,), decoder_filters=8)
        path = tiny.save(model.DeepLab(decoder), tmp_path / "train", 7, with_options=False)
        export(path, tmp_path / "graph.pb", "--num_classes=4", *tiny.NETWORK_FLAGS)
        assert "variables that the network does not have, such as decoder/" in caplog.text

    def test_what_is_in_the_way_is_said_before_any_work(self, tmp_path):
        (tmp_path / "mine.txt").write_text("mine")
        with pytest.raises(ValueError, match="it holds mine.txt"):
            export(tmp_path / "no_checkpoint", tmp_path)
