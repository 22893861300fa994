"""The checkpoints and images that are evaluated or drawn."""

import dataclasses
from typing import Annotated, Literal

from deeplab.core.options.device_options import DeviceOptions
from deeplab.core.options.fields import BatchSize, NonNegativeInt, Range, Size, validate
from deeplab.core.options.inference_options import InferenceOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationOptions(DeviceOptions):
    """The checkpoints to evaluate or to draw, the images, the devices and the folder of results.

    Args:
        checkpoint_dir: Folder whose newest checkpoint is used, then each newer one; or the prefix
            of one checkpoint.
        logdir: Folder for the results.
        dataset: Name of the dataset, or its JSON descriptor.
        dataset_dir: Folder of the TFRecords. None: there are none.
        split: The split.
        crop_size: (height, width) that images are padded to.
        batch_size: Images at a time.
        max_number: Number of checkpoints to use. 0: keep watching for new ones.
        interval_secs: Minimum seconds between two checkpoints.
        use_ema: Use the moving averages of the weights.
        inference: How the network is applied.
        num_clones: See `DeviceOptions`.
        clone_on_cpu: See `DeviceOptions`.

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """The page about an evaluation, and its pictures in TensorBoard.

    Raises:
        ValueError: A value is out of range, or has no effect.
    """

    report_dir: Annotated[
        str | None,
        "Folder for report.html, a page about the newest evaluation. Default: there is none.",
    ] = None
    report_images: Annotated[
        int,
        Range(at_least=0, at_most=500),
        "Images in the report: half of them the worst, half the best; and in addition the worst"
        " and the best one of each class.",
    ] = 24
    compare_with: Annotated[
        str | None, "The eval.json of another evaluation; the report tells what has changed."
    ] = None
    summary_images: Annotated[
        int,
        Range(at_least=0, at_most=100),
        "Images to show in TensorBoard with label, prediction and errors: the worst by mIoU.",
    ] = 0

    def __post_init__(self):
        validate(self)
        if self.compare_with and not self.report_dir:
            raise ValueError(
                f"--compare_with={self.compare_with} has no effect without --report_dir"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PictureOptions:
    """The images whose predictions are drawn, and the pictures of them.

    Raises:
        ValueError: A value has another type; the message names the flag.
    """

    images: Annotated[
        str | None,
        "Image files to visualize instead of TFRecords: a folder, a pattern such as 'photos/*.jpg',"
        " paths separated by commas, or a .txt file with one path per line.",
    ] = None
    exif_orientation: Annotated[
        bool,
        "Turn the images of --images as their EXIF data says, as viewers show them."
        " --noexif_orientation: take the pixels as they are stored, as training does.",
    ] = True
    colormap_type: Annotated[
        Literal["pascal", "cityscapes", "ade20k"] | None,
        "Official colormap to use. Default: the colors of the dataset.",
    ] = None
    also_save_raw_predictions: Annotated[bool, "Also save the predicted labels as PNG files."] = (
        False
    )
    contact_sheet: Annotated[
        str | None,
        "PNG file for one picture of many images: each with label, prediction and errors.",
    ] = None

    def __post_init__(self):
        validate(self)
