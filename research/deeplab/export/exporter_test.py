"""Exports on disk: what is in them, that nothing else is needed, and that nothing is lost."""

import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping

import numpy as np
import pytest
import tensorflow as tf

from deeplab import common, model
from deeplab.core.options import InferenceOptions
from deeplab.datasets import descriptors
from deeplab.export import comparison, destination, exporter, inference_graph
from deeplab.testing import golden, tiny
from deeplab.utils import checkpoint, stored_options

FACTS, ARRAYS = golden.misc("export")

# Runs a SavedModel as one who has TensorFlow and nothing of this project.
STRANGER = """
import pathlib, sys
import numpy as np
import tensorflow as tf

export, folder = map(pathlib.Path, sys.argv[1:])
signatures = tf.saved_model.load(str(export)).signatures
files = tf.constant([(folder / name).read_bytes() for name in ("a.png", "b.jpg")])
results = {
    "serving_default": signatures["serving_default"](
        ImageTensor=tf.constant(np.load(folder / "batch.npy"))
    ),
    "serving_bytes": signatures["serving_bytes"](image_bytes=files),
}
for name, outputs in results.items():
    np.savez(folder / f"{name}.npz", **{key: value.numpy() for key, value in outputs.items()})
pngs = signatures["serving_png"](image_bytes=files)["label_png_bytes"].numpy()
for name, data in zip(("a", "b"), pngs):
    (folder / f"{name}_labels.png").write_bytes(data)
assert "deeplab" not in sys.modules
"""


@pytest.fixture(autouse=True)
def _unoptimized():
    with tiny.unoptimized():
        yield


@pytest.fixture
def earlier(tmp_path) -> pathlib.Path:
    """Return a folder with the remains of an earlier export."""
    path = tmp_path / "export"
    (path / "variables").mkdir(parents=True)
    for name in ("saved_model.pb", "dataset.json", "variables/variables.index"):
        (path / name).write_text("earlier")
    return path


def predict(net: model.DeepLab, images: np.ndarray) -> Mapping[str, np.ndarray]:
    outputs = inference_graph.predict_outputs(net, tf.constant(images))
    return {name: tensor.numpy() for name, tensor in outputs.items()}


def assert_same(outputs: Mapping, expected: Mapping, where=...) -> None:
    labels, wanted = (each["SemanticPredictions"] for each in (outputs, expected))
    assert np.mean(labels[where] == wanted) >= 0.999
    probabilities, wanted = (each["SemanticProbabilities"] for each in (outputs, expected))
    np.testing.assert_allclose(probabilities[where], wanted, atol=1e-4)
    np.testing.assert_allclose(probabilities[where].sum(axis=-1), 1, atol=1e-5)


@pytest.mark.slow
class TestSavedModel:
    def test_needs_no_code_of_this_project(self, net, dataset, export, tmp_path):
        large, small = (tiny.picture(*size)[np.newaxis] for size in ((60, 48), (30, 38)))
        batch = np.concatenate([large, large[:, ::-1], large[:, :, ::-1]])
        np.save(tmp_path / "batch.npy", batch)
        tf.io.write_file(str(tmp_path / "a.png"), tf.io.encode_png(small[0]))
        tf.io.write_file(str(tmp_path / "b.jpg"), tf.io.encode_jpeg(large[0]))
        jpeg = tf.io.decode_jpeg(tf.io.read_file(str(tmp_path / "b.jpg"))).numpy()[np.newaxis]
        # Without oneDNN, as in many other builds, there are fewer kernels.
        environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}
        environment.pop("PYTHONPATH", None)
        subprocess.run(
            [sys.executable, "-I", "-c", STRANGER, str(export), str(tmp_path)],
            check=True,
            cwd=tmp_path,
            env=environment,
        )
        assert_same(np.load(tmp_path / "serving_default.npz"), predict(net, batch))

        outputs = np.load(tmp_path / "serving_bytes.npz")
        np.testing.assert_array_equal(outputs["ImageSize"], [[30, 38], [60, 48]])
        expected = predict(net, small), predict(net, jpeg)
        assert_same(outputs, expected[0], where=np.s_[:1, :30, :38])
        assert_same(outputs, expected[1], where=np.s_[1:])
        outside = np.ones((60, 48), bool)
        outside[:30, :38] = False
        assert (outputs["SemanticPredictions"][0][outside] == dataset.ignore_label).all()
        assert (outputs["SemanticProbabilities"][0][outside] == 0).all()

        for name, wanted in zip("ab", expected, strict=True):
            png = tf.io.decode_png(tf.io.read_file(str(tmp_path / f"{name}_labels.png")))
            assert png.shape[-1] == 1
            assert np.mean(png[..., 0] == wanted["SemanticPredictions"][0]) >= 0.999

    def test_signatures_have_the_official_names(self, export):
        signatures = tf.saved_model.load(str(export)).signatures
        assert set(signatures) == {
            "serving_default",
            "serving_labels",
            "serving_bytes",
            "serving_png",
            "serving_color_png",
        }
        default = signatures["serving_default"]
        ((name, spec),) = default.structured_input_signature[1].items()
        assert (name, spec.dtype, spec.shape.as_list()) == (
            "ImageTensor",
            tf.uint8,
            [None] * 3 + [3],
        )

    def test_says_what_it_holds(self, dataset, export):
        assert checkpoint.load_options(str(export)) == tiny.OPTIONS
        assert descriptors.load(str(export / "dataset.json")) == dataset

    def test_scales_and_flips_are_in_it(self, net, tmp_path):
        path = str(tmp_path / "export")
        inference = InferenceOptions(eval_scales=(0.5, 1.0), add_flipped_images=True)
        with tiny.few_signatures():
            exporter.export_saved_model(net, path, inference)
        image = tiny.picture(40, 50)[np.newaxis]
        outputs = tf.saved_model.load(path).signatures["serving_default"](tf.constant(image))
        labels, probabilities = model.predict_labels(net, image, (0.5, 1.0), True)
        expected = {"SemanticPredictions": labels, "SemanticProbabilities": probabilities}
        assert_same({name: value.numpy() for name, value in outputs.items()}, expected)


class TestFrozenGraph:
    @pytest.mark.slow
    def test_serves_official_user_code(self, tmp_path):
        net = model.DeepLab(common.ModelOptions(depth_multiplier=0.35, crop_size=(65, 65)))
        golden.assign(checkpoint.official_variables(net))
        path = tmp_path / "frozen" / "frozen_inference_graph.pb"
        exporter.export_frozen_graph(net, str(path), graph_text=True)
        assert sorted(os.listdir(path.parent)) == [path.name, "inference_graph.pbtxt"]
        graph_def = tf.compat.v1.GraphDef.FromString(path.read_bytes())
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            tf.import_graph_def(graph_def, name="")
            image = ARRAYS["image/40x50"][0]
            labels = session.run("SemanticPredictions:0", {"ImageTensor:0": [image]})
        assert labels.dtype == np.int32
        assert np.mean(labels == ARRAYS["plain/40x50/semantic"]) >= 0.999

    def test_replaces_a_file(self, net, tmp_path):
        path = tmp_path / "graph.pb"
        path.write_bytes(b"earlier")
        with subprocess.Popen([sys.executable, "-c", ""]) as process:
            process.wait()
        # What a killed export left.
        (tmp_path / f".graph.pb.{process.pid}.tmp").touch()
        exporter.export_frozen_graph(net, str(path))
        assert os.listdir(tmp_path) == ["graph.pb"]
        image = tiny.picture(40, 50)[np.newaxis]
        with comparison.open_frozen_graph(str(path)) as run:
            outputs = run(image)
        assert_same(outputs, predict(net, image))


class TestDestination:
    @pytest.mark.slow
    def test_an_earlier_export_is_replaced(self, net, earlier):
        with tiny.few_signatures():
            exporter.export_saved_model(net, str(earlier) + os.sep)
        assert os.listdir(earlier.parent) == ["export"]
        assert not (earlier / "dataset.json").exists()
        image = tiny.picture(40, 50)[np.newaxis]
        default = tf.saved_model.load(str(earlier)).signatures["serving_default"]
        # Its official outputs.
        assert {name: spec.dtype for name, spec in default.structured_outputs.items()} == {
            "SemanticPredictions": tf.int32,
            "SemanticProbabilities": tf.float32,
            "RawSemanticPredictions": tf.float32,
            "RawSemanticProbabilities": tf.float32,
        }
        outputs = {name: tensor.numpy() for name, tensor in default(tf.constant(image)).items()}
        assert_same(outputs, predict(net, image))

    def test_an_empty_folder_is_replaced(self, tmp_path):
        destination.check(str(tmp_path))

    def test_a_dense_prediction_cell_is_part_of_an_export(self, earlier):
        cell = str(golden.dense_prediction_cell("dpc_with_pooling.json"))
        stored_options.save(str(earlier), tiny.OPTIONS.replace(dense_prediction_cell_json=cell))
        destination.check(str(earlier))

    def test_no_path_is_not_this_folder(self, net):
        with pytest.raises(ValueError, match="--export_path is empty"):
            exporter.export_saved_model(net, "")

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            (["weights.h5"], "exists and is not an earlier export; it holds weights.h5"),
            (["saved_model.pb", "notes.txt"], "holds notes.txt, which does not belong to"),
        ],
    )
    def test_what_is_not_ours_is_left_alone(self, net, tmp_path, files, message):
        for name in files:
            (tmp_path / name).write_text("mine")
        with pytest.raises(
            ValueError, match=f"--export_path={tmp_path} {message}.* choose another"
        ):
            exporter.export_saved_model(net, str(tmp_path))
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(
            files, "mine"
        )

    def test_a_file_is_no_folder(self, net, tmp_path):
        path = tmp_path / "export"
        path.write_text("mine")
        with pytest.raises(ValueError, match="is an existing file"):
            exporter.export_saved_model(net, str(path))
        with pytest.raises(ValueError, match="ends in .pb, so it is a file"):
            (tmp_path / "folder.pb").mkdir()
            exporter.export_frozen_graph(net, str(tmp_path / "folder.pb"))

    def test_a_frozen_graph_does_not_replace_the_graph_of_a_saved_model(self, net, tmp_path):
        path = tmp_path / "saved_model.pb"
        path.write_text("mine")
        with pytest.raises(ValueError, match=f"{path} is a part of the SavedModel {tmp_path}:"):
            exporter.export_frozen_graph(net, str(path))
        assert path.read_text() == "mine"

    @pytest.mark.parametrize("name", ["export", "graph.pb", "more/export"])
    def test_a_path_below_a_file_names_flag_and_file(self, tmp_path, name):
        (tmp_path / "file").write_text("mine")
        path = f"{tmp_path}/file/{name}"
        message = f"--export_path={path} cannot be written: {tmp_path}/file is not a folder"
        with pytest.raises(ValueError, match=message):
            destination.check(path)
        # Where even root cannot write.
        with pytest.raises(
            ValueError, match=f"--export_path=/proc/{name} cannot be written: /proc"
        ):
            destination.check(f"/proc/{name}")

    def test_versions_that_cannot_be_written_name_the_flag(self, tmp_path):
        with pytest.raises(ValueError, match="^--export_path=/proc/x cannot be written: /proc: "):
            destination.check_base("/proc/x")
        destination.check_base(str(tmp_path / "new"))
        assert not os.listdir(tmp_path)

    def test_versions_and_their_folder_are_told_apart(self, tmp_path):
        (tmp_path / "pascal" / "2").mkdir(parents=True)
        (tmp_path / "pascal" / "2" / "saved_model.pb").touch()
        with pytest.raises(ValueError, match="/pascal holds versions, such as 2: add --next_ver"):
            destination.check(str(tmp_path / "pascal"))
        destination.check_base(str(tmp_path / "pascal"))
        # A server would take its folder for a version without a graph.
        with pytest.raises(ValueError, match=f"--next_version: .*: give {tmp_path}/pascal"):
            destination.check_base(str(tmp_path / "pascal" / "3"))
        destination.check_base(str(tmp_path / "2024"))

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["export", "export.pb"])
    def test_a_wrong_export_is_an_error_and_costs_nothing(
        self, net, earlier, tmp_path, monkeypatch, name
    ):
        (tmp_path / "export.pb").write_text("earlier")
        before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
        network_says = comparison.expected

        def another_network(*arguments):
            expected = dict(network_says(*arguments))
            labels = expected["SemanticPredictions"]
            return expected | {"SemanticPredictions": (labels + 1) % 4}

        monkeypatch.setattr(comparison, "expected", another_network)
        path = tmp_path / name
        write = exporter.export_saved_model if name == "export" else exporter.export_frozen_graph
        message = f"{path}.*SemanticPredictions differs from the network"
        with pytest.raises(ValueError, match=message), tiny.few_signatures():
            write(net, str(path))
        assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before

    def test_weights_that_are_no_numbers_are_an_error(self, tmp_path):
        with tiny.shallow():
            broken = model.DeepLab(tiny.OPTIONS)
        checkpoint.official_variables(broken)["logits/semantic/biases"].assign([np.nan] * 4)
        with pytest.raises(
            ValueError, match="the checkpoint holds weights that are infinite or not"
        ):
            exporter.export_saved_model(broken, str(tmp_path / "export"))
        assert os.listdir(tmp_path) == []
