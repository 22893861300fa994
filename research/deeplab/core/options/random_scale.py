"""The random scale of training images."""

import dataclasses
from typing import Annotated

from deeplab.core.options.fields import NonNegativeFloat, PositiveFloat, validate


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomScale:
    """The random scales of training images; see `preprocess_utils.random_scale`.

    Raises:
        ValueError: The smallest scale is not above 0, or the largest is below the smallest.
    """

    min_scale_factor: Annotated[PositiveFloat, "Smallest random scale of an image."] = 0.5
    max_scale_factor: Annotated[PositiveFloat, "Largest random scale of an image."] = 2.0
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
