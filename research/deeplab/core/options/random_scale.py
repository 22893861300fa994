"""The random scale of training images."""

import dataclasses
from typing import Annotated

from deeplab.core.options.fields import NonNegativeFloat, Range, validate

_Factor = Annotated[float, Range(above=0, at_most=1000)]
# The scales are a table.
_MOST_SCALES = 10**6


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomScale:
    """The random scales of training images; see `preprocess_utils.random_scale`.

    Raises:
        ValueError: The smallest scale is not above 0, or the largest is below the smallest; or the
            step makes too many scales.
    """

    min_scale_factor: Annotated[_Factor, "Smallest random scale of an image."] = 0.5
    max_scale_factor: Annotated[_Factor, "Largest random scale of an image."] = 2.0
    # Where it does not divide the range, the scales are spread evenly with a larger step.
    scale_factor_step_size: Annotated[
        NonNegativeFloat, "Step between the random scales. 0: any scale in the range."
    ] = 0.25

    def __post_init__(self):
        validate(self)
        if self.min_scale_factor > self.max_scale_factor:
            raise ValueError(
                f"--min_scale_factor is {self.min_scale_factor}; it must be at most"
                f" --max_scale_factor, which is {self.max_scale_factor}"
            )
        if self.scale_factor_step_size and self._steps() >= _MOST_SCALES:
            raise ValueError(
                f"--scale_factor_step_size is {self.scale_factor_step_size}, which makes"
                f" {self._steps():.3g} scales from {self.min_scale_factor} to"
                f" {self.max_scale_factor}; it must make at most {_MOST_SCALES}, or be 0, which"
                " allows any scale in the range"
            )

    def num_scales(self) -> int:
        """Return the number of scales that a step above 0 makes."""
        return int(self._steps() + 1)

    def _steps(self) -> float:
        return (self.max_scale_factor - self.min_scale_factor) / self.scale_factor_step_size
