"""The parameters of a dense CRF."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Annotated, Literal

from deeplab.core.options.fields import Range, validate

_Payment = Annotated[float, Range(at_least=-(10**6), at_most=10**6)]
_Weight = Annotated[float, Range(at_least=0, at_most=10**6)]
_Deviation = Annotated[float, Range(above=0, at_most=10**6)]

# The flag of a field is this and the field's name.
FLAG_PREFIX = "crf_"
# The bilateral kernel's, which depend on network and data: `eval.py` can search them.
SEARCHED = ("bi_w", "bi_sxy", "bi_srgb")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrfOptions:
    """The parameters of `core.dense_crf`; the defaults are those of DeepLab v2's VGG-16 networks.

    The comments name the symbols of the papers.

    Raises:
        ValueError: A value is out of range; the message names the flag.
    """

    # 0: the unary term alone.
    iterations: Annotated[
        int, Range(at_least=0, at_most=10000), "Mean-field iterations of the CRF."
    ] = 10
    # w2 and sigma gamma.
    pos_w: Annotated[_Weight, "Weight of the CRF's spatial kernel. 0: no such kernel."] = 3.0
    pos_sxy: Annotated[_Deviation, "Standard deviation of the CRF's spatial kernel, in pixels."] = (
        3.0
    )
    # w1, sigma alpha and sigma beta.
    bi_w: Annotated[_Weight, "Weight of the CRF's bilateral kernel. 0: no such kernel."] = 4.0
    bi_sxy: Annotated[
        _Deviation, "Standard deviation of the CRF's bilateral kernel, in pixels."
    ] = 67.0
    bi_srgb: Annotated[
        _Deviation, "Standard deviation of the CRF's bilateral kernel, in color values 0 to 255."
    ] = 3.0
    normalization: Annotated[
        Literal["symmetric", "after"],
        "How the CRF normalizes its kernels: by the square roots of their sums before and after"
        " filtering, or by the sums after filtering, as DeepLab v1 and v2 did.",
    ] = "symmetric"
    # None: Potts, -bi_w on the diagonal. With a matrix, bi_w only must not be 0.
    compatibility: Annotated[
        tuple[tuple[_Payment, ...], ...] | None,
        "Matrix [classes, classes] in place of the weight of the CRF's bilateral kernel: what a"
        " class (row) pays for another (column).",
    ] = None

    def __post_init__(self):
        if self.compatibility is not None:
            object.__setattr__(self, "compatibility", _square(self.compatibility))
        validate(self, FLAG_PREFIX)
        if self.compatibility is not None and not self.bi_w:
            raise ValueError(
                "--crf_bi_w is 0, which leaves out the kernel that --crf_compatibility is for; its"
                " weight is in the matrix: leave one of the two flags out"
            )

    def check_classes(self, num_classes: int) -> None:
        """Reject a compatibility matrix of another number of classes.

        Args:
            num_classes: The number of classes.

        Raises:
            ValueError: The matrix has another size.
        """
        if self.compatibility is not None and len(self.compatibility) != num_classes:
            size = len(self.compatibility)
            raise ValueError(
                f"--crf_compatibility is a {size}x{size} matrix, but there are {num_classes}"
                " classes"
            )


def _square(matrix: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    """The matrix as tuples of numbers."""
    try:
        rows = tuple(tuple(float(value) for value in row) for row in matrix)
    except (TypeError, ValueError):
        raise ValueError("--crf_compatibility is not a matrix of numbers") from None
    if not rows or any(len(row) != len(rows) for row in rows):
        raise ValueError(
            f"--crf_compatibility has rows of {sorted({len(row) for row in rows})} numbers for"
            f" {len(rows)} classes; it must be [classes, classes]"
        )
    if not all(math.isfinite(value) for row in rows for value in row):
        raise ValueError("--crf_compatibility has values that are infinite or not a number")
    return rows
