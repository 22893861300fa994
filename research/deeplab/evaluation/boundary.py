"""Metrics at borders: the boundary IoU, and the mIoU in bands around borders (trimaps)."""

import dataclasses

import cv2
import numpy as np

from deeplab.evaluation.class_counts import ClassCounts

# Width of a boundary, as a share of the image's diagonal (Cheng et al., section 5).
BOUNDARY_RATIO = 0.02
# Pixels on either side of a border that belong to a trimap, as in figure 5 of the v3+ paper.
TRIMAP_WIDTHS = (1, 3, 5, 10, 20, 40)
# The width whose numbers stand for all where there is room for one.
TRIMAP_WIDTH = 5

_SQUARE = np.ones((3, 3), np.uint8)
# Number of the narrowest trimap that a pixel at a distance 0, 1, ... belongs to; the last is none.
_BANDS = np.searchsorted(TRIMAP_WIDTHS, np.arange(TRIMAP_WIDTHS[-1] + 2)).astype(np.uint8)
_NUM_BANDS = len(TRIMAP_WIDTHS) + 1


def border_distance(labels: np.ndarray) -> np.ndarray:
    """Return how far each pixel is from the nearest pixel with another label.

    The distance is the larger one of those in rows and columns, as in dilations by a square.
    Next to a border it is 1.

    Args:
        labels: Integers [height, width] from 0 to 65535.

    Returns:
        float32 [height, width]; infinite if all labels are equal.
    """
    labels = np.ascontiguousarray(labels, np.uint16)
    inner = cv2.dilate(labels, _SQUARE) == cv2.erode(labels, _SQUARE)
    if inner.all():
        return np.full(labels.shape, np.inf, np.float32)
    # Exact: on the way to the nearest pixel with another label, the last but one is at a border.
    return cv2.distanceTransform(inner.astype(np.uint8), cv2.DIST_C, 3) + 1


@dataclasses.dataclass(frozen=True, eq=False)
class BoundaryResult:
    """Counts at borders.

    Args:
        boundary: Pixels within the boundary width inside the border of their class: `hits` are in
            the boundary of the same class in the label and in the prediction. Their IoU is the
            boundary IoU.
        trimaps: Pixels within each of `TRIMAP_WIDTHS` of a border of the label.

    Reference: boundary IoU, Cheng et al., arXiv 2103.16562; trimap, DeepLab v3+, arXiv 1802.02611,
        section 4.3.
    """

    boundary: ClassCounts
    trimaps: tuple[ClassCounts, ...]

    def __add__(self, other: "BoundaryResult") -> "BoundaryResult":
        pairs = zip(self.trimaps, other.trimaps, strict=True)
        return BoundaryResult(
            self.boundary + other.boundary, tuple(ours + theirs for ours, theirs in pairs)
        )

    @property
    def trimap(self) -> ClassCounts:
        """Return the counts within `TRIMAP_WIDTH` of a border."""
        return self.trimaps[TRIMAP_WIDTHS.index(TRIMAP_WIDTH)]


def measure(
    label: np.ndarray, prediction: np.ndarray, num_classes: int, ignore_label: int | None = None
) -> BoundaryResult:
    """Count the pixels at the borders of an image; sum the results of several images.

    Pixels with the ignore label belong to no class in the prediction either. They have a border
    of their own. The edge of the image is a boundary of its classes, as in the code of Cheng et
    al., but no border of a trimap.

    Args:
        label: Integers [height, width] from 0 to 65535, without padding.
        prediction: Integers [height, width]. Ignored pixels may have any value.
        num_classes: Number of classes; labels and predictions are 0 to num_classes - 1.
        ignore_label: Label of the pixels that are not counted; see `SegmentationMetrics`.
    """
    values = num_classes + 1
    # Ignored pixels get a value of their own, also where the ignore label is a class.
    label, prediction = label.astype(np.uint16), prediction.astype(np.uint16)
    if ignore_label is not None:
        ignored = label == ignore_label
        label[ignored] = prediction[ignored] = num_classes
    distance = border_distance(label)
    width = max(1, round(BOUNDARY_RATIO * np.hypot(*label.shape)))
    labeled = _within(width, distance)
    predicted = _within(width, border_distance(prediction))
    # One number encodes everything that is counted of a pixel, so that one pass is enough.
    band = _BANDS[np.minimum(distance, len(_BANDS) - 1).astype(np.uint8)]
    place = band + (labeled * np.uint8(_NUM_BANDS)) + (predicted * np.uint8(2 * _NUM_BANDS))
    codes = place.astype(np.uint32)
    for part in (label, prediction):
        codes *= np.uint32(values)
        codes += part
    counts = np.bincount(codes.ravel(), minlength=4 * _NUM_BANDS * values**2)
    counts = counts.reshape(2, 2, _NUM_BANDS, values, values)[..., :num_classes, :num_classes]
    in_boundary = counts.sum(axis=2)
    boundary = ClassCounts(
        np.diagonal(in_boundary[1, 1]).copy(),
        in_boundary[:, 1].sum(axis=(0, 2)),
        in_boundary[1].sum(axis=(0, 1)),
    )
    trimaps = counts.sum(axis=(0, 1))[: len(TRIMAP_WIDTHS)].cumsum(axis=0)
    return BoundaryResult(boundary, tuple(map(ClassCounts.of_confusions, trimaps)))


def _within(width: int, distance: np.ndarray) -> np.ndarray:
    """Return which pixels are at most `width` from a border or from the edge of the image."""
    near = distance <= width
    near[:width] = near[-width:] = near[:, :width] = near[:, -width:] = True
    return near
