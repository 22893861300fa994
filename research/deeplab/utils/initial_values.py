"""Initial values that a checkpoint stores in another shape or under another name.

- fc6 and fc7 of VGG-16 come from an image classifier with a larger kernel and more channels. They
  are subsampled as in DeepLab v1 (arXiv 1412.7062, section 3.2).
- All branches of DeepLab v2 start from the same fc6 and fc7.
- Copies of the last block of a ResNet (DeepLab v3, arXiv 1706.05587, section 3.2) start from the
  values of that block.
"""

import re
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

_FC = re.compile(r"(vgg_16/fc[67])(?:_\d+)?(/(?:weights|biases))")
_COPIED_UNIT = re.compile(r"(resnet_v1_\d+)/block(?:[5-9]|\d\d+)/unit_(\d+)/(.*)")


class InitialValues:
    """The values of a checkpoint in the names and shapes of a network that starts from it.

    Has the methods of what `tf.train.load_checkpoint` returns: `get_variable_to_shape_map`,
    `has_tensor` and `get_tensor`.

    Args:
        reader: The open checkpoint.
        variables: The network's variables by their official names.
    """

    def __init__(self, reader: Any, variables: Mapping[str, keras.Variable]):
        self._reader = reader
        self._stored = {k: tuple(v) for k, v in reader.get_variable_to_shape_map().items()}
        self._shapes = dict(self._stored)
        # Stored name for each variable that has another name or a smaller shape in the network.
        self._sources: dict[str, str] = {}
        for name, variable in variables.items():
            source = name if name in self._stored else _substitute(name)
            if source not in self._stored:
                continue
            there, here = self._stored[source], tuple(variable.shape)
            if _FC.fullmatch(name) and there != here and _covers(there, here):
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


def _substitute(name: str) -> str:
    """Return the name of the variable that provides the value of a missing one."""
    if match := _FC.fullmatch(name):
        return "".join(match.groups())
    if match := _COPIED_UNIT.fullmatch(name):
        network, unit, rest = match.groups()
        # The first unit of block 4 has a projection and fewer inputs, unlike all units of copies.
        return f"{network}/block4/unit_{max(int(unit), 2)}/{rest}"
    return name


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
