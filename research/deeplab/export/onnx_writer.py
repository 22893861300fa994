"""Converts a network to ONNX with tf2onnx."""

import logging
from typing import Any

import numpy as np
import tensorflow as tf

from deeplab import model
from deeplab.core import depthwise, error_text, folding, keras_internals
from deeplab.core.options import InferenceOptions
from deeplab.export import inference_graph, network_facts

# The networks need at least opset 13. ONNX Runtime and OpenVINO have had fast kernels for this one
# for years.
_OPSET = 17


def check(export_path: str) -> None:
    """Check that networks can be converted, before anything slow is done.

    Raises:
        ValueError: A package is missing.
    """
    try:
        import onnxruntime
        import tf2onnx
    except ImportError as error:
        raise ValueError(
            f"--export_path={export_path} needs packages that cannot be imported ({error}):"
            " pip install 'deeplab[onnx]'"
        ) from None
    del onnxruntime, tf2onnx


def write(
    net: model.DeepLab,
    path: str,
    inference: InferenceOptions,
    facts: network_facts.NetworkFacts,
    *,
    add_probabilities: bool = True,
) -> None:
    """Write an ONNX model with batches of images of any size.

    Its input is `ImageTensor`, uint8 [images, height, width, 3]; its outputs are
    `SemanticPredictions`, int32, and `SemanticProbabilities`. Batch norms are folded into the
    convolutions, which are dilated at atrous rates.

    Args:
        net: The network; not quantized.
        path: Path of the file.
        inference: How the network is applied; without windows and CRF.
        facts: The facts about the network that the model states.
        add_probabilities: Whether the model returns probabilities as well.

    Raises:
        ValueError: ONNX lacks an operation of the network.
    """
    outputs = [inference_graph.PREDICTIONS]
    if add_probabilities:
        outputs.append(inference_graph.PROBABILITIES)
    converted = _convert(_graph(net, inference, outputs), outputs)
    _name_tensors(converted)
    for node in converted.graph.node:
        if node.op_type == "Conv":
            _state_padding(node)
    _spell_out_softmax(converted.graph)
    entry = converted.metadata_props.add()
    entry.key, entry.value = network_facts.NAME, facts.to_json()
    with open(path, "wb") as file:
        file.write(converted.SerializeToString())


def _graph(
    net: model.DeepLab, inference: InferenceOptions, outputs: list[str]
) -> tf.compat.v1.GraphDef:
    """Return the graph of a network, with its weights as constants."""
    spec = tf.TensorSpec((None, None, None, 3), tf.uint8, inference_graph.INPUT)
    # The convolutions of the network are replaced by folded ones while it is traced.
    with folding.folded(net, hold=lambda value: value):

        @tf.function(input_signature=[spec], autograph=False)
        def function(images: tf.Tensor) -> dict[str, tf.Tensor]:
            with depthwise.dilation_of_other_runtimes():
                found = inference_graph.predict_outputs(net, images, inference)
            return {name: found[name] for name in outputs}

        concrete = function.get_concrete_function()
    return keras_internals.frozen(concrete).as_graph_def(add_shapes=True)


def _convert(graph_def: tf.compat.v1.GraphDef, outputs: list[str]) -> Any:
    """Return the model of a graph, whose tensors still have their names in TensorFlow."""
    import tf2onnx

    # Each conversion logs deprecation warnings of TensorFlow and the steps of tf2onnx.
    loggers = [tf.get_logger(), logging.getLogger("tf2onnx")]
    levels = [each.level for each in loggers]
    try:
        for each in loggers:
            each.setLevel("ERROR")
        converted, _ = tf2onnx.convert.from_graph_def(
            graph_def,
            input_names=[f"{inference_graph.INPUT}:0"],
            output_names=[f"{name}:0" for name in outputs],
            opset=_OPSET,
        )
    except Exception as error:  # tf2onnx raises errors of many classes.
        raise ValueError(
            f"tf2onnx cannot convert the network: {error_text.one_line(error)}"
        ) from None
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
    return converted


def _name_tensors(converted: Any) -> None:
    """Take the colons out of the names of inputs and outputs, and name their dimensions."""
    graph = converted.graph
    renamed = {each.name: each.name.split(":")[0] for each in (*graph.input, *graph.output)}
    for each in (*graph.input, *graph.output):
        each.name = renamed[each.name]
        dimensions = each.type.tensor_type.shape.dim
        for dimension, name in zip(dimensions, ("images", "height", "width"), strict=False):
            dimension.dim_param = name
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    # The shapes of inner tensors, which runtimes infer themselves.
    del graph.value_info[:]


def _state_padding(node: Any) -> None:
    """State the padding of a convolution of stride 1: ONNX Runtime infers none with dilation."""
    attributes = {each.name: each for each in node.attribute}
    if "auto_pad" not in attributes or attributes["auto_pad"].s != b"SAME_UPPER":
        return
    if any(step != 1 for step in attributes["strides"].ints):
        return
    spans = [
        (side - 1) * rate
        for side, rate in zip(
            attributes["kernel_shape"].ints, attributes["dilations"].ints, strict=True
        )
    ]
    padding = node.attribute.add(name="pads", type=attributes["strides"].type)
    padding.ints[:] = [*(span // 2 for span in spans), *(span - span // 2 for span in spans)]
    node.attribute.remove(attributes["auto_pad"])


def _spell_out_softmax(graph: Any) -> None:
    """Replace each softmax over the first channel axis by its elementary operations.

    tf2onnx moves the channels there. ONNX Runtime would take longer for such a softmax than for all
    the rest of a small network, even if only the labels are asked for.
    """
    from onnx import helper, numpy_helper

    for place, node in reversed(list(enumerate(graph.node))):
        axis = next((each.i for each in node.attribute if each.name == "axis"), -1)
        if node.op_type != "Softmax" or axis == -1:
            continue
        (x,), (y,) = node.input, node.output
        graph.initializer.append(numpy_helper.from_array(np.array([axis]), f"{y}/axis"))
        graph.node.remove(node)
        parts = (
            helper.make_node("ReduceMax", [x], [f"{y}/largest"], axes=[axis]),
            helper.make_node("Sub", [x, f"{y}/largest"], [f"{y}/differences"]),
            helper.make_node("Exp", [f"{y}/differences"], [f"{y}/powers"]),
            helper.make_node("ReduceSum", [f"{y}/powers", f"{y}/axis"], [f"{y}/sum"]),
            helper.make_node("Div", [f"{y}/powers", f"{y}/sum"], [y]),
        )
        for part in reversed(parts):
            graph.node.insert(place, part)
