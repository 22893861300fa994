"""The kind of a TensorFlow Lite model, and the images that it is made and compared with."""

import dataclasses
from typing import Annotated

from deeplab.core.options.fields import PositiveInt, validate

# Fields that each ask for another kind of model.
_KINDS = ("float16", "dynamic_range", "int8")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LiteOptions:
    """The kind of a TensorFlow Lite model, and the images that it is made and compared with.

    Example:
        options = LiteOptions(int8=True, representative_images="photos")

    Raises:
        ValueError: A value is out of range, or flags contradict each other; the message names them.
    """

    float16: Annotated[bool, "Store the weights of a float graph in 16 bits."] = False
    dynamic_range: Annotated[bool, "Store the weights of a float graph in 8 bits."] = False
    int8: Annotated[
        bool,
        "Compute a float graph in 8-bit integers, whose ranges are measured on"
        " --representative_images.",
    ] = False
    representative_images: Annotated[
        str | None,
        "Photographs of the kind that the model will see, for --int8: as --images of"
        " deeplab-predict, or folder/split of TFRecords.",
    ] = None
    num_representative_images: Annotated[
        PositiveInt, "Measure on at most this many of --representative_images."
    ] = 100
    test_image_path: Annotated[
        str | None,
        "Photographs on which the labels of the model are compared with those of the graph: as"
        " --representative_images. Default: drawn images.",
    ] = None
    num_test_images: Annotated[PositiveInt, "Compare at most this many of --test_image_path."] = 16

    def __post_init__(self):
        validate(self)
        asked = [f"--{name}" for name in _KINDS if getattr(self, name)]
        if len(asked) > 1:
            raise ValueError(f"{' and '.join(asked)} ask for different models: remove all but one")
        if self.int8 and not self.representative_images:
            raise ValueError(
                "--int8 needs --representative_images: photographs of the kind that the model will"
                " see, or folder/split of TFRecords"
            )
        if self.representative_images and not self.int8:
            raise ValueError("--representative_images has no effect without --int8")

    @property
    def kind(self) -> str | None:
        """The flag that asks for a model that is not float32; None if there is none."""
        return next((f"--{name}" for name in _KINDS if getattr(self, name)), None)

    @property
    def computes_in_floats(self) -> bool:
        """Whether the labels of a float graph have to stay as they are."""
        return not (self.dynamic_range or self.int8)
