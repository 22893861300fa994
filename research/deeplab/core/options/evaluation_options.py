"""The checkpoints and images that are evaluated or drawn."""

import dataclasses
from typing import Annotated

from deeplab.core.options.fields import BatchSize, NonNegativeInt, Size, validate
from deeplab.core.options.inference_options import InferenceOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """Which checkpoints of a training are evaluated or drawn, on which images, and where to.

    Args:
        checkpoint_dir: folder whose newest checkpoint is used, then each newer one; or the prefix
            of one checkpoint.
        logdir: folder for the results.
        dataset: name of the dataset, or its JSON description.
        dataset_dir: folder of the TFRecords. None: there are none.
        split: the split.
        crop_size: (height, width) that images are padded to.
        batch_size: images at a time.
        max_number: number of checkpoints to use. 0: keep watching for new ones.
        interval_secs: minimum seconds between two checkpoints.
        use_ema: use the moving averages of the weights.
        inference: how the network is applied.

    Raises:
        ValueError: A value is out of range.
    """

    checkpoint_dir: str
    logdir: str
    dataset: str
    dataset_dir: str | None
    split: str
    crop_size: Annotated[Size, "Height,width that images are padded to."] = (513, 513)
    batch_size: Annotated[BatchSize, "Images per batch."] = 1
    max_number: NonNegativeInt = 0
    interval_secs: Annotated[NonNegativeInt, "Minimum seconds between two checkpoints."] = 0
    use_ema: bool = False
    inference: InferenceOptions = InferenceOptions()

    def __post_init__(self):
        validate(self)
