"""Initial values that a checkpoint holds in another shape or under another name.

- fc6 and fc7 of VGG-16 come from an image classifier whose kernel is larger and whose channels are
  more: they are subsampled, as the authors of DeepLab v1 did (arXiv 1412.7062, section 3.2).
- Every branch of DeepLab v2 starts from the same fc6 and fc7.
- A copy of a ResNet's last block (v3, arXiv 1706.05587, section 3.2) starts as what it copies.
"""

import re
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

_FC = re.compile(r"(vgg_16/fc[67])(?:_\d+)?(/(?:weights|biases))")
_COPIED_UNIT = re.compile(r"(resnet_v1_\d+)/block(?:[5-9]|\d\d+)/unit_(\d+)/(.*)")


class InitialValues:
    """A checkpoint as a network sees it that starts from it.

    It has what `tf.train.load_checkpoint` returns: `get_variable_to_shape_map`, `has_tensor` and
    `get_tensor`.
    """

    def __init__(self, reader: Any, variables: Mapping[str, keras.Variable]):
        """Finds out where the values come from; reads none.

        Args:
            reader: the open checkpoint.
            variables: of the network, by their official names.
        """
        self._reader = reader
        self._stored = {k: tuple(v) for k, v in reader.get_variable_to_shape_map().items()}
        self._shapes = dict(self._stored)
        # Name of each variable that is made from another, or from a larger one, to that one's.
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
        """The shape of each variable that the checkpoint holds or that is made from one of it."""
        return self._shapes

    def has_tensor(self, name: str) -> bool:
        """Whether there is a value of that name."""
        return name in self._shapes

    def get_tensor(self, name: str) -> np.ndarray:
        """The value of a variable."""
        value = self._reader.get_tensor(self._sources.get(name, name))
        return subsample(value, self._shapes[name]) if name in self._sources else value

    def origin(self, name: str) -> str:
        """What a variable is made from, such as " from NAME (7, 7, 512, 4096)"; else ""."""
        source = self._sources.get(name)
        return f" from {source} {self._stored[source]}" if source else ""


def _substitute(name: str) -> str:
    """The variable that one of this name may start from where it is missing."""
    if match := _FC.fullmatch(name):
        return "".join(match.groups())
    if match := _COPIED_UNIT.fullmatch(name):
        network, unit, rest = match.groups()
        # The first unit of the last block has a projection and fewer inputs; no unit of a copy has.
        return f"{network}/block4/unit_{max(int(unit), 2)}/{rest}"
    return name


def _covers(there: tuple[int, ...], here: tuple[int, ...]) -> bool:
    """Whether a value of one shape can be subsampled to the other."""
    return len(there) == len(here) and all(a >= b for a, b in zip(there, here, strict=True))


def subsample(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Takes a part of a convolution's weights or biases.

    Args:
        value: [height, width, inputs, outputs] or [outputs].
        shape: no larger in any dimension.

    Returns:
        Of the kernel the taps that are evenly spread from the first to the last (0, 3 and 6 of 7
        for 3; 0, 2, 4 and 6 for 4), of the channels every n-th from the first on.
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
