"""Input of a recipe."""

import dataclasses
from typing import Annotated

from deeplab.core.options.data_options import DataOptions
from deeplab.core.options.fields import PositiveFloat, validate

# Fields of `ModelOptions` that the data or the checkpoint give, and no flag.
GIVEN_BY_DATA = frozenset({"num_classes", "crop_size", "quantize"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecipeOptions(DataOptions):
    """The data, the checkpoint and the limits that a recipe is made for.

    Raises:
        ValueError: A value is out of range; the message names the flag.
    """

    tf_initial_checkpoint: Annotated[str | None, "Checkpoint to start from."] = None
    minutes: Annotated[PositiveFloat, "How long the training may take on this machine."] = 60.0
    memory_gb: Annotated[
        PositiveFloat | None,
        "Gigabytes of memory, of the GPU if there is one, that the training may use. Default: 80 %"
        " of what is free.",
    ] = None
    output_dir: Annotated[str | None, "Folder for the recipe."] = None

    def __post_init__(self):
        validate(self)
