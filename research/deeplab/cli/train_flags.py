"""The flags of training that are not those of the network."""

from collections.abc import Callable

from absl import flags

from deeplab import common
from deeplab.core.options import ModelOptions, RandomScale, RunOptions, TrainOptions, fields


def define_flags(define: Callable[..., None]) -> None:
    """Define the flags.

    Args:
        define: the train script's, of `common.definer`.
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


def run_options(flag_values: flags.FlagValues) -> RunOptions:
    """Return what the flags ask a run to read and write, and its devices.

    Raises:
        ValueError: A value is out of range.
    """
    return RunOptions(**common.option_values(RunOptions, flag_values))


def train_options(flag_values: flags.FlagValues) -> TrainOptions:
    """Return how the flags ask to train.

    Raises:
        ValueError: A value is out of range.
    """
    return TrainOptions(**common.option_values(TrainOptions, flag_values))


def random_scale(flag_values: flags.FlagValues) -> RandomScale:
    """Return the random scale that the flags ask for.

    Raises:
        ValueError: The flags are not a range.
    """
    return RandomScale(**common.option_values(RandomScale, flag_values))
