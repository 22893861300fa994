"""A SavedModel loaded as TensorFlow Serving loads it: in a session."""

import contextlib
import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from deeplab.utils import file_systems


@dataclasses.dataclass(frozen=True)
class LoadedSignature:
    """A signature of a loaded SavedModel.

    Args:
        inputs: Type and shape of each input, with the name of its tensor.
        outputs: Type and shape of each output, with the name of its tensor.
        session: Runs the graph.
    """

    inputs: Mapping[str, tf.TensorSpec]
    outputs: Mapping[str, tf.TensorSpec]
    session: tf.compat.v1.Session

    def check(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Reject inputs that a server refuses, of other names or types; a session converts them.

        Args:
            inputs: A value for each input; an array of objects holds strings.

        Raises:
            ValueError: The message names what does not fit.
        """
        if inputs.keys() != self.inputs.keys():
            raise ValueError(f"inputs {sorted(inputs)} in place of {sorted(self.inputs)}")
        for name, value in inputs.items():
            wanted = self.inputs[name].dtype
            given = tf.string if value.dtype == object else tf.as_dtype(value.dtype)
            if given != wanted:
                raise ValueError(f"{name} has the type {given.name} in place of {wanted.name}")

    def run(self, inputs: Mapping[str, Any], names: Collection[str] = ()) -> dict[str, np.ndarray]:
        """Return outputs by their names.

        Args:
            inputs: A value for each input.
            names: Names of the outputs to return. Empty: all.
        """
        wanted = {name: self.outputs[name].name for name in names or self.outputs}
        found = self.session.run(
            wanted, {self.inputs[name].name: value for name, value in inputs.items()}
        )
        # A single string comes back as it is.
        return {
            name: np.array(value, object) if isinstance(value, bytes) else value
            for name, value in found.items()
        }


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A SavedModel in a session.

    Args:
        signatures: The signatures by name; those without inputs are left out.
        meta_graph: The protocol buffer of the graph that was loaded.
    """

    signatures: Mapping[str, LoadedSignature]
    meta_graph: tf.compat.v1.MetaGraphDef


def specs(tensors: Mapping[str, Any]) -> dict[str, tf.TensorSpec]:
    """Return type, shape and tensor of the inputs or outputs of a signature's definition."""
    return {
        name: tf.TensorSpec(tf.TensorShape(info.tensor_shape), tf.as_dtype(info.dtype), info.name)
        for name, info in sorted(tensors.items())
    }


@contextlib.contextmanager
def opened(path: str, *, optimize_once: bool = False) -> Iterator[LoadedModel]:
    """Yield a SavedModel that is loaded until the block ends.

    Args:
        path: Its folder.
        optimize_once: Optimize graphs in one round and not in two. A round takes most of the time
            of a small network, and the second one repeats the same passes.
    """
    graph = tf.Graph()
    config = tf.compat.v1.ConfigProto()
    if optimize_once:
        config.graph_options.rewrite_options.meta_optimizer_iterations = 1
    logger = tf.get_logger()
    level = logger.level
    with (
        file_systems.without_wildcards(path) as plain,
        # As a context manager, the session would make its graph the default one.
        contextlib.closing(tf.compat.v1.Session(graph=graph, config=config)) as session,
    ):
        # This function warns that it is deprecated, but it loads as servers do.
        logger.setLevel("ERROR")
        try:
            with graph.as_default():
                loaded = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], plain)
        finally:
            logger.setLevel(level)
        signatures = {
            name: LoadedSignature(specs(definition.inputs), specs(definition.outputs), session)
            for name, definition in loaded.signature_def.items()
            if definition.inputs
        }
        yield LoadedModel(signatures, loaded)
