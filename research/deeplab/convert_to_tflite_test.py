"""TensorFlow Lite models say what the graphs say that they were made of."""

import re

import numpy as np
import pytest
import tensorflow as tf

from deeplab import convert_to_tflite
from deeplab.core import feature_extractor
from deeplab.core.options import InferenceOptions, LiteOptions
from deeplab.export import (
    agreement,
    frozen_graphs,
    inference_graph,
    lite_network,
    network_facts,
    runtimes,
    tflite,
)
from deeplab.export.photographs import Photograph
from deeplab.testing import tiny

pytestmark = pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")

INPUT = "MobilenetV2/MobilenetV2/input:0"
PHOTOS = [Photograph(tiny.picture(33, 33))]


def write(path, graph_def):
    path.write_bytes(graph_def.SerializeToString())
    return path


@pytest.fixture(scope="module", autouse=True)
def _cheap():
    with tiny.shallow(), tiny.unoptimized():
        yield


@pytest.fixture(scope="module")
def net():
    return tiny.shared_network()


@pytest.fixture(scope="module")
def graph(net, tmp_path_factory):
    """Our frozen graph of a float network for 33x33 pixels."""
    return write(tmp_path_factory.mktemp("graph") / "float.pb", inference_graph.frozen(net)[0])


@pytest.fixture(scope="module")
def lite(graph):
    """The model of the graph."""
    return tflite.convert(frozen_graphs.read(str(graph)), INPUT)


@pytest.fixture(scope="module")
def quantized_net(_cheap):
    return tiny.quantized_network()


@pytest.fixture(scope="module")
def quantized_graph(quantized_net, tmp_path_factory):
    """Our frozen graph of a quantized network for 33x33 pixels."""
    graph_def, _ = inference_graph.frozen(quantized_net)
    return write(tmp_path_factory.mktemp("graph") / "quantized.pb", graph_def)


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    path.write_bytes(tiny.png(tiny.picture(40, 50)))
    return path


def convert(graph, *more):
    tiny.run(convert_to_tflite, f"--quantized_graph_def_path={graph}", *more)


def add_quantizer(graph_def):
    """Let a graph look like that of a quantized network."""
    name, _, _ = INPUT.partition(":")
    graph_def.node.add(name="quantizer", op="FakeQuantWithMinMaxArgs", input=[name])


def printed_share(capsys):
    (share,) = re.findall(r"^([\d.]+)% of the pixels", capsys.readouterr().out, re.MULTILINE)
    return float(share)


def details(path):
    interpreter = tf.lite.Interpreter(model_path=str(path))
    (given,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.allocate_tensors()
    return given, result, {op["op_name"] for op in interpreter._get_ops_details()}


def types_of_tensors(path):
    interpreter = tf.lite.Interpreter(model_path=str(path))
    return {each["dtype"] for each in interpreter.get_tensor_details()}


class TestFloat:
    @pytest.mark.slow
    def test_agrees_with_the_graph(self, graph, photo, tmp_path, capsys):
        path = tmp_path / "new" / "model.tflite"
        convert(graph, f"--output_tflite_path={path}", f"--test_image_path={photo}")
        assert printed_share(capsys) > 99
        given, result, operations = details(path)
        assert (given["shape"].tolist(), given["dtype"]) == ([1, 33, 33, 3], np.float32)
        assert (result["shape"].tolist(), result["dtype"]) == ([1, 33, 33], np.int64)
        # Atrous convolutions and aligned resizing are operations of their own there.
        assert not {name for name in operations if "SPACE" in name or "Flex" in name}
        assert {"DEPTHWISE_CONV_2D", "RESIZE_BILINEAR"} <= operations

    def test_agreement_can_be_missed(self, graph, lite):
        graph_def = frozen_graphs.read(str(graph))
        (arg_max,) = [node for node in graph_def.node if node.op == "ArgMax"]
        arg_max.op = "ArgMin"
        found = tflite.compare(graph_def, lite, PHOTOS, INPUT)
        assert found.labels.equal == 0

    @pytest.mark.slow
    def test_with_preprocessing_takes_pixels(self, graph, photo, tmp_path, capsys):
        path = tmp_path / "model.tflite"
        flags = (f"--output_tflite_path={path}", f"--test_image_path={photo}")
        convert(graph, *flags, "--input_tensor_name=ImageTensor:0")
        assert printed_share(capsys) > 99
        assert details(path)[0]["dtype"] == np.uint8

    @pytest.mark.slow
    def test_dynamic_range_is_smaller(self, graph, lite):
        graph_def = frozen_graphs.read(str(graph))
        small = tflite.convert(graph_def, INPUT, options=LiteOptions(dynamic_range=True))
        assert len(small) < len(lite)
        assert tflite.compare(graph_def, small, PHOTOS, INPUT).labels.equal > 0.9

    @pytest.mark.slow
    def test_float16_is_smaller(self, graph, lite):
        graph_def = frozen_graphs.read(str(graph))
        half = tflite.convert(graph_def, INPUT, options=LiteOptions(float16=True))
        # The weights of a network as small as this one are a part of the file only.
        assert len(half) < 0.9 * len(lite)
        # Depthwise kernels stay in 32 bits: [1, height, width, channels].
        tensors = lite_network.interpreter(half).get_tensor_details()
        stored = [tuple(each["shape"]) for each in tensors if each["dtype"] == np.float16]
        assert stored
        assert all(shape[1:3] == (1, 1) or shape[0] > 1 for shape in stored)
        found = tflite.compare(graph_def, half, PHOTOS, INPUT, "ArgMax:0")
        assert found.labels.equal > 0.98

    @pytest.mark.slow
    def test_integers_with_ranges_of_photographs(self, graph, photo, tmp_path, capsys):
        label = np.zeros((40, 50), np.uint8)
        samples = {str(seed): (tiny.picture(40, 50, seed), label) for seed in range(8)}
        records = tiny.write_records(tmp_path / "records", samples)
        path = tmp_path / "model.tflite"
        convert(
            graph,
            *("--int8", f"--output_tflite_path={path}", f"--test_image_path={records}/val"),
            *(f"--representative_images={records}/val", "--num_representative_images=4"),
        )
        assert " of 8 images have the same label, mIoU " in (text := capsys.readouterr().out)
        # Classes are close in a random network.
        assert float(text.split("%")[0]) > 70
        given, result, operations = details(path)
        assert not {name for name in operations if "Flex" in name}
        assert (given["dtype"], result["dtype"]) == (np.uint8, np.int64)
        # Pixels go in as they are.
        assert given["quantization"][0] == pytest.approx(2 / 255, rel=1e-3)
        assert given["quantization"][1] in (127, 128)
        assert np.float32 not in types_of_tensors(path)
        network = runtimes.open_network(str(path))
        assert network.num_classes == 4
        assert network.predict(tiny.picture(33, 33)).shape == (33, 33)

    def test_other_labels_are_an_error_and_not_written(self, graph, tmp_path, monkeypatch):
        wrong = agreement.Agreement(2, 0.99)
        monkeypatch.setattr(tflite, "convert", lambda *_: b"")
        monkeypatch.setattr(tflite, "compare", lambda *_: tflite.Comparison(wrong))
        path = tmp_path / "model.tflite"
        with pytest.raises(ValueError, match=f"{path}: 99.00% of the pixels .* less than 99.9%"):
            convert(graph, f"--output_tflite_path={path}", "--float16")
        assert not path.exists()
        convert(graph, f"--output_tflite_path={path}", "--dynamic_range")
        assert path.exists()

    def test_the_model_says_what_the_graph_says(self, net, graph, tmp_path, monkeypatch):
        graph_def = frozen_graphs.read(str(graph))
        facts = network_facts.of_network(net, tiny.DATASET)
        frozen_graphs.state(graph_def, facts)
        monkeypatch.setattr(tflite, "convert", lambda *_: b"model")
        monkeypatch.setattr(
            tflite, "compare", lambda *_: tflite.Comparison(agreement.Agreement(1, 1.0))
        )
        path = tmp_path / "model.tflite"
        convert(write(tmp_path / "graph.pb", graph_def), f"--output_tflite_path={path}")
        stated = lite_network.facts_of(path.read_bytes(), str(path))
        assert stated.descriptor == tiny.DATASET
        np.testing.assert_allclose(stated.pixel_scale, (2 / 255,) * 3, rtol=1e-5)
        np.testing.assert_allclose(stated.pixel_offset, (-1,) * 3, rtol=1e-5)

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (["--float16", "--int8"], "--float16 and --int8 ask for different models"),
            (["--int8"], "--int8 needs --representative_images"),
            (["--representative_images=x"], "has no effect without --int8"),
        ],
    )
    def test_flags_that_contradict_each_other(self, graph, flags, message):
        with pytest.raises(ValueError, match=message):
            convert(graph, *flags)

    def test_any_output_may_be_taken(self, graph):
        graph_def = frozen_graphs.read(str(graph))
        model = tflite.convert(graph_def, INPUT, "SemanticProbabilities:0")
        interpreter = tf.lite.Interpreter(model_content=model)
        (result,) = interpreter.get_output_details()
        assert (result["shape"].tolist(), result["dtype"]) == ([1, 33, 33, 4], np.float32)

    @pytest.mark.slow
    def test_probabilities_are_compared_by_label_and_by_value(self, graph, photo, capsys):
        convert(graph, "--output_tensor_name=SemanticProbabilities:0", f"--test_image_path={photo}")
        text = capsys.readouterr().out
        (share,) = re.findall(r"^([\d.]+)% of the pixels of 1 image have the same", text, re.M)
        (difference,) = re.findall(r"^the largest difference of a value is (\S+)$", text, re.M)
        assert float(share) > 99
        assert 0 <= float(difference) < 1e-3

    @pytest.mark.slow
    def test_a_difference_of_probabilities_is_found(self, graph):
        graph_def = frozen_graphs.read(str(graph))
        output = "SemanticProbabilities:0"
        model = tflite.convert(graph_def, INPUT, output)
        (node,) = [node for node in graph_def.node if node.name == "SemanticProbabilities"]
        # The same labels, other values.
        half = graph_def.node.add(name="half", op="Const")
        half.attr["dtype"].type = tf.float32.as_datatype_enum
        half.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(0.5))
        halved = graph_def.node.add(name="halved", op="Mul", input=[node.name, "half"])
        halved.attr["T"].type = tf.float32.as_datatype_enum
        found = tflite.compare(graph_def, model, PHOTOS, INPUT, "halved:0")
        assert found.labels.equal > 0.99
        assert 0.125 < found.largest_difference <= 0.5


class TestQuantized:
    @pytest.mark.slow
    def test_is_all_integers_and_agrees(self, quantized_graph, photo, tmp_path, capsys):
        path = tmp_path / "model.tflite"
        convert(quantized_graph, f"--output_tflite_path={path}", f"--test_image_path={photo}")
        # Classes are close in a random network: half a gray level changes a tenth of its labels.
        assert printed_share(capsys) > 80
        given, result, operations = details(path)
        assert not {name for name in operations if "Flex" in name}
        assert (given["shape"].tolist(), given["dtype"]) == ([1, 33, 33, 3], np.uint8)
        scale, zero_point = given["quantization"]
        assert scale == pytest.approx(1 / 127.5, rel=1e-4)
        assert zero_point in (127, 128)
        assert result["dtype"] == np.int64
        assert np.float32 not in types_of_tensors(path)

    @pytest.mark.slow
    def test_logits_are_those_of_the_network(self, quantized_net, quantized_graph):
        """On average a few of the 256 numbers off, after some thirty convolutions."""
        graph_def = frozen_graphs.read(str(quantized_graph))
        quantizers = [node.name for node in graph_def.node if node.op.startswith("FakeQuant")]
        model = tflite.convert(graph_def, INPUT, f"{quantizers[-1]}:0")
        interpreter = tf.lite.Interpreter(model_content=model)
        interpreter.allocate_tensors()
        (given,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
        step, zero = result["quantization"]
        for seed in range(10, 13):
            image = tiny.picture(33, 33, seed)[np.newaxis]
            interpreter.set_tensor(given["index"], image)
            interpreter.invoke()
            ours = np.float32(interpreter.get_tensor(result["index"])) - zero
            theirs = np.round(quantized_net.single_scale(image)["logits"] / step)
            assert np.ptp(theirs) > 150
            assert np.mean(np.abs(ours - theirs)) < 5
            assert np.max(np.abs(ours - theirs)) < 26

    @pytest.mark.slow
    def test_an_input_with_a_scale_for_each_color_is_refused(self, net, tmp_path, monkeypatch):
        monkeypatch.setattr(net, "preprocess", feature_extractor.subtract_vgg_mean)
        graph_def, _ = inference_graph.frozen(net)
        add_quantizer(graph_def)
        with pytest.raises(ValueError, match=f"{INPUT} has a different scale for each color"):
            convert(write(tmp_path / "graph.pb", graph_def))

    def test_dynamic_range_is_refused(self, graph, tmp_path):
        graph_def = frozen_graphs.read(str(graph))
        add_quantizer(graph_def)
        with pytest.raises(ValueError, match="--dynamic_range is for float graphs"):
            convert(write(tmp_path / "graph.pb", graph_def), "--dynamic_range")


@pytest.mark.slow
def test_a_model_that_is_not_kept_is_said(quantized_graph, caplog):
    convert(quantized_graph)
    assert "--output_tflite_path is not set" in caplog.text


class TestErrors:
    def test_no_graph(self, tmp_path):
        with pytest.raises(ValueError, match="--quantized_graph_def_path must be given"):
            tiny.run(convert_to_tflite)
        with pytest.raises(FileNotFoundError, match=f"no frozen graph {tmp_path}/no.pb"):
            convert(tmp_path / "no.pb")
        with pytest.raises(ValueError, match=f"{tmp_path} is a folder"):
            convert(tmp_path)

    @pytest.mark.parametrize("content", [b"no graph", b""])
    def test_another_file(self, tmp_path, content):
        path = tmp_path / "other.pb"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{path} is not a frozen graph"):
            convert(path)

    def test_a_file_of_another_kind_says_what_it_is(self, tmp_path):
        path = tmp_path / "net.tflite"
        path.write_bytes(b"\x1c\0\0\0TFL3" + b"\xff" * 40)
        message = f"{path} is not a frozen graph: it is a TensorFlow Lite model"
        with pytest.raises(ValueError, match=message):
            convert(path)

    @pytest.mark.parametrize("flag", ["input_tensor_name", "output_tensor_name"])
    def test_an_unknown_tensor(self, graph, flag):
        with pytest.raises(ValueError, match="no tensor nothing:0 .--input_tensor_name"):
            convert(graph, f"--{flag}=nothing:0")

    def test_no_backbone_input(self, tmp_path):
        with tf.Graph().as_default() as other:
            tf.constant(0.0, name="ArgMax")
        path = write(tmp_path / "other.pb", other.as_graph_def())
        with pytest.raises(ValueError, match="no tensor <scope>/<scope>/input.*--input_tensor"):
            convert(path)

    @pytest.mark.slow
    def test_several_scales(self, net):
        graph_def, _ = inference_graph.frozen(net, InferenceOptions(eval_scales=(0.5, 1.0)))
        with pytest.raises(ValueError, match="uses an image several times.*one scale"):
            frozen_graphs.backbone_input(graph_def)

    def test_what_tensorflow_lite_cannot_do(self, tmp_path):
        with tf.Graph().as_default() as other:
            images = tf.compat.v1.placeholder(tf.float32, (1, 9, 9, 3), "Net/Net/input")
            tf.raw_ops.Betainc(a=images, b=images, x=images, name="ArgMax")
        path = write(tmp_path / "other.pb", other.as_graph_def())
        with pytest.raises(ValueError, match="TensorFlow Lite cannot convert the graph: "):
            convert(path, f"--output_tflite_path={tmp_path / 'model.tflite'}")
        assert not (tmp_path / "model.tflite").exists()

    def test_a_missing_photo_is_said_before_any_work(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="photo.jpg"):
            convert(tmp_path / "no.pb", f"--test_image_path={tmp_path / 'photo.jpg'}")
