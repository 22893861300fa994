"""Measures how well the labels of an export agree with those of its network."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from deeplab.evaluation.segmentation import SegmentationMetrics

# The least share of pixels on which an export that computes in floats must agree.
LEAST = 0.999
# The ignore label if the dataset is unknown.
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
    both = [SegmentationMetrics(num_classes, ignore_label) for _ in range(2)]
    for wanted, found, label in predictions:
        images, total = images + 1, total + wanted.size
        equal += np.count_nonzero(wanted == found)
        if label is not None:
            for metrics, labels in zip(both, (wanted, found), strict=True):
                are_classes = (label < num_classes) & (labels >= 0) & (labels < num_classes)
                metrics.update(np.where(are_classes, label.astype(int), ignore_label), labels)
    share = equal / total
    if not any(metrics.confusion_matrix.any() for metrics in both):
        return Agreement(images, share)
    before, after = (float(metrics.result().mean_iou) for metrics in both)
    return Agreement(images, share, before, after)


def require(title: str, found: Agreement) -> None:
    """Reject an export that computes in floats and disagrees with its network.

    Args:
        title: Name of the export, for the message.
        found: Its agreement.

    Raises:
        ValueError: Too many labels differ.
    """
    if found.equal < LEAST:
        raise ValueError(f"{title}: {found}, less than {LEAST:.1%}; nothing was written")
