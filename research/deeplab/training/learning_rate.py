"""The learning-rate policies of the official trainer, as Keras schedules.

Follows `get_model_learning_rate` of the official `utils/train_utils.py`. The policies themselves
are Keras' own schedules, which compute what TensorFlow 1 did; what DeepLab adds is the slow start.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

POLICIES = ("poly", "step", "cosine", "multi_steps")


def learning_rate_schedule(
    learning_policy: str = "poly",
    *,
    base_learning_rate: float,
    training_number_of_steps: int,
    learning_power: float = 0.9,
    end_learning_rate: float = 0.0,
    decay_steps: float = 0.0,
    learning_rate_decay_step: int = 2000,
    learning_rate_decay_factor: float = 0.1,
    boundaries: Sequence[int] | None = None,
    boundary_learning_rates: Sequence[float] | None = None,
    slow_start_step: int = 0,
    slow_start_learning_rate: float = 1e-4,
    slow_start_burnin_type: str = "none",
) -> keras.optimizers.schedules.LearningRateSchedule:
    """The schedule that the flags of the same names describe.

    Args:
        learning_policy: one of `POLICIES`. With s the step after the slow start:
            `poly` is end + (base - end) (1 - s / decay_steps)^power, and end afterwards;
            `step` is base times factor^floor(s / decay_step);
            `cosine` is base (1 + cos(pi s / steps)) / 2, and 0 afterwards;
            `multi_steps` is the i-th rate up to and including the i-th boundary.
        base_learning_rate: the rate that the policy starts from; unused by `multi_steps`.
        training_number_of_steps: steps of the whole run, the slow start included.
        learning_power: power of `poly`.
        end_learning_rate: last rate of `poly`.
        decay_steps: steps that `poly` takes; 0: all that follow the slow start.
        learning_rate_decay_step: steps between two falls of `step`.
        learning_rate_decay_factor: what `step` multiplies the rate by.
        boundaries: rising steps, counted from the end of the slow start, of `multi_steps`.
        boundary_learning_rates: rates of `multi_steps`, one more than boundaries.
        slow_start_step: number of steps before the policy begins.
        slow_start_learning_rate: the rate of these steps.
        slow_start_burnin_type: `none`, or `linear`: from that rate to the base rate.

    Returns:
        A schedule: called with the number of updates made so far it gives a float32 scalar.

    Raises:
        ValueError: an unknown policy or burn-in, boundaries that do not fit their rates, or that
            the policy does not know.
    """
    if learning_policy != "multi_steps" and (boundaries or boundary_learning_rates):
        raise ValueError(
            "--boundaries and --boundary_learning_rates belong to --learning_policy=multi_steps,"
            f" but it is {learning_policy}"
        )
    # At least one step: in a run that is all slow start the policy is never asked.
    steps = max(training_number_of_steps - slow_start_step, 1)
    schedules = keras.optimizers.schedules
    match learning_policy:
        case "poly":
            schedule = schedules.PolynomialDecay(
                base_learning_rate, decay_steps or steps, end_learning_rate, learning_power
            )
        case "step":
            schedule = schedules.ExponentialDecay(
                base_learning_rate,
                learning_rate_decay_step,
                learning_rate_decay_factor,
                staircase=True,
            )
        case "cosine":
            schedule = schedules.CosineDecay(base_learning_rate, steps)
        case "multi_steps":
            rates = list(boundary_learning_rates or ())
            steps = list(boundaries or ())
            if not steps or steps != sorted(set(steps)) or len(rates) != len(steps) + 1:
                raise ValueError(
                    "--learning_policy=multi_steps needs rising --boundaries and one more"
                    f" --boundary_learning_rates, not {boundaries} and {boundary_learning_rates}"
                )
            schedule = schedules.PiecewiseConstantDecay(steps, rates)
        case _:
            raise ValueError(
                f"unknown learning policy {learning_policy!r}; there are {', '.join(POLICIES)}"
            )
    if slow_start_burnin_type not in ("none", "linear"):
        raise ValueError(
            f"unknown slow_start_burnin_type {slow_start_burnin_type!r}; there are none, linear"
        )
    if slow_start_step <= 0:
        return schedule
    return SlowStart(
        schedule,
        slow_start_step,
        slow_start_learning_rate,
        base_learning_rate if slow_start_burnin_type == "linear" else None,
    )


@keras.saving.register_keras_serializable(package="deeplab")
class SlowStart(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that begins after some steps at a rate of their own.

    Args:
        schedule: what follows; its step 0 is the first after the slow start.
        steps: number of steps of the slow start.
        learning_rate: their rate.
        burn_in_to: rate that the slow start rises to, linearly; None: it stays.
        name: name of the schedule.
    """

    def __init__(
        self,
        schedule: keras.optimizers.schedules.LearningRateSchedule,
        steps: int,
        learning_rate: float,
        burn_in_to: float | None = None,
        name: str = "SlowStart",
    ):
        self.schedule = schedule
        self.steps = steps
        self.learning_rate = learning_rate
        self.burn_in_to = burn_in_to
        self.name = name

    def __call__(self, step: tf.Tensor | int) -> tf.Tensor:
        """The rate of the update that follows `step` others."""
        step = tf.convert_to_tensor(step)
        slow = tf.constant(self.learning_rate, tf.float32)
        if self.burn_in_to is not None:
            rise = self.burn_in_to - self.learning_rate
            slow += rise * tf.cast(step, tf.float32) / self.steps
        after = self.schedule(tf.maximum(step - self.steps, 0))
        return tf.where(step < self.steps, slow, after)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {
            "schedule": keras.optimizers.schedules.serialize(self.schedule),
            "steps": self.steps,
            "learning_rate": self.learning_rate,
            "burn_in_to": self.burn_in_to,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SlowStart":
        """The schedule that `get_config` describes."""
        schedule = keras.optimizers.schedules.deserialize(config["schedule"])
        return cls(**(config | {"schedule": schedule}))
