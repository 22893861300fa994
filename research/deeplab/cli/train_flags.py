"""The flags of training that are not those of the network."""

from collections.abc import Callable

from absl import flags

from deeplab import common
from deeplab.cli import augmentation_flags
from deeplab.core.options import (
    ModelOptions,
    RandomScale,
    RunOptions,
    TrainingRun,
    TrainOptions,
    fields,
)


def define_flags(define: Callable[..., None]) -> None:
    """Define the flags.

    Args:
        define: The train script's, of `common.definer`.
    """
    for options_class in (RunOptions, TrainOptions, RandomScale):
        # The label weights are a shared flag.
        common.define_options(define, options_class, leave_out={"label_weights"})
    common.define_option(define, ModelOptions, "atrous_rates")
    common.define_option(define, ModelOptions, "output_stride")
    define("string", "master", "", "No effect: hosts find each other by TF_CONFIG.")
    for name, default, help_text in (
        ("startup_delay_steps", 15, "No effect: hosts start together."),
        ("num_ps_tasks", 0, "No effect: every host keeps the variables."),
    ):
        define("integer", name, default, help_text, within=fields.NonNegativeInt)


def training_run(flag_values: flags.FlagValues) -> TrainingRun:
    """Return the options that the flags ask for.

    Raises:
        ValueError: A value is out of range.
    """
    return TrainingRun(
        files=RunOptions(**common.option_values(RunOptions, flag_values)),
        training=TrainOptions(**common.option_values(TrainOptions, flag_values)),
        scales=RandomScale(**common.option_values(RandomScale, flag_values)),
        augmentation=augmentation_flags.from_flags(flag_values),
    )
