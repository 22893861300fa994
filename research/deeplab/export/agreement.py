"""How well the labels of an export agree with those of its network on photographs."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from deeplab.evaluation.segmentation import SegmentationResult

# An export that computes in floats has at least this share of the network's labels.
LEAST = 0.999
# Where the dataset is unknown.
_IGNORE_LABEL = 255


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How well an export agrees with its network.

    Attributes:
        images: Number of images.
        equal: Share of the pixels with the same label.
        network_miou: Mean IoU of the network's labels, if the images have labels.
        miou: Mean IoU of the export's labels, if the images have labels.
    """

    images: int
    equal: float
    network_miou: float | None = None
    miou: float | None = None

    def __str__(self) -> str:
        images = "1 image" if self.images == 1 else f"{self.images} images"
        text = f"{self.equal:.2%} of the pixels of {images} have the same label"
        if self.miou is None:
            return text
        return f"{text}, mIoU {self.miou:.2%} ({self.network_miou:.2%} before)"


def measure(
    predictions: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray | None]],
    num_classes: int,
    ignore_label: int | None = None,
) -> Agreement:
    """Compare an export with its network.

    Args:
        predictions: For each image the labels of the network, those of the export, and the true
            ones if they are known, all of one shape.
        num_classes: The number of classes.
        ignore_label: True label of the pixels that do not count for the mIoU. None: 255.
    """
    ignore_label = _IGNORE_LABEL if ignore_label is None else ignore_label
    images = equal = total = 0
    confusions = np.zeros((2, num_classes, num_classes), np.int64)
    for wanted, found, label in predictions:
        images, total = images + 1, total + wanted.size
        equal += np.count_nonzero(wanted == found)
        if label is not None:
            for matrix, labels in zip(confusions, (wanted, found), strict=True):
                matrix += _confusions(label, labels, num_classes, ignore_label)
    share = equal / total
    if not confusions.any():
        return Agreement(images, share)
    before, after = (SegmentationResult(matrix).mean_iou for matrix in confusions)
    return Agreement(images, share, float(before), float(after))


def require(title: str, found: Agreement) -> None:
    """Reject an export that computes in floats and disagrees with its network.

    Args:
        title: What it is, for the message.
        found: Its agreement.

    Raises:
        ValueError: Too many labels differ.
    """
    if found.equal < LEAST:
        raise ValueError(f"{title}: {found}, less than {LEAST:.1%}; nothing was written")


def _confusions(
    label: np.ndarray, predicted: np.ndarray, num_classes: int, ignore_label: int
) -> np.ndarray:
    counted = (label != ignore_label) & (label < num_classes)
    counted &= (predicted >= 0) & (predicted < num_classes)
    pairs = label[counted].astype(np.int64) * num_classes + predicted[counted]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
