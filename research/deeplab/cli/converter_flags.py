"""Flags of the converters of datasets, and of all scripts that read many files."""

from typing import Annotated

from absl import flags

from deeplab import common
from deeplab.core.options import RunnerOptions
from deeplab.core.options.fields import Range

# More than the processors of a machine; each takes memory of its own.
NumProcesses = Annotated[int, Range(at_least=1, at_most=1024)]
IMAGE_FORMATS = ("jpg", "jpeg", "png")


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags that every converter has (official `build_data.py`)."""
    define = common.definer("deeplab.datasets.build_data", flag_values)
    define(
        "enum",
        "image_format",
        "png",
        "Extension of the image files. The record tells the true format, found from the content.",
        enum_values=list(IMAGE_FORMATS),
    )
    define("enum", "label_format", "png", "Extension of the label files.", enum_values=["png"])
    define_num_processes(flag_values)
    define_runner(flag_values)


def define_num_processes(flag_values: flags.FlagValues) -> None:
    """Define --num_processes, for scripts that read many files."""
    define = common.definer("deeplab.datasets.build_data", flag_values)
    define(
        "integer",
        "num_processes",
        None,
        "Number of processes that read and check files. Default: one for a small dataset, up to"
        " one a CPU for a large one.",
        within=NumProcesses,
    )


def define_runner(flag_values: flags.FlagValues) -> None:
    """Define the flags of `RunnerOptions`."""
    define = common.definer("deeplab.datasets.build_data", flag_values)
    common.define_options(define, RunnerOptions)


def runner_options(flag_values: flags.FlagValues) -> RunnerOptions:
    """Return what does the work.

    Raises:
        ValueError: Flags contradict each other.
    """
    options = RunnerOptions(**common.option_values(RunnerOptions, flag_values))
    if options.runner == "beam" and "num_processes" in flag_values:
        number = flag_values["num_processes"].value
        if number is not None:
            raise ValueError(
                f"--num_processes={number} belongs to --runner=local; --beam_options say how many"
                " workers a pipeline has"
            )
    return options
