"""All options of a training run."""

import dataclasses
from typing import Annotated

from deeplab.core.options.augmentation_options import AugmentationOptions
from deeplab.core.options.random_scale import RandomScale
from deeplab.core.options.run_options import RunOptions
from deeplab.core.options.train_options import TrainOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """All options of a training run except those of the network.

    Example:
        run = TrainingRun(files=RunOptions(dataset_dir="tfrecord", train_logdir="train_log"))
    """

    files: Annotated[RunOptions, "Files of the run, and its devices."] = RunOptions()
    training: Annotated[TrainOptions, "How the network is trained."] = TrainOptions()
    scales: Annotated[RandomScale, "The random scales of the images."] = RandomScale()
    augmentation: Annotated[AugmentationOptions, "Other changes of the images."] = (
        AugmentationOptions()
    )
