"""The data of a training."""

import dataclasses
from typing import Annotated


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions:
    """The data of a training; names and defaults are those of the official flags."""

    dataset: Annotated[
        str, "Name of a dataset (pascal_voc_seg, cityscapes, ade20k) or its JSON descriptor."
    ] = "pascal_voc_seg"
    dataset_dir: Annotated[str | None, "Folder of the TFRecords."] = None
    train_split: Annotated[str, "Split to train on."] = "train"
    eval_split: Annotated[str, "Split to evaluate on."] = "val"
