"""Augmentation besides the official scale, crop and flip."""

import dataclasses
from typing import Annotated

from deeplab.core.options.fields import NonNegativeFloat, PositiveFloat, Range, validate


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentationOptions:
    """Choice and changes of training images, besides the official scale, crop and flip.

    By default, nothing is. See `input_preprocess.preprocess_for_training` for the order.

    Raises:
        ValueError: A value is out of range; the message names the flag.
    """

    # --- Which images and which of their parts ---
    class_balanced_sampling: Annotated[
        bool, "Show images with rare classes several times in an epoch."
    ] = False
    max_class_share: Annotated[
        PositiveFloat,
        Range(at_most=1),
        "Largest share of one class among a crop's pixels that are not ignored; up to ten crops are"
        " tried.",
    ] = 1.0

    # --- Geometry ---
    random_vertical_flip: Annotated[bool, "Flip images upside down with probability 0.5."] = False
    random_quarter_turns: Annotated[bool, "Turn images by 0, 90, 180 or 270 degrees."] = False
    max_rotation: Annotated[
        NonNegativeFloat,
        Range(at_most=180),
        "Largest angle by which a crop is rotated, in degrees.",
    ] = 0.0

    # --- Colors, each changed with probability 0.5; see `color_distortion.distort` ---
    random_brightness: Annotated[
        NonNegativeFloat, Range(at_most=255), "Largest change of brightness, of 255. SSD has 32."
    ] = 0.0
    random_contrast: Annotated[
        NonNegativeFloat, Range(below=1), "Largest relative change of contrast. SSD has 0.5."
    ] = 0.0
    random_saturation: Annotated[
        NonNegativeFloat, Range(below=1), "Largest relative change of saturation. SSD has 0.5."
    ] = 0.0
    random_hue: Annotated[
        NonNegativeFloat, Range(at_most=180), "Largest change of hue, in degrees. SSD has 36."
    ] = 0.0
    random_blur: Annotated[
        NonNegativeFloat,
        Range(at_most=20),
        "Largest standard deviation of a Gaussian blur, in pixels of the crop.",
    ] = 0.0

    def __post_init__(self):
        validate(self)

    @property
    def turns(self) -> bool:
        """Whether images are turned or rotated."""
        return self.random_quarter_turns or self.max_rotation > 0

    @property
    def changes_colors(self) -> bool:
        """Whether colors are changed, apart from the blur."""
        changes = (self.random_brightness, self.random_contrast)
        return any((*changes, self.random_saturation, self.random_hue))
