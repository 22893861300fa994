"""Reads frozen graphs, and what they say of their networks."""

import tensorflow as tf

from deeplab.export import inference_graph, network_facts
from deeplab.utils import checkpoint_files
from deeplab.weights import foreign_files

# TensorFlow leaves attributes alone whose names begin like this.
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
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            graph_def = tf.compat.v1.GraphDef.FromString(file.read())
    except tf.errors.NotFoundError:
        raise FileNotFoundError(f"there is no frozen graph {path}") from None
    except Exception as error:  # The protocol buffers' error has no public name.
        meaning = None if path.endswith(".pb") else foreign_files.describe(path)
        reason = f"it is {meaning}" if meaning else error
        raise ValueError(f"{path} is not a frozen graph: {reason}") from None
    if not graph_def.node:
        raise ValueError(f"{path} is not a frozen graph: it has no operations")
    return graph_def


def facts(graph_def: tf.compat.v1.GraphDef, path: str) -> network_facts.NetworkFacts | None:
    """Return what a graph says of its network; None if it says nothing, as official ones.

    Args:
        graph_def: The graph.
        path: Its file, for messages.

    Raises:
        ValueError: What it says is damaged.
    """
    for node in graph_def.node:
        if node.name == inference_graph.INPUT and _FACTS in node.attr:
            return network_facts.parse(node.attr[_FACTS].s, f"{path}: {_FACTS}")
    return None


def state(graph_def: tf.compat.v1.GraphDef, facts: network_facts.NetworkFacts) -> None:
    """Add what a client has to know of the network to a graph."""
    for node in graph_def.node:
        if node.name == inference_graph.INPUT:
            node.attr[_FACTS].s = facts.to_json().encode()
