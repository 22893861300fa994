"""Converts frozen graphs to TensorFlow Lite, and compares both."""

import re
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import tensorflow as tf
from absl import logging

from deeplab.datasets import image_files
from deeplab.export import frozen_graphs, inference_graph
from deeplab.utils import files, temporary_files

# The node with the preprocessed images has this name, in official MobileNets and in every network
# here.
_BACKBONE_INPUT = re.compile(r"([^/]+)/\1/input")


def convert_file(
    graph_path: str,
    model_path: str | None,
    input_tensor: str | None = None,
    output_tensor: str = "ArgMax:0",
    *,
    test_image_path: str | None = None,
    dynamic_range: bool = False,
) -> None:
    """Convert the file of a frozen graph to that of a TensorFlow Lite model.

    Args:
        graph_path: Of the frozen graph.
        model_path: Of the model. None: it is not kept.
        input_tensor: see `convert`. None: that of `backbone_input`.
        output_tensor: see `convert`.
        test_image_path: Image on which to compare graph and model. None: they are not compared.
        dynamic_range: see `convert`.

    Raises:
        FileNotFoundError: A file does not exist.
        ValueError: The graph cannot be converted, or the image cannot be read.
    """
    if model_path:
        files.check_file("output_tflite_path", model_path)
    image = image_files.read(test_image_path) if test_image_path else None
    graph_def = frozen_graphs.read(graph_path)
    input_tensor = input_tensor or backbone_input(graph_def)
    model = convert(graph_def, input_tensor, output_tensor, dynamic_range)
    if image is not None:
        found = compare(graph_def, model, image, input_tensor, output_tensor)
        print(f"{found.same_labels:.2%} of the pixels have the same label as in {graph_path}")
        if found.largest_difference is not None:
            print(f"the largest difference of a value is {found.largest_difference:.3g}")
    if model_path:
        temporary_files.remove_leftovers_of(model_path)
        files.write_bytes(model_path, model)
        logging.info("wrote %s (%d bytes)", model_path, len(model))
    else:
        logging.warning("the model is not kept: --output_tflite_path is not set")


def backbone_input(graph_def: tf.compat.v1.GraphDef) -> str:
    """Return the tensor with the preprocessed images, such as `MobilenetV2/MobilenetV2/input:0`.

    Raises:
        ValueError: No tensor has such a name, or several have, because the graph uses several
            scales or flips.
    """
    names = [node.name for node in graph_def.node]
    found = [name for name in names if _BACKBONE_INPUT.fullmatch(name)]
    if not found:
        raise ValueError(
            "the graph has no tensor <scope>/<scope>/input: give the one with the preprocessed"
            f" images as --input_tensor_name, or {inference_graph.INPUT}:0 for the whole graph"
        )
    if f"{found[0]}_1" in names:
        raise ValueError(
            f"the graph uses an image several times ({found[0]}, {found[0]}_1, ...): export it with"
            " one scale and no flips"
        )
    return f"{found[0]}:0"


def is_quantized(graph_def: tf.compat.v1.GraphDef) -> bool:
    """Return whether the graph simulates 8-bit inference: it has fake-quantization operations."""
    return any(node.op.startswith("FakeQuantWithMinMax") for node in graph_def.node)


def convert(
    graph_def: tf.compat.v1.GraphDef,
    input_tensor: str,
    output_tensor: str = "ArgMax:0",
    dynamic_range: bool = False,
) -> bytes:
    """Convert a part of a frozen graph, for images of the crop size.

    A quantized graph becomes a model of 8-bit integers with the ranges of training, which takes
    pixels, uint8. Any other graph becomes a model of floats, which takes the values of the input
    tensor.

    Args:
        graph_def: The graph, ours or official.
        input_tensor: Name of the model's input; see `backbone_input`. The graph's own input is
            possible, too.
        output_tensor: Name of the model's output.
        dynamic_range: Store the weights of a float graph as 8-bit integers.

    Returns:
        The TensorFlow Lite model.

    Raises:
        ValueError: There is no such tensor, its size is unknown, or TensorFlow Lite lacks an
            operation of the graph.
    """
    quantized = is_quantized(graph_def)
    if quantized and dynamic_range:
        raise ValueError("--dynamic_range is for float graphs; this one is quantized already")
    dtype, shape = _input_spec(graph_def, input_tensor)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        given = tf.compat.v1.placeholder(dtype, shape, input_tensor.split(":")[0])
        (output,) = _import(graph_def, shape[1:3], {input_tensor: given}, [output_tensor])
        converter = tf.compat.v1.lite.TFLiteConverter.from_session(session, [given], [output])
        if quantized:
            converter.inference_type = tf.uint8
            (name,) = converter.get_input_arrays()
            statistics = _input_statistics(graph_def, input_tensor, shape[1:3])
            converter.quantized_input_stats = {name: statistics}
        elif dynamic_range:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        try:
            return converter.convert()
        except Exception as error:  # Among others the converter's own, which has no public name.
            reason = next((line for line in str(error).splitlines() if line.strip()), error)
            raise ValueError(f"TensorFlow Lite cannot convert the graph: {reason}") from None


def _input_spec(graph_def: tf.compat.v1.GraphDef, input_tensor: str) -> tuple[tf.DType, list[int]]:
    """Return type and shape of the tensor for images of the crop size."""
    whole = input_tensor.split(":")[0] == inference_graph.INPUT
    preprocessed = backbone_input(graph_def) if whole else input_tensor
    # If the graph does not know the shape, an image of one pixel shows it: it is padded to the crop
    # size.
    for size in (None, (1, 1)):
        with tf.Graph().as_default():
            (tensor,) = _import(graph_def, size, {}, [preprocessed])
        if tensor.shape.is_fully_defined():
            return tf.uint8 if whole else tensor.dtype, tensor.shape.as_list()
    raise ValueError(
        f"the shape of {preprocessed} is {tensor.shape}, so its size is unknown: give the tensor"
        " after the preprocessing as --input_tensor_name"
    )


def _input_statistics(
    graph_def: tf.compat.v1.GraphDef, input_tensor: str, size: Sequence[int]
) -> tuple[float, float]:
    """Return the mean and deviation that map pixels, 0..255, to the values of the input tensor."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.import_graph_def(graph_def, name="")
        black, white = (
            session.run(input_tensor, {f"{inference_graph.INPUT}:0": images})
            for images in (np.full((1, *size, 3), level, np.uint8) for level in (0, 255))
        )
    if max(np.ptp(black), np.ptp(white)) > 1e-3:
        raise ValueError(
            f"{input_tensor} has another scale for each color, because a mean pixel is"
            " subtracted; a model of integers needs a single one: use a --model_variant whose input"
            " is -1 to 1"
        )
    deviation = 255.0 / float(white.mean() - black.mean())
    return round(-float(black.mean()) * deviation, 3), round(deviation, 3)


def _import(
    graph_def: tf.compat.v1.GraphDef,
    size: tuple[int, int] | None,
    inputs: dict[str, tf.Tensor],
    outputs: list[str],
) -> list[tf.Tensor]:
    """Add a graph to the current one, and return some of its tensors.

    With a size, the images are a constant, so that every size that depends on theirs is known.
    """
    names = {node.name for node in graph_def.node}
    for tensor in [*inputs, *outputs]:
        if tensor.split(":")[0] not in names:
            raise ValueError(
                f"the graph has no tensor {tensor} (--input_tensor_name, --output_tensor_name)"
            )
    images = f"{inference_graph.INPUT}:0"
    if size and inference_graph.INPUT in names and images not in inputs:
        inputs = {images: tf.zeros((1, *size, 3), tf.uint8), **inputs}
    return tf.compat.v1.import_graph_def(
        graph_def, input_map=inputs, return_elements=outputs, name=""
    )


class Comparison(NamedTuple):
    """How well a conversion agrees with its graph.

    Attributes:
        same_labels: Share of the pixels with the same label: of the labels that the output holds,
            or of the arg-max over the last axis of probabilities and logits.
        largest_difference: Of two values of an output with fractions; None for labels.
    """

    same_labels: float
    largest_difference: float | None = None


def compare(
    graph_def: tf.compat.v1.GraphDef,
    tflite_model: bytes,
    image: np.ndarray,
    input_tensor: str,
    output_tensor: str = "ArgMax:0",
) -> Comparison:
    """Compare the outputs of a graph and of its conversion on an image.

    Args:
        graph_def: The graph.
        tflite_model: The result of `convert`.
        image: uint8 [height, width, 3], RGB; it is resized to the input of the model.
        input_tensor: As for `convert`.
        output_tensor: As for `convert`.
    """
    with warnings.catch_warnings():
        # Its replacement is a package of its own, which is not required here.
        warnings.filterwarnings("ignore", message=".*tf.lite.Interpreter is deprecated")
        interpreter = tf.lite.Interpreter(model_content=tflite_model)
    interpreter.allocate_tensors()
    (given,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    _, height, width, _ = given["shape"]
    images = cv2.resize(image, (int(width), int(height)))[np.newaxis]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.import_graph_def(graph_def, name="")
        expected, preprocessed = session.run(
            [output_tensor, input_tensor], {f"{inference_graph.INPUT}:0": images}
        )
    quantized = given["dtype"] == np.uint8
    interpreter.set_tensor(given["index"], images if quantized else preprocessed)
    interpreter.invoke()
    found = interpreter.get_tensor(result["index"])
    if not np.issubdtype(expected.dtype, np.floating):
        return Comparison(float(np.mean(found == expected)))
    if np.issubdtype(found.dtype, np.integer):
        scale, zero = result["quantization"]
        found = (found.astype(np.float32) - zero) * scale
    return Comparison(
        float(np.mean(found.argmax(axis=-1) == expected.argmax(axis=-1))),
        float(np.abs(found - expected).max()),
    )
