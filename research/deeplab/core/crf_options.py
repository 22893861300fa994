"""The parameters of a dense CRF, as a value."""

import dataclasses
import math
from collections.abc import Sequence

NORMALIZATIONS = ("symmetric", "after")
# The bilateral kernel's, which depend on network and data: `eval.py` can search them.
SEARCHED = ("bi_w", "bi_sxy", "bi_srgb")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrfOptions:
    """What `core.dense_crf` does; the defaults are those of DeepLab v2's VGG-16 networks.

    Raises:
        ValueError: a value that no CRF can have; the message begins with the field's name.
    """

    # Mean-field iterations; 0: the unary term alone.
    iterations: int = 10
    # Weight of the spatial kernel (w2 of the papers) and its standard deviation in pixels (sigma
    # gamma). A weight of 0 leaves a kernel out.
    pos_w: float = 3.0
    pos_sxy: float = 3.0
    # Weight of the bilateral kernel (w1), its standard deviations in pixels (sigma alpha) and in
    # colour values 0 to 255 (sigma beta).
    bi_w: float = 4.0
    bi_sxy: float = 67.0
    bi_srgb: float = 3.0
    # "symmetric": a kernel is scaled by the square roots of its sums before and after it filters;
    # "after": by the sums, after, as in the code that DeepLab v1 and v2 were published with.
    normalization: str = "symmetric"
    # Compatibility of the classes [classes, classes] for the bilateral kernel, in place of its
    # weight, which then only must not be 0: what class i (row) pays for class j (column). None:
    # Potts, -bi_w on the diagonal.
    compatibility: tuple[tuple[float, ...], ...] | None = None

    def __post_init__(self):
        if not 0 <= self.iterations < math.inf or self.iterations != int(self.iterations):
            raise ValueError(
                f"iterations is {self.iterations}; it must be a whole number, at least 0"
            )
        object.__setattr__(self, "iterations", int(self.iterations))
        for name in ("pos_w", "bi_w"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0")
        for name in ("pos_sxy", "bi_sxy", "bi_srgb"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        if self.normalization not in NORMALIZATIONS:
            raise ValueError(
                f"normalization is {self.normalization!r}; it must be one of {NORMALIZATIONS}"
            )
        if self.compatibility is not None:
            object.__setattr__(self, "compatibility", _square(self.compatibility))
            if not self.bi_w:
                raise ValueError(
                    "bi_w is 0: it leaves out the kernel that --crf_compatibility is for, whose"
                    " weight is in the matrix; leave one of the two out"
                )

    def check_classes(self, num_classes: int) -> None:
        """Refuses a compatibility matrix of other classes.

        Args:
            num_classes: the number of classes.

        Raises:
            ValueError: the matrix has another size.
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
        raise ValueError("compatibility is not a matrix of numbers") from None
    if not rows or any(len(row) != len(rows) for row in rows):
        raise ValueError(
            f"compatibility has rows of {sorted({len(row) for row in rows})} numbers for"
            f" {len(rows)} classes; it must be [classes, classes]"
        )
    if not all(math.isfinite(value) for row in rows for value in row):
        raise ValueError("compatibility has values that are infinite or not a number")
    return rows
