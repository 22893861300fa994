"""Sources of initial values that a checkpoint holds in another shape or under another name."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np


def _itself(name: str) -> str:
    return name


def _never(name: str) -> bool:
    del name
    return False


@dataclasses.dataclass(frozen=True, kw_only=True)
class KerasWeights:
    """Converts the weights of a network of `keras.applications`.

    Attributes:
        name: Name of the network in Keras.
        convert: Takes the arrays of each layer by the layer's name, and returns them by official
            name. It raises a ValueError that names the missing part.
    """

    name: str
    convert: Callable[[Mapping[str, Sequence[np.ndarray]]], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightSources:
    """Initial values of a backbone's variables that a checkpoint does not hold as they are.

    Attributes:
        source: Takes the official name of a variable that the checkpoint lacks, and returns that of
            one to start from.
        is_subsampled: Takes an official name, and returns whether the variable may start from a
            part of a larger value.
        keras_weights: Keras' network whose weights it can start from; None: there is none.
    """

    source: Callable[[str], str] = _itself
    is_subsampled: Callable[[str], bool] = _never
    keras_weights: KerasWeights | None = None
