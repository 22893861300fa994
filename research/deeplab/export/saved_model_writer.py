"""Writes a SavedModel and all files that belong to it into a folder."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import tensorflow as tf
from absl import logging

from deeplab import model
from deeplab.core import folding, networks
from deeplab.core.options import ExportOptions, InferenceOptions
from deeplab.datasets import descriptors
from deeplab.export import (
    comparison,
    decoding,
    inference_graph,
    saved_model,
    server_files,
    signatures,
    traced_network,
    warm_up,
)
from deeplab.utils import files, stored_options
from deeplab.visualization import colors

# Names and colors of the classes for clients, in the folder `assets` of a SavedModel.
CLASSES_FILE = os.path.join("assets", "classes.json")

_IGNORE_LABEL = 255


def class_colors(num_classes: int, descriptor: descriptors.DatasetDescriptor | None) -> np.ndarray:
    """Return the colors of the classes, uint8 [at least num_classes, 3], RGB."""
    return descriptor.label_colors() if descriptor else colors.distinct_colors(num_classes)


def write(
    net: model.DeepLab,
    folder: str,
    model_name: str,
    inference: InferenceOptions,
    options: ExportOptions,
    descriptor: descriptors.DatasetDescriptor | None = None,
) -> None:
    """Write a SavedModel with the signatures of `signatures.signatures`.

    Args:
        net: The network.
        folder: An empty folder on this machine.
        model_name: Name of the model on a server.
        inference: How the network is applied.
        options: Options of the SavedModel.
        descriptor: The dataset that the network was trained on.
    """
    table = class_colors(net.options.num_classes, descriptor)
    ignore_label = descriptor.ignore_label if descriptor else _IGNORE_LABEL
    with _network(net, options) as (network, weights), _quiet():
        functions = signatures.signatures(network, inference, options, table, ignore_label)
        # Saving would trace every nested function again.
        traced = {name: each.get_concrete_function() for name, each in functions.items()}
        if options.target == "portable":
            inference_graph.check_portable(traced[signatures.LABELS])
        module = tf.Module()
        module.weights = weights
        tf.saved_model.save(
            module,
            folder,
            signatures=traced,
            options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),
        )
    stored_options.save(folder, net.options)
    if descriptor:
        descriptor.save(os.path.join(folder, saved_model.DATASET_FILE))
    if options.max_batch_size:
        server_files.write_batching(folder, options.max_batch_size)
    _write_assets(net, folder, inference, options, table, descriptor)
    warm_up.write(folder, model_name, _requests(net, functions, options.max_pixels))


@contextlib.contextmanager
def _network(
    net: model.DeepLab, options: ExportOptions
) -> Iterator[tuple[traced_network.TracedNetwork, list[Any]]]:
    """Yield the network for the signatures, and the variables and tensors that it needs."""
    native = options.target == "cpu"
    if net.options.quantize:
        yield traced_network.TracedNetwork(net, native), [each.value for each in net.weights]
        return
    weights: list[Any] = []

    def hold(value: tf.Tensor) -> Any:
        if native:
            # oneDNN rearranges constants once, and variables at each call.
            return value.numpy()
        weights.append(tf.Variable(value, trainable=False))
        return weights[-1]

    exact = net.logits.branches if net.logits else ()
    precision = (
        networks.precision(net, "mixed_bfloat16")
        if options.precision == "bfloat16"
        else contextlib.nullcontext()
    )
    with precision, folding.folded(net, hold, exact) as others:
        weights += [each.value for each in others]
        yield traced_network.TracedNetwork(net, native), weights


def _requests(
    net: model.DeepLab, functions: dict[str, Any], max_pixels: int | None
) -> list[warm_up.Request]:
    """Return a request of one image of the crop size to each signature.

    A file has no more pixels than are taken: the network pads it to the crop size all the same.
    """
    height, width = comparison.crop_size(net)
    coarse = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    image = cv2.resize(coarse, (width, height))
    small = cv2.resize(coarse, decoding.limited((height, width), max_pixels)[::-1])
    inputs = {
        inference_graph.INPUT: image[np.newaxis],
        signatures.IMAGE_BYTES: np.array([tf.io.encode_jpeg(small).numpy()], object),
    }
    requests = []
    for name, function in functions.items():
        (argument,) = function.input_signature
        requests.append(warm_up.Request(name, {argument.name: inputs[argument.name]}))
    return requests


def _write_assets(
    net: model.DeepLab,
    folder: str,
    inference: InferenceOptions,
    options: ExportOptions,
    table: np.ndarray,
    descriptor: descriptors.DatasetDescriptor | None,
) -> None:
    names = descriptor.class_names if descriptor else None
    classes = [
        {
            "label": label,
            "name": names[label] if names else str(label),
            "color": table[label].tolist(),
        }
        for label in range(net.options.num_classes)
    ]
    described = {
        "network": dataclasses.asdict(net.options),
        "inference": dataclasses.asdict(inference),
        "export": dataclasses.asdict(options),
        "ignore_label": descriptor.ignore_label if descriptor else None,
    }
    for name, value in (
        (CLASSES_FILE, classes),
        (saved_model.OPTIONS_FILE, described),
    ):
        files.write_text(os.path.join(folder, name), json.dumps(value, indent=2) + "\n")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the pages of generated names that TensorFlow logs while it saves."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
