"""The application of a trained network to images."""

import dataclasses
from typing import Annotated

from deeplab.core.options.crf_options import CrfOptions
from deeplab.core.options.fields import Scale, validate
from deeplab.core.options.window_options import WindowOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class InferenceOptions:
    """The application of a trained network to images; see `model.predict_labels`.

    Example:
        options = InferenceOptions(eval_scales=(0.5, 1.0), add_flipped_images=True)

    Raises:
        ValueError: A scale is not above 0.
    """

    eval_scales: Annotated[tuple[Scale, ...], "Scale at which the network sees the images."] = (
        1.0,
    )
    add_flipped_images: Annotated[bool, "Also predict images flipped left to right."] = False
    crf: Annotated[CrfOptions | None, "Refine predictions with a dense CRF."] = None
    window: Annotated[
        WindowOptions | None, "Predict large images in windows, each with these scales and flips."
    ] = None

    def __post_init__(self):
        validate(self)
