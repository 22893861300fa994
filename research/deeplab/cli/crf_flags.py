"""The flags of the dense CRF, which eval, vis and export share."""

import io
from collections.abc import Callable

import numpy as np
from absl import flags

from deeplab import common
from deeplab.core.options import CrfOptions, fields
from deeplab.core.options.crf_options import FLAG_PREFIX, SEARCHED
from deeplab.utils import file_systems, files

_SEARCHED_VALUES = {"bi_w": range(5, 11), "bi_sxy": range(50, 101, 10), "bi_srgb": range(3, 11)}


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags of a CRF."""
    define = common.definer("deeplab.cli.crf_flags", flag_values)
    define("bool", "crf", False, "Refine predictions with a dense CRF.")
    common.define_options(define, CrfOptions, prefix=FLAG_PREFIX, leave_out={"compatibility"})
    common.define_option(
        define,
        CrfOptions,
        "compatibility",
        prefix=FLAG_PREFIX,
        kind="string",
        help_text="File (.npy) of a matrix [classes, classes] in place of --crf_bi_w: what a class"
        " (row) pays for another (column).",
    )


def define_search_flags(define: Callable[..., None]) -> None:
    """Define the flags of the search for a CRF's parameters.

    Args:
        define: The eval script's, of `common.definer`.
    """
    define(
        "bool",
        "crf_search",
        False,
        "Search for the CRF parameters that suit the network best, in place of evaluating.",
    )
    define(
        "integer",
        "crf_search_images",
        100,
        "Number of images to search with.",
        within=fields.PositiveInt,
    )
    for name, values in _SEARCHED_VALUES.items():
        flag = f"--{FLAG_PREFIX}{name}"
        define(
            "list",
            f"{FLAG_PREFIX}search_{name}",
            [str(value) for value in values],
            f"Values of {flag} to try.",
            within=tuple[fields.describe(CrfOptions)[name].hint, ...],
        )


def from_flags(flag_values: flags.FlagValues) -> CrfOptions | None:
    """Return the CRF that a script's flags ask for; None without `--crf`.

    Args:
        flag_values: Parsed flags.

    Raises:
        ValueError: A value is out of range, or a flag of the CRF is given without `--crf`.
    """
    values = common.option_values(CrfOptions, flag_values, prefix=FLAG_PREFIX)
    if not flag_values.crf:
        for name in values:
            if flag_values[FLAG_PREFIX + name].present:
                raise ValueError(f"--{FLAG_PREFIX}{name} has no effect without --crf")
        return None
    path, flag = values["compatibility"], f"--{FLAG_PREFIX}compatibility"
    if path is None:
        return CrfOptions(**values)
    values["compatibility"] = _read_matrix(path)
    try:
        return CrfOptions(**values)
    except ValueError as error:
        if str(error).startswith(flag):
            raise ValueError(f"{flag}={path}{str(error).removeprefix(flag)}") from None
        raise


def search_grid(flag_values: flags.FlagValues) -> dict[str, list[float]] | None:
    """Return the values that `eval.py` is to try, by parameter; None without `--crf_search`.

    Args:
        flag_values: Parsed flags of that script.

    Raises:
        ValueError: A value is not a number or out of range, or flags contradict each other.
    """
    if not flag_values.crf_search:
        for name in ("images", *SEARCHED):
            if flag_values[f"{FLAG_PREFIX}search_{name}"].present:
                raise ValueError(f"--{FLAG_PREFIX}search_{name} has no effect without --crf_search")
        return None
    if not flag_values.crf:
        raise ValueError("--crf_search needs --crf")
    if flag_values.crf_compatibility:
        raise ValueError("--crf_search cannot use --crf_compatibility: it searches for a weight")
    grid = {}
    for name in SEARCHED:
        flag = f"{FLAG_PREFIX}search_{name}"
        if flag_values[FLAG_PREFIX + name].present:
            raise ValueError(
                f"--crf_search looks for {name}: give --{flag} in place of --{FLAG_PREFIX}{name}"
            )
        common.check_ranges(flag_values, [flag])
        grid[name] = [float(text) for text in flag_values[flag].value]
    return grid


def _read_matrix(path: str) -> list[list[float]]:
    flag = f"--{FLAG_PREFIX}compatibility={path}"
    if not file_systems.exists(path):
        raise ValueError(f"{flag} does not exist")
    try:
        file = io.BytesIO(files.read_bytes(path))
        return np.lib.format.read_array(file, allow_pickle=False).tolist()
    except Exception:  # NumPy raises almost everything for a damaged header.
        raise ValueError(f"{flag} is not a .npy file of numbers, as numpy.save writes it") from None
