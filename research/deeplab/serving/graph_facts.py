"""Facts about the graph of a SavedModel, read without loading it."""

import dataclasses
import itertools
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf

from deeplab.core import error_text, keras_internals
from deeplab.core.wording import agree, counted
from deeplab.export import destination, inference_graph, loaded_model
from deeplab.serving.findings import ExportFindings
from deeplab.utils import file_systems, files

_OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"
_XLA_FUNCTION = "_XlaMustCompile"
_XLA_OPERATIONS = ("XlaLaunch", "XlaLaunchV2", "XlaCallModule", "_XlaCompile", "_XlaRun")
_LISTED = 4


@dataclasses.dataclass(frozen=True)
class StoredSignature:
    """A signature as it is stored.

    Args:
        inputs: Type and shape of each input.
        outputs: Type and shape of each output.
    """

    inputs: Mapping[str, tf.TensorSpec]
    outputs: Mapping[str, tf.TensorSpec]


@dataclasses.dataclass(frozen=True)
class GraphFacts:
    """Facts about the graph that a server loads.

    Args:
        tensorflow_version: Version of the TensorFlow that wrote it.
        signatures: The signatures by name.
        operations: Number of operations.
        unknown: Kinds of operations that this TensorFlow does not know.
        onednn: Operations that run with oneDNN only.
        xla: Functions and operations that XLA compiles.
        variables: Number of variables.
        variable_bytes: Their size in bytes.
    """

    tensorflow_version: str
    signatures: Mapping[str, StoredSignature]
    operations: int
    unknown: tuple[str, ...]
    onednn: tuple[str, ...]
    xla: tuple[str, ...]
    variables: int
    variable_bytes: int


def read(path: str, findings: ExportFindings) -> GraphFacts | None:
    """Return the facts about a graph; None if a server could not load it.

    Args:
        path: Folder of a SavedModel.
        findings: List to which new findings are added.
    """
    file = os.path.join(path, destination.SAVED_MODEL_FILE)
    try:
        graphs = keras_internals.saved_graphs(files.read_bytes(file))
    except (OSError, ValueError) as error:
        findings.fault("unreadable", f"{file} cannot be read: {error_text.one_line(error)}")
        return None
    tags = [sorted(graph.meta_info_def.tags) for graph in graphs]
    if [tf.saved_model.SERVING] not in tags:
        findings.fault(
            "no_serve_tag", f"{path} has graphs with the tags {tags}; a server takes the tag serve"
        )
        return None
    graph = graphs[tags.index([tf.saved_model.SERVING])]
    try:
        signatures = {
            name: StoredSignature(
                loaded_model.specs(definition.inputs), loaded_model.specs(definition.outputs)
            )
            for name, definition in sorted(graph.signature_def.items())
            if definition.inputs
        }
    except (TypeError, ValueError) as error:
        findings.fault("unreadable", f"{file}, signatures: {error_text.one_line(error)}")
        return None
    functions = graph.graph_def.library.function
    nodes = [*graph.graph_def.node]
    nodes += itertools.chain.from_iterable(each.node_def for each in functions)
    count, size = _variables(path, findings)
    found = GraphFacts(
        tensorflow_version=graph.meta_info_def.tensorflow_version,
        signatures=signatures,
        operations=len(nodes),
        unknown=_unknown(nodes, {each.signature.name for each in functions}),
        onednn=tuple(inference_graph.needing_onednn(graph.graph_def)),
        xla=_compiled(nodes, functions),
        variables=count,
        variable_bytes=size,
    )
    _judge(found, findings)
    return found


def _unknown(nodes: Iterable[Any], functions: set[str]) -> tuple[str, ...]:
    kinds = {node.op for node in nodes} - functions
    return tuple(sorted(kind for kind in kinds if not keras_internals.is_known_operation(kind)))


def _compiled(nodes: Iterable[Any], functions: Iterable[Any]) -> tuple[str, ...]:
    compiled = [each.signature.name for each in functions if each.attr[_XLA_FUNCTION].b]
    compiled += [
        node.name for node in nodes if node.attr[_XLA_FUNCTION].b or node.op in _XLA_OPERATIONS
    ]
    return tuple(compiled)


def _variables(path: str, findings: ExportFindings) -> tuple[int, int]:
    """Return the number of the variables, and their size in bytes."""
    prefix = os.path.join(path, "variables", "variables")
    if not tf.io.gfile.exists(f"{prefix}.index"):
        return 0, 0
    try:
        with file_systems.without_wildcards(path) as plain:
            variables = os.path.join(plain, "variables", "variables")
            reader = tf.compat.v1.train.NewCheckpointReader(variables)
        shapes = reader.get_variable_to_shape_map()
        types = reader.get_variable_to_dtype_map()
    except (RuntimeError, ValueError, tf.errors.OpError) as error:
        findings.fault("unreadable", f"{prefix} cannot be read: {error_text.one_line(error)}")
        return 0, 0
    names = [name for name in shapes if name != _OBJECTS]
    return len(names), sum(math.prod(shapes[name]) * types[name].size for name in names)


def _judge(found: GraphFacts, findings: ExportFindings) -> None:
    if not found.signatures:
        findings.fault("no_signature", "there is no signature that a client could call")
    elif tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY not in found.signatures:
        findings.warn(
            "no_default_signature",
            "there is no signature serving_default, the only one that some platforms call",
        )
    if found.unknown:
        findings.fault(
            "unknown_operations",
            f"TensorFlow {tf.__version__} does not know {_listed(found.unknown)}, so this and older"
            " servers do not either",
        )
    if found.onednn:
        findings.warn(
            "needs_onednn",
            f"{counted(len(found.onednn), 'operation')}"
            f" {agree(len(found.onednn), 'runs', 'run')} with oneDNN only, which the image"
            " tensorflow/serving lacks; deeplab-export-model --target=portable avoids them",
        )
    if found.xla:
        findings.warn(
            "needs_xla",
            f"XLA compiles {_listed(found.xla)}: a server without XLA fails at the first request",
        )


def _listed(names: tuple[str, ...]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} others" if more > 0 else "")
