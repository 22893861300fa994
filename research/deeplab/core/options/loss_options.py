"""The loss of a training and its parameters."""

import dataclasses
from typing import Annotated, Literal

from deeplab.core.options.fields import (
    NonNegativeFloat,
    NonNegativeInt,
    NotAllZero,
    PositiveFloat,
    Share,
    check_belongs,
    validate,
)

# The losses that each parameter belongs to.
_PARAMETERS = {
    "focal_gamma": ("focal",),
    "dice_loss_weight": ("cross_entropy_dice",),
    "tversky_alpha": ("tversky",),
    "tversky_beta": ("tversky",),
    "top_k_percent_pixels": ("cross_entropy",),
    "hard_example_mining_step": ("cross_entropy",),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossOptions:
    """The loss of a batch; see `losses.segmentation_loss`.

    Raises:
        ValueError: A value is out of range, or belongs to another loss; the message names the flag.
    """

    loss: Annotated[
        Literal["cross_entropy", "focal", "dice", "cross_entropy_dice", "tversky", "lovasz"],
        "Loss that training minimizes, besides the weight decay.",
    ] = "cross_entropy"
    focal_gamma: Annotated[
        NonNegativeFloat,
        "Exponent of the focal loss; the higher, the less easy pixels count. 0: cross entropy.",
    ] = 2.0
    dice_loss_weight: Annotated[
        NonNegativeFloat, "Weight of the dice loss that is added to the cross entropy."
    ] = 1.0
    tversky_alpha: Annotated[PositiveFloat, "Weight of false positives (tversky loss)."] = 0.3
    tversky_beta: Annotated[PositiveFloat, "Weight of false negatives (tversky loss)."] = 0.7
    label_weights: Annotated[
        tuple[NonNegativeFloat, ...] | None,
        NotAllZero(),
        "Weight of a class in the loss, one for each class. Default: all 1.",
    ] = None
    upsample_logits: Annotated[
        bool, "Compute the loss on upsampled logits; if false, on downsampled labels."
    ] = True
    top_k_percent_pixels: Annotated[Share, "Share of the pixels, the hardest, that train."] = 1.0
    hard_example_mining_step: Annotated[
        NonNegativeInt,
        "Step at which --top_k_percent_pixels is reached, starting from all pixels at step 0.",
    ] = 0

    def __post_init__(self):
        validate(self)
        for name, losses in _PARAMETERS.items():
            check_belongs(self, name, "loss", losses)
