"""The learning-rate policies of the official trainer, as Keras schedules.

Follows `get_model_learning_rate` of the official `utils/train_utils.py`. The policies are
Keras schedules, which compute the same as TensorFlow 1. DeepLab adds the slow start.
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
    """Return the schedule that the flags of the same names describe.

    Args:
        learning_policy: One of `POLICIES`. If s is the step after the slow start:
            `poly` is end + (base - end) (1 - s / decay_steps)^power, and end afterwards;
            `step` is base times factor^floor(s / decay_step);
            `cosine` is base (1 + cos(pi s / steps)) / 2, and 0 afterwards;
            `multi_steps` is the i-th rate up to and including the i-th boundary.
        base_learning_rate: Rate that the policy starts from; unused by `multi_steps`.
        training_number_of_steps: Steps of the whole run, including the slow start.
        learning_power: Power of `poly`.
        end_learning_rate: Last rate of `poly`.
        decay_steps: Duration of `poly` in steps; 0: all steps after the slow start.
        learning_rate_decay_step: Steps between two decays of `step`.
        learning_rate_decay_factor: Factor of each decay of `step`.
        boundaries: Increasing steps of `multi_steps`, counted from the end of the slow start.
        boundary_learning_rates: Rates of `multi_steps`, one more than boundaries.
        slow_start_step: Number of steps before the policy begins.
        slow_start_learning_rate: Rate of these steps.
        slow_start_burnin_type: `none`, or `linear`: from that rate to the base rate.

    Returns:
        A schedule. It takes the number of updates made so far and returns a float32 scalar.

    Raises:
        ValueError: An unknown policy or burn-in type, boundaries that do not match their rates, or
            boundaries for another policy than `multi_steps`.
    """
    if learning_policy != "multi_steps" and (boundaries or boundary_learning_rates):
        raise ValueError(
            "--boundaries and --boundary_learning_rates belong to --learning_policy=multi_steps,"
            f" but it is {learning_policy}"
        )
    # At least one step: a run that is all slow start never uses the policy.
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
                    "--learning_policy=multi_steps needs increasing --boundaries and one more"
                    f" --boundary_learning_rates, not {boundaries} and {boundary_learning_rates}"
                )
            schedule = schedules.PiecewiseConstantDecay(steps, rates)
        case _:
            raise ValueError(
                f"--learning_policy is {learning_policy!r}; it must be one of {', '.join(POLICIES)}"
            )
    if slow_start_burnin_type not in ("none", "linear"):
        raise ValueError(
            f"--slow_start_burnin_type is {slow_start_burnin_type!r}; it must be none or linear"
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
    """A schedule that begins after a number of steps with a learning rate of their own.

    Args:
        schedule: The schedule after the slow start; its step 0 is the first step after it.
        steps: Number of steps of the slow start.
        learning_rate: Rate of the slow start.
        burn_in_to: Rate that the slow start rises to linearly; None: it stays constant.
        name: Name of the schedule.
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
        """Return the rate of the update after `step` updates."""
        step = tf.convert_to_tensor(step)
        slow = tf.constant(self.learning_rate, tf.float32)
        if self.burn_in_to is not None:
            rise = self.burn_in_to - self.learning_rate
            slow += rise * tf.cast(step, tf.float32) / self.steps
        after = self.schedule(tf.maximum(step - self.steps, 0))
        return tf.where(step < self.steps, slow, after)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            "schedule": keras.optimizers.schedules.serialize(self.schedule),
            "steps": self.steps,
            "learning_rate": self.learning_rate,
            "burn_in_to": self.burn_in_to,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SlowStart":
        """Return the schedule that `get_config` describes."""
        schedule = keras.optimizers.schedules.deserialize(config["schedule"])
        return cls(**(config | {"schedule": schedule}))
