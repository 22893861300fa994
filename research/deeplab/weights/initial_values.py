"""Initial values that a checkpoint stores in another shape or under another name."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from deeplab.core.weight_sources import WeightSources


class InitialValues:
    """The values of a checkpoint in the names and shapes of a network that starts from it.

    Has the methods of what `tf.train.load_checkpoint` returns: `get_variable_to_shape_map`,
    `has_tensor` and `get_tensor`.

    Args:
        reader: The open checkpoint.
        variables: The network's variables by their official names.
        sources: Sources of values that the checkpoint lacks.
    """

    def __init__(
        self, reader: Any, variables: Mapping[str, keras.Variable], sources: WeightSources
    ):
        self._reader = reader
        self._stored = {k: tuple(v) for k, v in reader.get_variable_to_shape_map().items()}
        self._shapes = dict(self._stored)
        # Stored name for each variable that has another name or a smaller shape in the network.
        self._sources: dict[str, str] = {}
        for name, variable in variables.items():
            source = name if name in self._stored else sources.source(name)
            if source not in self._stored:
                continue
            there, here = self._stored[source], tuple(variable.shape)
            if sources.is_subsampled(name) and there != here and _covers(there, here):
                self._shapes[name] = here
                self._sources[name] = source
            elif source != name:
                self._shapes[name] = there
                self._sources[name] = source

    def get_variable_to_shape_map(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each variable that has a value."""
        return self._shapes

    def has_tensor(self, name: str) -> bool:
        """Return whether the variable has a value."""
        return name in self._shapes

    def get_tensor(self, name: str) -> np.ndarray:
        """Return the value of a variable."""
        value = self._reader.get_tensor(self._sources.get(name, name))
        return subsample(value, self._shapes[name]) if name in self._sources else value

    def origin(self, name: str) -> str:
        """Return the source of a changed value, such as " from NAME (7, 7, 512, 4096)", or ""."""
        source = self._sources.get(name)
        return f" from {source} {self._stored[source]}" if source else ""


def _covers(there: tuple[int, ...], here: tuple[int, ...]) -> bool:
    """Return whether a value of the first shape can be subsampled to the second."""
    return len(there) == len(here) and all(a >= b for a, b in zip(there, here, strict=True))


def subsample(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Subsample the weights or biases of a convolution.

    Takes kernel taps that are evenly spread from the first to the last (0, 3 and 6 of 7 taps for a
    kernel of 3; 0, 2, 4 and 6 for a kernel of 4), and every n-th channel from the first on.

    Args:
        value: Weights [height, width, inputs, outputs] or biases [outputs].
        shape: The new shape; no dimension may be larger.

    Returns:
        The part of `value`, of that shape.
    """
    for axis, (there, here) in enumerate(zip(value.shape, shape, strict=True)):
        if there == here:
            continue
        if axis < len(shape) - 2:
            taken = np.linspace(0, there - 1, here).round().astype(int)
        else:
            taken = np.arange(here) * there // here
        value = np.take(value, taken, axis)
    return value
