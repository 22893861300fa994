"""The learning-rate policies of the official trainer, as Keras schedules.

Follows `get_model_learning_rate` of the official `utils/train_utils.py`. The policies are
Keras schedules, which compute the same as TensorFlow 1. DeepLab adds the slow start.
"""

from typing import Any

import keras
import tensorflow as tf

from deeplab.core.options import TrainOptions


def learning_rate_schedule(
    options: TrainOptions,
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Return the schedule that the options describe.

    If s is the step after the slow start, the policy
    `poly` is end + (base - end) (1 - s / decay_steps)^power, and end afterward;
    `step` is base times factor^floor(s / decay_step);
    `cosine` is base (1 + cos(pi s / steps)) / 2, and 0 afterward;
    `multi_steps` is the i-th rate up to and including the i-th boundary.

    Args:
        options: Policy and slow start, and the number of steps of the whole run.

    Returns:
        A schedule. It takes the number of updates made so far and returns a float32 scalar.

    Raises:
        ValueError: Boundaries do not match their rates, or are for another policy than
            `multi_steps`.

    Example:
        schedule = learning_rate_schedule(TrainOptions(learning_policy="cosine"))
    """
    boundaries, rates = options.boundaries, options.boundary_learning_rates
    if options.learning_policy != "multi_steps" and (boundaries or rates):
        raise ValueError(
            "--boundaries and --boundary_learning_rates belong to --learning_policy=multi_steps,"
            f" but it is {options.learning_policy}"
        )
    base = options.base_learning_rate
    # At least one step: a run that is all slow start never uses the policy.
    steps = max(options.training_number_of_steps - options.slow_start_step, 1)
    schedules = keras.optimizers.schedules
    match options.learning_policy:
        case "poly":
            schedule = schedules.PolynomialDecay(
                base,
                options.decay_steps or steps,
                options.end_learning_rate,
                options.learning_power,
            )
        case "step":
            schedule = schedules.ExponentialDecay(
                base,
                options.learning_rate_decay_step,
                options.learning_rate_decay_factor,
                staircase=True,
            )
        case "cosine":
            schedule = schedules.CosineDecay(base, steps)
        case "multi_steps":
            ordered = sorted(set(boundaries or ()))
            if not ordered or list(boundaries) != ordered or len(rates or ()) != len(ordered) + 1:
                raise ValueError(
                    "--learning_policy=multi_steps needs increasing --boundaries and one more"
                    f" --boundary_learning_rates, not {boundaries} and {rates}"
                )
            schedule = schedules.PiecewiseConstantDecay(ordered, list(rates))
    if not options.slow_start_step:
        return schedule
    return SlowStart(
        schedule,
        options.slow_start_step,
        options.slow_start_learning_rate,
        base if options.slow_start_burnin_type == "linear" else None,
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
