"""How layers that act differently as training goes on learn of it.

Such a layer offers a method

    begin_training(schedule: TrainingSchedule, name: str) -> dict[str, keras.Variable]

which `begin_training` finds by walking the network. `name` is the layer's official name. The method
returns the variables that the layer makes for training, by official name; most layers return none.
"""

import dataclasses
from collections.abc import Callable

import keras
import tensorflow as tf

from deeplab.core import scopes


def _at_the_start() -> tf.Tensor:
    return tf.zeros(())


@dataclasses.dataclass(frozen=True)
class TrainingSchedule:
    """What layers are told of a run.

    Attributes:
        progress: returns the share of the run's steps that are done, a float scalar; called in each
            step.
        is_rounding: returns whether quantizers round values in this step, a boolean scalar; called
            in each step. None: they always do.
        drop_path_keep_prob: probability that the last NAS cell keeps an operation at the end of
            training.
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
    """Call `begin_training` of every layer that has it, before a training step is compiled.

    Args:
        network: the network, built.
        schedule: what to tell the layers. None: the defaults.

    Returns:
        The variables that layers make for training, by official name. They are not the network's,
        but part of the state of the run, as the slots of an optimizer are.
    """
    schedule = schedule or TrainingSchedule()
    variables = {}
    for layer in network._flatten_layers():
        if hasattr(layer, "begin_training"):
            name = scopes.official_name(layer.path, network.name)
            variables |= layer.begin_training(schedule, name)
    return variables
