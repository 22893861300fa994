"""The flags of augmentation, which train and vis share."""

from absl import flags

from deeplab import common
from deeplab.core.options import AugmentationOptions, fields


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags of what training does to images besides scale, crop and flip."""
    define = common.definer("deeplab.cli.augmentation_flags", flag_values)
    common.define_options(define, AugmentationOptions)


def from_flags(flag_values: flags.FlagValues) -> AugmentationOptions:
    """Return the options that the flags ask for.

    Raises:
        ValueError: A value is out of range.
    """
    return AugmentationOptions(**common.option_values(AugmentationOptions, flag_values))


def names() -> tuple[str, ...]:
    """Return the names of the flags."""
    return tuple(fields.describe(AugmentationOptions))
