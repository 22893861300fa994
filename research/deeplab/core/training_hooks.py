"""Tells layers that behave differently during training that it begins.

Such a layer has a method

    begin_training(schedule: TrainingSchedule, name: str) -> dict[str, keras.Variable]

which the function `begin_training` calls for each layer of a network. `name` is the layer's
official name. The method returns the variables that the layer creates for training, by official
name.
"""

import dataclasses
from collections.abc import Callable

import keras
import tensorflow as tf

from deeplab.core import keras_internals, scopes


def _at_the_start() -> tf.Tensor:
    return tf.zeros(())


@dataclasses.dataclass(frozen=True)
class TrainingSchedule:
    """The facts about a run that layers need.

    Attributes:
        progress: Returns the share of the steps that are done, a float scalar; called in each step.
        is_rounding: Returns whether quantizers round values in this step, a boolean scalar; called
            in each step. None: they always do.
        drop_path_keep_prob: Probability with which the last NAS cell keeps an operation at the end
            of training.
    """

    progress: Callable[[], tf.Tensor] = _at_the_start
    is_rounding: Callable[[], tf.Tensor] | None = None
    drop_path_keep_prob: float = 1.0

    def __post_init__(self):
        if not 0.0 < self.drop_path_keep_prob <= 1.0:
            raise ValueError(
                f"--drop_path_keep_prob is {self.drop_path_keep_prob}; it must be above 0 and at"
                " most 1"
            )


def begin_training(
    network: keras.layers.Layer, schedule: TrainingSchedule | None = None
) -> dict[str, keras.Variable]:
    """Call `begin_training` of each layer that has it. Do it before a training step is compiled.

    Args:
        network: The network, built.
        schedule: The facts about the run. None: the defaults.

    Returns:
        The variables that layers create for training, by official name. They do not belong to the
        network but to the state of the run, like the slots of an optimizer.
    """
    schedule = schedule or TrainingSchedule()
    variables = {}
    for layer in keras_internals.sublayers(network):
        if hasattr(layer, "begin_training"):
            name = scopes.official_name(layer.path, network.name)
            variables |= layer.begin_training(schedule, name)
    return variables
