"""Every form of a network is opened by its path, and predicts alike; or it is said why not."""

import builtins
import shutil

import numpy as np
import pytest
import tensorflow as tf

from deeplab import model
from deeplab.core.options import WindowOptions
from deeplab.export import (
    frozen_graphs,
    inference_graph,
    lite_network,
    network_facts,
    runtimes,
)
from deeplab.testing import tiny


@pytest.fixture(scope="module")
def graph_def(net):
    return inference_graph.frozen(net)[0]


@pytest.fixture(scope="module")
def photo():
    return tiny.picture(40, 50)


@pytest.fixture(scope="module")
def expected(net, photo):
    return model.predict_labels(net, photo[np.newaxis])[0][0].numpy()


@pytest.fixture(scope="module")
def colors():
    return lite_model(reddest)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)


def write(path, graph_def):
    path.write_bytes(graph_def.SerializeToString())
    return str(path)


def lite_model(function, height=8, width=10, dtype=tf.uint8):
    """Return a model of one operation or two."""
    spec = tf.TensorSpec((1, height, width, 3), dtype)
    concrete = tf.function(function, input_signature=[spec]).get_concrete_function()
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert()


def reddest(images):
    return tf.argmax(tf.cast(images, tf.float32), axis=-1)


def onnx_model(size=("height", "width"), *, scores=True, properties=(), kind=None):
    """Return a model that gives the strongest color of each pixel as its label."""
    onnx = pytest.importorskip("onnx")
    types, helper = onnx.TensorProto, onnx.helper
    shape = ("images", *size)
    names = inference_graph.PREDICTIONS, inference_graph.PROBABILITIES
    outputs = [
        helper.make_tensor_value_info(names[0], types.INT64, shape),
        helper.make_tensor_value_info(names[1], types.FLOAT, (*shape, 3)),
    ]
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["ImageTensor"], [names[1]], to=types.FLOAT),
            helper.make_node("ArgMax", [names[1]], [names[0]], axis=3, keepdims=0),
        ],
        "colors",
        [helper.make_tensor_value_info("ImageTensor", kind or types.UINT8, (*shape, 3))],
        outputs if scores else outputs[:1],
    )
    found = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(found, dict(properties))
    return found.SerializeToString()


class TestSavedModel:
    @tiny.unoptimized()
    def test_a_folder_of_versions_gives_the_newest(self, export, opened, expected, photo, dataset):
        for path in (export, export.parent):
            assert runtimes.newest_version(str(path)) == str(export)
        assert (opened.num_classes, opened.descriptor) == (4, dataset)
        assert np.mean(opened.predict(photo) == expected) >= 0.999

    def test_the_newest_is_the_largest_number(self, tmp_path):
        for name in ("2", "10", "9", "11", "x"):
            (tmp_path / name).mkdir()
        for name in ("2", "10", "9", "x"):
            (tmp_path / name / "saved_model.pb").touch()
        assert runtimes.newest_version(str(tmp_path)) == str(tmp_path / "10")
        (tmp_path / "0012").mkdir()
        (tmp_path / "0012" / "saved_model.pb").touch()
        assert runtimes.newest_version(str(tmp_path)) == str(tmp_path / "0012")


class TestFrozenGraph:
    @tiny.unoptimized()
    def test_predicts_and_says_what_it_was_told(
        self, graph_def, expected, photo, dataset, tmp_path
    ):
        path = write(tmp_path / "graph.pb", graph_def)
        network = runtimes.open_network(path)
        assert (network.num_classes, network.descriptor) == (4, None)
        assert network.predict(photo).dtype == np.int32
        assert np.mean(network.predict(photo) == expected) >= 0.999
        stated = tf.compat.v1.GraphDef.FromString(graph_def.SerializeToString())
        frozen_graphs.state(stated, network_facts.NetworkFacts(num_classes=4, descriptor=dataset))
        network = runtimes.open_network(write(tmp_path / "stated.pb", stated))
        assert network.descriptor == dataset
        np.testing.assert_array_equal(network.predict(photo).shape, photo.shape[:2])

    def test_the_graph_of_a_saved_model_is_named(self, tmp_path):
        tf.saved_model.save(tf.Module(), str(tmp_path))
        path = tmp_path / "saved_model.pb"
        with pytest.raises(
            ValueError, match=f"{path} is not .*a part of the SavedModel {tmp_path}"
        ):
            runtimes.open_network(str(path))

    def test_another_graph(self, tmp_path):
        with tf.Graph().as_default() as other:
            tf.constant(0.0, name="SemanticPredictions")
        path = write(tmp_path / "other.pb", other.as_graph_def())
        with pytest.raises(ValueError, match=f"--export_path={path} has no ImageTensor"):
            runtimes.open_network(path)


class TestLite:
    def test_pixels_and_padding(self, colors, image, tmp_path):
        (tmp_path / "colors.tflite").write_bytes(colors)
        network = runtimes.open_network(str(tmp_path / "colors.tflite"))
        # What the labels are made of tells the number of classes.
        assert (network.num_classes, network.descriptor) == (3, None)
        labels = network.predict(image)
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(labels, image.argmax(axis=-1))

    def test_a_larger_image_is_shrunk_and_its_labels_enlarged(self, colors, tmp_path):
        (tmp_path / "colors.tflite").write_bytes(colors)
        network = runtimes.open_network(str(tmp_path / "colors.tflite"))
        image = np.zeros((32, 20, 3), np.uint8)
        image[:16, ..., 0] = image[16:, ..., 2] = 255
        np.testing.assert_array_equal(network.predict(image), image.argmax(axis=-1))

    def test_scores_and_preprocessed_values(self, image, tmp_path):
        scores = lite_model(lambda values: values * 1.0, dtype=tf.float32)
        (tmp_path / "scores.tflite").write_bytes(scores)
        network = runtimes.open_network(str(tmp_path / "scores.tflite"))
        assert network.num_classes == 3
        np.testing.assert_array_equal(network.predict(image), image.argmax(axis=-1))

    @pytest.mark.parametrize(
        ("dtype", "quantization", "expected"),
        [
            # Official: an integer for each gray level, whichever of the two zeros it has.
            (np.uint8, (1 / 127.5, 128), [0, 1, 128, 255]),
            (np.uint8, (1 / 127.5, 127), [0, 1, 128, 255]),
            (np.int8, (1 / 127.5, -1), [-128, -127, 0, 127]),
            (np.uint8, (1 / 64, 64), [0, 1, 64, 128]),
            # Pixels.
            (np.uint8, (0.0, 0), [0, 1, 128, 255]),
        ],
    )
    def test_integers_stand_for_pixels(self, colors, monkeypatch, dtype, quantization, expected):
        model = lite_network.LiteModel("the model", colors)
        monkeypatch.setattr(model, "dtype", dtype)
        monkeypatch.setitem(model._input, "quantization", quantization)
        pixels = np.repeat(np.float32([[[0], [1], [128], [255]]]), 3, axis=-1)
        found = model.encode(pixels, (1 / 127.5,) * 3, (-1.0,) * 3)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found[0, :, 0], expected)

    def test_says_what_it_was_told(self, colors, dataset, tmp_path):
        facts = network_facts.NetworkFacts(
            num_classes=4,
            descriptor=dataset,
            pixel_scale=(1, 1, 1),
            pixel_offset=(-123.15, -115.9, -103.06),
        )
        stated = lite_network.with_facts(colors, facts)
        (tmp_path / "colors.tflite").write_bytes(stated)
        network = runtimes.open_network(str(tmp_path / "colors.tflite"))
        assert network.facts == facts
        assert network.descriptor == dataset
        # As other programs read it.
        shutil.unpack_archive(tmp_path / "colors.tflite", tmp_path / "files", format="zip")
        assert (tmp_path / "files" / "labels.txt").read_text() == "ground\ndisc\nsquare\nstar\n"

    @pytest.mark.parametrize("content", [b"", b"\x1c\0\0\0TFL3" + b"\xff" * 40])
    def test_a_damaged_file(self, tmp_path, content):
        path = tmp_path / "net.tflite"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{path} is not a TensorFlow Lite model that runs"):
            runtimes.open_network(str(path))

    def test_another_model(self, tmp_path):
        path = tmp_path / "net.tflite"
        path.write_bytes(
            lite_model(lambda values: tf.reduce_sum(values, axis=(1, 2)), 8, 8, tf.float32)
        )
        with pytest.raises(ValueError, match=f"{path} takes .1, 8, 8, 3. and gives .1, 3.: a"):
            runtimes.open_network(str(path))


class TestOnnx:
    @pytest.mark.parametrize("size", [("height", "width"), (8, 10)])
    def test_any_size_or_a_single_one(self, size, image, tmp_path):
        pytest.importorskip("onnxruntime")
        (tmp_path / "net.onnx").write_bytes(onnx_model(size))
        network = runtimes.open_network(str(tmp_path / "net.onnx"))
        assert (network.num_classes, network.descriptor) == (3, None)
        labels = network.predict(image)
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(labels, image.argmax(axis=-1))

    def test_says_what_it_was_told(self, dataset, tmp_path):
        pytest.importorskip("onnxruntime")
        facts = network_facts.NetworkFacts(num_classes=4, descriptor=dataset)
        properties = {network_facts.NAME: facts.to_json()}
        (tmp_path / "net.onnx").write_bytes(onnx_model(properties=properties))
        network = runtimes.open_network(str(tmp_path / "net.onnx"))
        assert (network.num_classes, network.descriptor) == (4, dataset)

    def test_damaged_files_and_others(self, tmp_path):
        onnx = pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
        path = tmp_path / "net.onnx"
        path.write_bytes(b"\x08\x07")
        with pytest.raises(ValueError, match=f"{path} is not an ONNX model that runs"):
            runtimes.open_network(str(path))
        path.write_bytes(onnx_model(kind=onnx.TensorProto.FLOAT))
        with pytest.raises(
            ValueError, match=f"{path} has the inputs .'ImageTensor'.*pixels, uint8"
        ):
            runtimes.open_network(str(path))
        path.write_bytes(onnx_model(properties={network_facts.NAME: '{"num_classes": "many"}'}))
        with pytest.raises(ValueError, match=f"{path}: deeplab is damaged: num_classes is 'many'"):
            runtimes.open_network(str(path))
        path.write_bytes(onnx_model(scores=False))
        with pytest.raises(ValueError, match=f"{path} does not say how many classes"):
            runtimes.open_network(str(path))

    def test_a_missing_package_is_named(self, tmp_path, monkeypatch):
        found = builtins.__import__

        def without(name, *arguments):
            if name == "onnxruntime":
                raise ImportError("No module named 'onnxruntime'")
            return found(name, *arguments)

        (tmp_path / "net.onnx").write_bytes(b"\x08\x07")
        monkeypatch.setattr(builtins, "__import__", without)
        with pytest.raises(ValueError, match=r"needs ONNX Runtime.*pip install 'deeplab\[onnx\]'"):
            runtimes.open_network(str(tmp_path / "net.onnx"))


class TestCheckpoint:
    @tiny.unoptimized()
    def test_predicts_with_its_own_options(self, net, expected, photo, tmp_path):
        prefix = tiny.save(net, tmp_path, 3)
        with tiny.shallow():
            network = runtimes.open_network(str(tmp_path))
        assert (network.num_classes, network.descriptor) == (4, None)
        assert np.mean(network.predict(photo) == expected) >= 0.999
        (tmp_path / "model_options.json").unlink()
        with pytest.raises(ValueError, match="checkpoint without model_options.json.*export it"):
            runtimes.open_network(prefix)


class TestErrors:
    def test_nothing_and_other_things(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=f"--export_path={tmp_path}/no is not there"):
            runtimes.open_network(str(tmp_path / "no"))
        with pytest.raises(ValueError, match="a folder without an export or a checkpoint; give"):
            runtimes.open_network(str(tmp_path))
        (tmp_path / "net.txt").write_text("")
        with pytest.raises(ValueError, match="net.txt is another file; give"):
            runtimes.open_network(str(tmp_path / "net.txt"))
        (tmp_path / "net.pth").write_text("")
        with pytest.raises(ValueError, match="net.pth is a file of PyTorch; give"):
            runtimes.open_network(str(tmp_path / "net.pth"))

    def test_what_a_file_of_one_graph_cannot_do(self, tmp_path):
        for name, meaning in (("a.pb", "a frozen graph"), ("a.onnx", "an ONNX model")):
            (tmp_path / name).write_text("")
            with pytest.raises(ValueError, match=f"--window goes with .*{name} is {meaning}"):
                runtimes.open_network(str(tmp_path / name), window=WindowOptions())
        with pytest.raises(ValueError, match="runs on the CPU here: use --num_clones=1"):
            runtimes.open_network(str(tmp_path / "a.onnx"), device="GPU:1")
