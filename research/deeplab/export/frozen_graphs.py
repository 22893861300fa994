"""Reads frozen graphs, and the facts about their networks in them."""

import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from deeplab.core import regular_files
from deeplab.export import inference_graph, network_facts
from deeplab.utils import checkpoint_files
from deeplab.weights import foreign_files

# The node with the preprocessed images has this name, in official MobileNets and in every network
# here.
_BACKBONE_INPUT = re.compile(r"([^/]+)/\1/input")
_SAVED_MODEL_FILE = "saved_model.pb"
# TensorFlow ignores attributes whose names begin with an underscore.
_FACTS = f"_{network_facts.NAME}"


def read(path: str) -> tf.compat.v1.GraphDef:
    """Read a frozen graph.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a frozen graph.
    """
    if checkpoint_files.latest(path):
        raise ValueError(
            f"{path} is a checkpoint, not a frozen graph: export it first, with"
            f" deeplab-export-model --checkpoint_path={path} --export_path=frozen.pb"
        )
    if tf.io.gfile.isdir(path):
        raise ValueError(f"{path} is a folder; a frozen graph is a file (--export_path=....pb)")
    regular_files.require(path)
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            graph_def = tf.compat.v1.GraphDef.FromString(file.read())
    except tf.errors.NotFoundError:
        raise FileNotFoundError(f"there is no frozen graph {path}") from None
    except Exception as error:  # The protocol buffers' error has no public name.
        meaning = None if path.endswith(".pb") else foreign_files.describe(path)
        reason = f"it is {meaning}" if meaning else error
        raise ValueError(f"{path} is not a frozen graph: {_of_saved_model(path, reason)}") from None
    if not graph_def.node:
        reason = _of_saved_model(path, "it has no operations")
        raise ValueError(f"{path} is not a frozen graph: {reason}")
    return graph_def


def _of_saved_model(path: str, reason: Any) -> Any:
    """Return the reason why a file is no frozen graph, if its name does not tell it."""
    if os.path.basename(path) != _SAVED_MODEL_FILE:
        return reason
    return f"it is a part of the SavedModel {os.path.dirname(path) or '.'}"


def facts(graph_def: tf.compat.v1.GraphDef, path: str) -> network_facts.NetworkFacts | None:
    """Return the facts that a graph states about its network; None if it states none.

    Args:
        graph_def: The graph.
        path: Its file, for messages.

    Raises:
        ValueError: The facts are damaged.
    """
    for node in graph_def.node:
        if node.name == inference_graph.INPUT and _FACTS in node.attr:
            return network_facts.parse(node.attr[_FACTS].s, f"{path}: {_FACTS}")
    return None


def state(graph_def: tf.compat.v1.GraphDef, facts: network_facts.NetworkFacts) -> None:
    """Add the facts about the network to a graph."""
    for node in graph_def.node:
        if node.name == inference_graph.INPUT:
            node.attr[_FACTS].s = facts.to_json().encode()


def scores(graph: tf.Graph) -> list[int | None] | None:
    """Return the shape of the probabilities, or of the input of the arg-max; None if unknown."""
    names = {each.name: each for each in graph.get_operations()}
    tensors = [
        *(each.outputs[0] for each in [names.get(inference_graph.PROBABILITIES)] if each),
        *(each.inputs[0] for each in names.values() if each.type == "ArgMax"),
    ]
    shapes = (each.shape.as_list() for each in tensors if each.shape.rank)
    return next((shape for shape in shapes if shape[-1]), None)


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


def takes_images(graph_def: tf.compat.v1.GraphDef) -> bool:
    """Return whether the graph takes images, like those of `export_model.py`."""
    return any(node.name == inference_graph.INPUT for node in graph_def.node)


def is_quantized(graph_def: tf.compat.v1.GraphDef) -> bool:
    """Return whether the graph simulates 8-bit inference: it has fake-quantization operations."""
    return any(node.op.startswith("FakeQuantWithMinMax") for node in graph_def.node)


def pixel_values(
    graph_def: tf.compat.v1.GraphDef, tensor: str, size: Sequence[int]
) -> tuple[network_facts.Color, network_facts.Color] | None:
    """Return the scale and offset by which the preprocessing changes pixels.

    Args:
        graph_def: The graph.
        tensor: The preprocessed images.
        size: Height and width of images that need no padding.

    Returns:
        The factor of each color, 0..255, and the offset that is then added to it; None if the
        tensor is not images.
    """
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.import_graph_def(graph_def, name="")
        black, white = (
            session.run(tensor, {f"{inference_graph.INPUT}:0": images})
            for images in (np.full((1, *size, 3), level, np.uint8) for level in (0, 255))
        )
    if black.ndim != 4 or black.shape[-1] != 3:
        return None
    offset, last = (values.mean(axis=(0, 1, 2), dtype=np.float64) for values in (black, white))
    return tuple(((last - offset) / 255).tolist()), tuple(offset.tolist())
