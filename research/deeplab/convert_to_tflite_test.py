"""TensorFlow Lite models say what the graphs say that they were made of."""

import re

import numpy as np
import pytest
import tensorflow as tf

from deeplab import convert_to_tflite, model
from deeplab.core import feature_extractor
from deeplab.core.options import InferenceOptions
from deeplab.export import frozen_graphs, inference_graph, tflite
from deeplab.testing import tiny

pytestmark = pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")

INPUT = "MobilenetV2/MobilenetV2/input:0"


def write(path, graph_def):
    path.write_bytes(graph_def.SerializeToString())
    return path


@pytest.fixture(scope="module", autouse=True)
def _shallow():
    with tiny.shallow():
        yield


@pytest.fixture(scope="module")
def net(_shallow):
    return tiny.network()


@pytest.fixture(scope="module")
def graph(net, tmp_path_factory):
    """Our frozen graph of a float network for 33x33 pixels."""
    return write(tmp_path_factory.mktemp("graph") / "float.pb", inference_graph.frozen(net)[0])


@pytest.fixture(scope="module")
def quantized_net(_shallow):
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


def agreement(capsys):
    (share,) = re.findall(r"^([\d.]+)% of the pixels", capsys.readouterr().out, re.MULTILINE)
    return float(share)


def details(path):
    interpreter = tf.lite.Interpreter(model_path=str(path))
    (given,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.allocate_tensors()
    return given, result, {op["op_name"] for op in interpreter._get_ops_details()}


class TestFloat:
    @pytest.mark.slow
    def test_agrees_with_the_graph(self, graph, photo, tmp_path, capsys):
        path = tmp_path / "new" / "model.tflite"
        convert(graph, f"--output_tflite_path={path}", f"--test_image_path={photo}")
        assert agreement(capsys) > 99
        given, result, operations = details(path)
        assert (given["shape"].tolist(), given["dtype"]) == ([1, 33, 33, 3], np.float32)
        assert (result["shape"].tolist(), result["dtype"]) == ([1, 33, 33], np.int64)
        # Atrous convolutions and aligned resizing are operations of their own there.
        assert not {name for name in operations if "SPACE" in name or "Flex" in name}
        assert {"DEPTHWISE_CONV_2D", "RESIZE_BILINEAR"} <= operations

    def test_agreement_can_be_missed(self, graph):
        graph_def = frozen_graphs.read(str(graph))
        model = tflite.convert(graph_def, INPUT)
        (arg_max,) = [node for node in graph_def.node if node.op == "ArgMax"]
        arg_max.op = "ArgMin"
        found = tflite.compare(graph_def, model, tiny.picture(33, 33), INPUT)
        assert found == tflite.Comparison(0.0)

    @pytest.mark.slow
    def test_with_preprocessing_takes_pixels(self, graph, photo, tmp_path, capsys):
        path = tmp_path / "model.tflite"
        flags = (f"--output_tflite_path={path}", f"--test_image_path={photo}")
        convert(graph, *flags, "--input_tensor_name=ImageTensor:0")
        assert agreement(capsys) > 99
        assert details(path)[0]["dtype"] == np.uint8

    @pytest.mark.slow
    def test_dynamic_range_is_smaller(self, graph):
        graph_def = frozen_graphs.read(str(graph))
        model, small = (
            tflite.convert(graph_def, INPUT, dynamic_range=dynamic) for dynamic in (False, True)
        )
        assert len(small) < len(model)
        image = tiny.picture(33, 33)
        assert tflite.compare(graph_def, small, image, INPUT).same_labels > 0.9

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
        (share,) = re.findall(r"^([\d.]+)% of the pixels have the same label", text, re.MULTILINE)
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
        image = tiny.picture(33, 33)
        found = tflite.compare(graph_def, model, image, INPUT, "halved:0")
        assert found.same_labels > 0.99
        assert 0.125 < found.largest_difference <= 0.5


class TestQuantized:
    @pytest.mark.slow
    def test_is_all_integers_and_agrees(self, quantized_graph, photo, tmp_path, capsys):
        path = tmp_path / "model.tflite"
        convert(quantized_graph, f"--output_tflite_path={path}", f"--test_image_path={photo}")
        # Classes are close in a random network: half a gray level changes a tenth of its labels.
        assert agreement(capsys) > 80
        given, result, operations = details(path)
        assert not {name for name in operations if "Flex" in name}
        assert (given["shape"].tolist(), given["dtype"]) == ([1, 33, 33, 3], np.uint8)
        scale, zero_point = given["quantization"]
        assert scale == pytest.approx(1 / 127.5, rel=1e-4)
        assert zero_point in (127, 128)
        assert result["dtype"] == np.int64
        interpreter = tf.lite.Interpreter(model_path=str(path))
        types = {each["dtype"] for each in interpreter.get_tensor_details()}
        assert np.float32 not in types

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
    def test_an_input_with_a_scale_for_each_color_is_refused(self, tmp_path):
        net = model.DeepLab(tiny.OPTIONS.replace(quantize=True))
        net.preprocess = feature_extractor.subtract_vgg_mean
        graph_def, _ = inference_graph.frozen(net)
        with pytest.raises(ValueError, match=f"{INPUT} has another scale for each color"):
            convert(write(tmp_path / "graph.pb", graph_def))

    def test_dynamic_range_is_refused(self, quantized_graph):
        with pytest.raises(ValueError, match="--dynamic_range is for float graphs"):
            convert(quantized_graph, "--dynamic_range")


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
            tflite.backbone_input(graph_def)

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
