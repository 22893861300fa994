"""Features and target of a SavedModel."""

import dataclasses
from typing import Annotated, Any, Literal

from deeplab.core.options.fields import PositiveInt, validate

# Above this TensorFlow's decoders refuse an image of three channels.
MOST_PIXELS = (2**29 - 1) // 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Features and target of a SavedModel.

    Example:
        options = ExportOptions(default_signature="png", max_pixels=2_000_000)

    Raises:
        ValueError: A value is out of range; the message names the flag.
    """

    default_signature: Annotated[
        Literal["pixels", "labels", "bytes", "png"],
        "Signature that serving_default is, for platforms that call no other.",
    ] = "pixels"
    add_probabilities: Annotated[
        bool, "Let the signatures for pixels and bytes return probabilities too."
    ] = True
    add_logits: Annotated[
        bool, "Let the signature for pixels return the logits too, on their own grid."
    ] = False
    max_pixels: Annotated[
        PositiveInt | None,
        "Refuse larger image files, height times width, before they are decoded. Default: what"
        " TensorFlow can decode.",
    ] = None
    exif_orientation: Annotated[
        bool, "Turn JPEG files as their EXIF data says, in the signatures that take files."
    ] = False
    max_batch_size: Annotated[
        PositiveInt | None,
        "Write batching_params.pbtxt for batches of at most this many images. Default: the file is"
        " not written.",
    ] = None
    target: Annotated[
        Literal["portable", "cpu"],
        "Where a SavedModel runs: portable on any build of TensorFlow; cpu is faster and needs one"
        " with oneDNN.",
    ] = "portable"
    precision: Annotated[
        Literal["float32", "bfloat16"],
        "Type in which a SavedModel computes features; logits and probabilities are float32.",
    ] = "float32"

    def __post_init__(self):
        validate(self)

    def changed(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults, with their values."""
        return {
            field.name: value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != field.default
        }
