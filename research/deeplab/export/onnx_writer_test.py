"""ONNX models say what their networks say, for images of any size and number."""

import builtins
import os

import numpy as np
import pytest
import tensorflow as tf

from deeplab.export import exporter, inference_graph, onnx_writer, runtimes
from deeplab.export.export_details import ExportDetails
from deeplab.testing import tiny

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("tf2onnx")


@pytest.fixture(scope="module")
def atrous_net():
    """A network with an ASPP and a decoder, so that all kinds of convolutions are dilated."""
    with tiny.shallow():
        return tiny.network(
            tiny.OPTIONS.replace(atrous_rates=(2, 6, 9), decoder_output_stride=(4,))
        )


@pytest.mark.slow
def test_any_number_of_images_of_any_size(atrous_net, dataset, tmp_path, capsys):
    path = tmp_path / "new" / "net.onnx"
    exporter.export_onnx(
        atrous_net,
        str(path),
        details=ExportDetails(
            descriptor=dataset,
            card=lambda written, name: f"{name} {os.path.getsize(written)}",
        ),
    )
    assert "% of the pixels of 2 images have the same label" in capsys.readouterr().out
    card = (path.parent / "net.MODEL_CARD.md").read_text()
    assert card == f"net.onnx {path.stat().st_size}"
    assert len(os.listdir(path.parent)) == 2
    network = runtimes.open_network(str(path))
    assert (network.num_classes, network.descriptor) == (4, dataset)
    for size in ((33, 33), (40, 50), (21, 60)):
        images = np.stack([tiny.picture(*size, seed) for seed in range(2)])
        found = network.outputs(images)
        expected = inference_graph.predict_outputs(atrous_net, tf.constant(images))
        assert list(found) == ["SemanticPredictions", "SemanticProbabilities"]
        np.testing.assert_allclose(
            found["SemanticProbabilities"], expected["SemanticProbabilities"], atol=1e-4
        )
        assert np.mean(found["SemanticPredictions"] == expected["SemanticPredictions"]) >= 0.999
        assert len(np.unique(found["SemanticPredictions"])) > 1

    model = onnx.load(path)
    (given,) = model.graph.input
    assert given.name == "ImageTensor"
    dimensions = given.type.tensor_type.shape.dim
    assert [each.dim_param or each.dim_value for each in dimensions] == [
        *("images", "height", "width", 3)
    ]
    operations = {node.op_type for node in model.graph.node}
    assert not operations & {"SpaceToDepth", "DepthToSpace", "BatchNormalization"}
    # Over channels that come first it is slow.
    assert "Softmax" not in operations
    rates = {
        tuple(attribute.ints)
        for node in model.graph.node
        for attribute in node.attribute
        if attribute.name == "dilations"
    }
    assert {(2, 2), (6, 6), (9, 9)} <= rates


@pytest.mark.parametrize(
    ("kernel", "rate", "pads"),
    [(3, 1, [1, 1, 1, 1]), (3, 6, [6, 6, 6, 6]), (5, 2, [4, 4, 4, 4]), (2, 3, [1, 1, 2, 2])],
)
def test_padding_is_that_of_tensorflow(kernel, rate, pads):
    node = onnx.helper.make_node(
        *("Conv", ["x", "w"], ["y"]),
        auto_pad="SAME_UPPER",
        kernel_shape=[kernel, kernel],
        dilations=[rate, rate],
        strides=[1, 1],
    )
    onnx_writer._state_padding(node)
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    assert attributes["pads"] == pads
    assert "auto_pad" not in attributes


def test_a_model_that_computes_something_else_is_not_kept(net, tmp_path, monkeypatch):
    helper, kinds = onnx.helper, onnx.TensorProto
    shape = ("images", "height", "width")
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["ImageTensor"], ["wide"], to=kinds.INT32),
            helper.make_node("ArgMax", ["wide"], ["SemanticPredictions"], axis=3, keepdims=0),
        ],
        "other",
        [helper.make_tensor_value_info("ImageTensor", kinds.UINT8, (*shape, 3))],
        [helper.make_tensor_value_info("SemanticPredictions", kinds.INT64, shape)],
    )
    other = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def write(net, path, inference, facts, *, add_probabilities):
        helper.set_model_props(other, {"deeplab": facts.to_json()})
        onnx.save(other, path)

    monkeypatch.setattr(onnx_writer, "write", write)
    path = tmp_path / "net.onnx"
    path.write_bytes(b"earlier")
    with pytest.raises(ValueError, match=f"{path}: SemanticPredictions differs from the network"):
        exporter.export_onnx(net, str(path))
    assert os.listdir(tmp_path) == ["net.onnx"]
    assert path.read_bytes() == b"earlier"


def test_a_missing_package_is_named_before_the_work(monkeypatch):
    found = builtins.__import__

    def without(name, *arguments):
        if name == "tf2onnx":
            raise ImportError("No module named 'tf2onnx'")
        return found(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"needs packages.*'tf2onnx'.*deeplab\[onnx\]"):
        onnx_writer.check("net.onnx")
