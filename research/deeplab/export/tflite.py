"""Converts frozen graphs to TensorFlow Lite, and compares the models with their graphs."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from deeplab.cli import writable
from deeplab.core.options import LiteOptions
from deeplab.export import (
    agreement,
    bias_correction,
    fitting,
    frozen_graphs,
    half_weights,
    inference_graph,
    lite_network,
    network_facts,
    photographs,
)
from deeplab.export.photographs import Photograph
from deeplab.utils import files, temporary_files

_DEFAULT = LiteOptions()
# The color of the padding for a graph that does not state it. Most networks map it to 0.
_GRAY = (127.5, 127.5, 127.5)
# Least number of photographs, if there are as many, on which the means of all values are measured.
_LEAST_PHOTOS_FOR_MEANS = 16


def convert_file(
    graph_path: str,
    model_path: str | None,
    input_tensor: str | None = None,
    output_tensor: str = "ArgMax:0",
    options: LiteOptions = _DEFAULT,
) -> None:
    """Convert the file of a frozen graph to the file of a TensorFlow Lite model.

    The model is compared with the graph, on photographs or drawn images, before it is written.

    Args:
        graph_path: Path of the frozen graph.
        model_path: Path of the model. None: it is only compared, and not written.
        input_tensor: See `convert`. None: see `frozen_graphs.backbone_input`.
        output_tensor: See `convert`.
        options: The kind of the model, and images.

    Raises:
        FileNotFoundError: A file does not exist.
        ValueError: The graph cannot be converted, an image cannot be read, or the labels of a float
            model differ from those of the graph. Nothing is written then.
    """
    if model_path:
        writable.check_file("output_tflite_path", model_path, writable.LITE_MODEL)
    tests = representative = None
    if source := options.test_image_path:
        tests = photographs.read("test_image_path", source, options.num_test_images)
    if source := options.representative_images:
        count = options.num_representative_images
        representative = photographs.read("representative_images", source, count)
    graph_def = frozen_graphs.read(graph_path)
    input_tensor = input_tensor or frozen_graphs.backbone_input(graph_def)
    comparable = frozen_graphs.takes_images(graph_def)
    if not comparable and (tests or representative):
        raise ValueError(
            f"{graph_path} has no {inference_graph.INPUT}, so it cannot be given photographs: leave"
            " --test_image_path, --int8 and --representative_images out"
        )
    model = convert(graph_def, input_tensor, output_tensor, options, representative)
    facts = None
    if comparable:
        facts = _facts(graph_def, graph_path, input_tensor)
        found = compare(graph_def, model, tests, input_tensor, output_tensor, facts)
        print(f"{found.labels} as in {graph_path}")
        if found.largest_difference is not None:
            print(f"the largest difference of a value is {found.largest_difference:.3g}")
        if options.computes_in_floats and not frozen_graphs.is_quantized(graph_def):
            agreement.require(model_path or graph_path, found.labels)
    else:
        logging.warning("%s has no %s: not compared", graph_path, inference_graph.INPUT)
    if model_path:
        if facts:
            model = lite_network.with_facts(model, facts)
        temporary_files.remove_leftovers_of(model_path)
        files.write_bytes(model_path, model)
        logging.info("wrote %s (%d bytes)", model_path, len(model))
    else:
        logging.warning("the model is not kept: --output_tflite_path is not set")


def convert(
    graph_def: tf.compat.v1.GraphDef,
    input_tensor: str,
    output_tensor: str = "ArgMax:0",
    options: LiteOptions = _DEFAULT,
    representative: Sequence[Photograph] | None = None,
) -> bytes:
    """Convert a part of a frozen graph, for images of the crop size.

    A quantized graph becomes a model of 8-bit integers with the ranges from training, which takes
    pixels, uint8. A float graph becomes a float model, which takes the values of the input tensor;
    or a model of 8-bit integers with ranges measured on photographs, which takes uint8.

    Args:
        graph_def: The graph, ours or official.
        input_tensor: Name of the model's input; see `frozen_graphs.backbone_input`. The graph's own
            input is possible, too.
        output_tensor: Name of the model's output.
        options: The kind of the model.
        representative: Photographs on which the ranges of 8-bit integers are measured.

    Returns:
        The TensorFlow Lite model.

    Raises:
        ValueError: There is no such tensor, its size is unknown, or TensorFlow Lite lacks an
            operation of the graph.
    """
    quantized = frozen_graphs.is_quantized(graph_def)
    if quantized and options.kind:
        raise ValueError(f"{options.kind} is for float graphs; this one is quantized already")
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
        elif options.dynamic_range or options.int8:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if options.int8:
            converter.representative_dataset = lambda: _inputs(
                graph_def, input_tensor, shape[1:3], representative or ()
            )
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            if dtype.is_floating:
                converter.inference_input_type = tf.uint8
            if output.dtype.is_floating:
                converter.inference_output_type = tf.uint8
        try:
            model = converter.convert()
        except Exception as error:  # The converter's own error has no public name.
            reason = next((line for line in str(error).splitlines() if line.strip()), error)
            raise ValueError(f"TensorFlow Lite cannot convert the graph: {reason}") from None
    if options.float16:
        return half_weights.store(model)
    if not options.int8 or not representative:
        return model
    floats = convert(graph_def, input_tensor, output_tensor)
    photos = representative[:: max(1, len(representative) // _LEAST_PHOTOS_FOR_MEANS)]
    inputs = _inputs(graph_def, input_tensor, shape[1:3], photos)
    # The first one is no photograph.
    next(inputs)
    return bias_correction.correct(model, floats, (values for (values,) in inputs))


def _inputs(
    graph_def: tf.compat.v1.GraphDef,
    input_tensor: str,
    size: Sequence[int],
    photos: Sequence[Photograph],
) -> Iterator[list[np.ndarray]]:
    """Yield the input of the model for photographs.

    The first image is black and white, so that the range of the input covers all pixels. If all
    colors have the same range, each gray level then has its own integer.
    """
    extremes = np.zeros((*size, 3), np.uint8)
    extremes[: size[0] // 2] = 255
    mean_pixel = _mean_pixel(graph_def, "the graph")
    with _running(graph_def) as run:
        for image in (extremes, *(photo.image for photo in photos)):
            pixels = np.round(fitting.fit(image, size, mean_pixel).pixels).astype(np.uint8)
            (values,) = run(pixels, [input_tensor])
            yield [values]


@contextlib.contextmanager
def _running(graph_def: tf.compat.v1.GraphDef) -> Iterator[Any]:
    """Yield a function from an image, uint8 [height, width, 3], and names to tensors."""
    with tf.Graph().as_default() as graph:
        tf.compat.v1.import_graph_def(graph_def, name="")
    with contextlib.closing(tf.compat.v1.Session(graph=graph)) as session:
        yield lambda image, names: session.run(
            names, {f"{inference_graph.INPUT}:0": image[np.newaxis]}
        )


def _mean_pixel(graph_def: tf.compat.v1.GraphDef, path: str) -> network_facts.Color:
    facts = frozen_graphs.facts(graph_def, path)
    return facts.mean_pixel if facts else _GRAY


def _facts(
    graph_def: tf.compat.v1.GraphDef, path: str, input_tensor: str
) -> network_facts.NetworkFacts | None:
    """Return the facts that a model of the graph should state; None if they are unknown."""
    stated = facts = frozen_graphs.facts(graph_def, path)
    if facts is None:
        with tf.Graph().as_default() as graph:
            tf.compat.v1.import_graph_def(graph_def, name="")
        try:
            facts = network_facts.of_shapes(frozen_graphs.scores(graph), path)
        except ValueError:
            return None
    if input_tensor.split(":")[0] == inference_graph.INPUT:
        return facts
    _, shape = _input_spec(graph_def, input_tensor)
    values = frozen_graphs.pixel_values(graph_def, input_tensor, shape[1:3])
    if values is None:
        return facts
    scale, offset = values
    if not stated:
        # The preprocessing maps the mean pixel to 0.
        facts = facts.replace(
            mean_pixel=tuple(-low / step for step, low in zip(scale, offset, strict=True))
        )
    return facts.replace(pixel_scale=scale, pixel_offset=offset)


def _input_spec(graph_def: tf.compat.v1.GraphDef, input_tensor: str) -> tuple[tf.DType, list[int]]:
    """Return type and shape of the tensor for images of the crop size."""
    whole = input_tensor.split(":")[0] == inference_graph.INPUT
    preprocessed = frozen_graphs.backbone_input(graph_def) if whole else input_tensor
    # If the graph does not state the shape, find it with an image of one pixel, which is padded to
    # the crop size.
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
    values = frozen_graphs.pixel_values(graph_def, input_tensor, size)
    if values is None or max(np.ptp(values[0]) * 255, np.ptp(values[1])) > 1e-3:
        raise ValueError(
            f"{input_tensor} has a different scale for each color, because a mean pixel is"
            " subtracted; a model of integers needs a single scale: use a --model_variant whose"
            " input is -1 to 1"
        )
    scale, offset = (float(np.mean(each)) for each in values)
    return round(-offset / scale, 3), round(1 / scale, 3)


def _import(
    graph_def: tf.compat.v1.GraphDef,
    size: tuple[int, int] | None,
    inputs: dict[str, tf.Tensor],
    outputs: list[str],
) -> list[tf.Tensor]:
    """Add a graph to the current one, and return some of its tensors.

    With a size, the images are a constant, so that all shapes that depend on theirs are known.
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
        labels: Agreement of the labels, or of the arg-max of probabilities or logits.
        largest_difference: Largest difference of two values of a float output; None for labels.
    """

    labels: agreement.Agreement
    largest_difference: float | None = None


def compare(
    graph_def: tf.compat.v1.GraphDef,
    tflite_model: bytes,
    photos: Sequence[Photograph] | None,
    input_tensor: str,
    output_tensor: str = "ArgMax:0",
    facts: network_facts.NetworkFacts | None = None,
) -> Comparison:
    """Compare the outputs of a graph and of its conversion on photographs.

    Args:
        graph_def: The graph.
        tflite_model: The result of `convert`.
        photos: The photographs, which are fitted to the input; see `fitting`. None: drawn ones.
        input_tensor: See `convert`.
        output_tensor: See `convert`.
        facts: Facts about the network. None: unknown.
    """
    model = lite_network.LiteModel("the model", tflite_model)
    size = model.shape[:2]
    mean_pixel = facts.mean_pixel if facts else _GRAY
    scale = (facts and facts.pixel_scale) or (2 / 255,) * 3
    offset = (facts and facts.pixel_offset) or (-1.0,) * 3
    largest: list[float] = []

    def predictions() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
        for photo in photos or photographs.drawn([-(-3 * size[0] // 4), size[1]]):
            fitted = fitting.fit(photo.image, size, mean_pixel)
            pixels = np.round(fitted.pixels).astype(np.uint8)
            expected, preprocessed = (
                values[0] for values in run(pixels, [output_tensor, input_tensor])
            )
            if np.issubdtype(model.dtype, np.floating):
                found = model.run(preprocessed)
            else:
                found = model.run(model.encode(pixels, scale, offset))
            label = photo.label
            if np.issubdtype(expected.dtype, np.floating):
                largest.append(float(np.abs(found - expected).max()))
                expected, found = expected.argmax(axis=-1), found.argmax(axis=-1)
            if expected.shape == size:
                shown = tuple(map(slice, fitted.size))
                expected, found = expected[shown], found[shown]
                label = label if label is None else fitting.resize(label, fitted.size)
            else:
                # The grid of the logits, which the label does not have.
                label = None
            yield expected, found, label

    num_classes = facts.num_classes if facts else 2
    ignore_label = facts.descriptor.ignore_label if facts and facts.descriptor else None
    with _running(graph_def) as run:
        found = agreement.measure(predictions(), num_classes, ignore_label)
    return Comparison(found, max(largest, default=None))
