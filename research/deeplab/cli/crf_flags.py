"""The flags of the dense CRF, which eval, vis and export share."""

import dataclasses
import os

from absl import flags

from deeplab import common
from deeplab.core import crf_options

# A field of `CrfOptions` is the flag of this name and its own.
_PREFIX = "crf_"


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags."""
    define = common.definer("deeplab.cli.crf_flags", flag_values)
    default = crf_options.CrfOptions()
    define("bool", "crf", False, "Refine predictions with a dense CRF.")
    define("integer", "crf_iterations", default.iterations, "Mean-field iterations of the CRF.")
    define("float", "crf_pos_w", default.pos_w, "Weight of its spatial kernel; 0: none.")
    define("float", "crf_pos_sxy", default.pos_sxy, "Standard deviation of that, in pixels.")
    define("float", "crf_bi_w", default.bi_w, "Weight of its bilateral kernel; 0: none.")
    define("float", "crf_bi_sxy", default.bi_sxy, "Standard deviation of that, in pixels.")
    define("float", "crf_bi_srgb", default.bi_srgb, "The same in colour values, 0 to 255.")
    define(
        "enum",
        "crf_normalization",
        default.normalization,
        "Normalise kernels before and after they filter, or once after, as DeepLab v1 and v2 did.",
        enum_values=list(crf_options.NORMALIZATIONS),
    )
    define(
        "string",
        "crf_compatibility",
        None,
        "File (.npy) of a matrix [classes, classes] that takes the place of --crf_bi_w: what a"
        " class (row) pays for another (column).",
    )


def from_flags(flag_values: flags.FlagValues) -> crf_options.CrfOptions | None:
    """The CRF that a script's flags ask for; None without `--crf`.

    Args:
        flag_values: parsed flags.

    Raises:
        ValueError: a value that cannot be, or a flag of the CRF without `--crf`.
    """
    fields = [field.name for field in dataclasses.fields(crf_options.CrfOptions)]
    if not flag_values.crf:
        for name in fields:
            if flag_values[_PREFIX + name].present:
                raise ValueError(f"--{_PREFIX}{name} has no effect without --crf")
        return None
    values = {name: flag_values[_PREFIX + name].value for name in fields}
    if values["compatibility"] is not None:
        values["compatibility"] = _read_matrix(values["compatibility"])
    try:
        return crf_options.CrfOptions(**values)
    except ValueError as error:
        # The message begins with the name of the field.
        raise ValueError(f"--{_PREFIX}{error}") from None


def search_grid(flag_values: flags.FlagValues) -> dict[str, list[float]] | None:
    """The values that `eval.py` is to try, by parameter; None without `--crf_search`.

    Args:
        flag_values: parsed flags of that script.

    Raises:
        ValueError: a value is no number, or flags contradict each other.
    """
    if not flag_values.crf_search:
        for name in ("images", *crf_options.SEARCHED):
            if flag_values[f"{_PREFIX}search_{name}"].present:
                raise ValueError(f"--{_PREFIX}search_{name} has no effect without --crf_search")
        return None
    if not flag_values.crf:
        raise ValueError("--crf_search needs --crf")
    if flag_values.crf_compatibility:
        raise ValueError("--crf_search has no use for --crf_compatibility: it searches a weight")
    grid = {}
    for name in crf_options.SEARCHED:
        if flag_values[_PREFIX + name].present:
            raise ValueError(
                f"--crf_search looks for {name}: give --crf_search_{name} in place of --crf_{name}"
            )
        texts = flag_values[f"{_PREFIX}search_{name}"].value
        try:
            grid[name] = [float(text) for text in texts]
        except ValueError:
            raise ValueError(
                f"--crf_search_{name} is {','.join(texts)}; it must be numbers"
            ) from None
    return grid


def _read_matrix(path: str) -> list:
    import numpy as np

    flag = f"--{_PREFIX}compatibility={path}"
    if not os.path.exists(path):
        raise ValueError(f"{flag} is not there")
    try:
        with open(path, "rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False).tolist()
    except (ValueError, OSError):
        raise ValueError(f"{flag} is no .npy file of numbers, as numpy.save writes it") from None
