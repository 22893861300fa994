"""The options of build_tfds_data."""

import dataclasses
from typing import Annotated

from deeplab.datasets.converter_options import ConverterOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class TfdsOptions(ConverterOptions):
    """The dataset of tensorflow_datasets to convert, and how."""

    name: Annotated[
        str | None,
        "Name of the dataset, with its configuration and version if wanted, such as"
        " oxford_iiit_pet:3.2.0.",
    ] = None
    data_dir: Annotated[str | None, "Folder of the library's datasets. Default: the library's."] = (
        None
    )
    image_feature: Annotated[str, "Feature that holds the image."] = "image"
    label_feature: Annotated[str, "Feature that holds the label image."] = "segmentation_mask"
    split: Annotated[
        tuple[str, ...],
        "Split to convert, or <name>=<split>, such as val=test or val=train[80%:]; repeat it.",
    ] = ("train",)
