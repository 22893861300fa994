"""Metrics of semantic segmentation from a confusion matrix (official `eval.py`)."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class SegmentationResult:
    """Metrics of a confusion matrix. Arrays are float64 [classes] unless stated otherwise.

    Pixels with the ignore label are not counted.

    Attributes:
        confusion_matrix: Pixels by label (row) and prediction (column), int64 [classes, classes].
    """

    confusion_matrix: np.ndarray

    @property
    def label_pixels(self) -> np.ndarray:
        """Return the pixels of each class in the labels, int64 [classes]."""
        return self.confusion_matrix.sum(axis=1)

    @property
    def predicted_pixels(self) -> np.ndarray:
        """Return the pixels of each class in the predictions, int64 [classes]."""
        return self.confusion_matrix.sum(axis=0)

    @property
    def class_iou(self) -> np.ndarray:
        """Return the IoU of each class; NaN for a class in no label, even if it is predicted."""
        return np.where(self.label_pixels > 0, self._iou(), np.nan)

    @property
    def class_accuracy(self) -> np.ndarray:
        """Return the share of each class's pixels that is correct; NaN for a class in no label."""
        return _divide(self._hits(), self.label_pixels)

    @property
    def mean_iou(self) -> float:
        """Return the mean IoU of the classes in labels or predictions (`tf.metrics.mean_iou`).

        A class that is predicted but in no label counts as 0 here, so this is not the mean of
        `class_iou`. Without any pixel it is 0.
        """
        iou = self._iou()
        occurs = ~np.isnan(iou)
        return float(iou[occurs].mean()) if occurs.any() else 0.0

    @property
    def pixel_accuracy(self) -> float:
        """Return the share of correct pixels; NaN without pixels."""
        return float(_divide(self._hits().sum(), self.confusion_matrix.sum()))

    @property
    def mean_class_accuracy(self) -> float:
        """Return the mean of `class_accuracy` over the classes in labels; NaN without any."""
        accuracy = self.class_accuracy[self.label_pixels > 0]
        return float(accuracy.mean()) if accuracy.size else float("nan")

    @property
    def frequency_weighted_iou(self) -> float:
        """Return the mean IoU, weighted by the classes' pixels in labels; NaN without pixels."""
        weighted = np.nansum(self.label_pixels * self.class_iou)
        return float(_divide(weighted, self.confusion_matrix.sum()))

    def _hits(self) -> np.ndarray:
        return np.diagonal(self.confusion_matrix)

    def _iou(self) -> np.ndarray:
        """Return the IoU of each class; NaN for a class in neither labels nor predictions."""
        union = self.label_pixels + self.predicted_pixels - self._hits()
        return _divide(self._hits(), union)


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return the quotient in float64; NaN where the denominator is 0."""
    denominator = np.asarray(denominator, np.float64)
    return np.asarray(numerator, np.float64) / np.where(denominator == 0, np.nan, denominator)


class SegmentationMetrics:
    """Accumulates a confusion matrix over a dataset.

    Args:
        num_classes: Number of classes; labels and predictions are 0 to num_classes - 1.
        ignore_label: Label of the pixels that are not counted. It may be a class, which then is in
            no label (ADE20K). None: all pixels are counted.

    Raises:
        ValueError: There is no class.

    Example:
        metrics = SegmentationMetrics(num_classes=21, ignore_label=255)
        for labels, predictions, names in batches:
            metrics.update(labels, predictions, names)
        print(metrics.result().mean_iou)
    """

    def __init__(self, num_classes: int, ignore_label: int | None = None):
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}; it must be at least 1")
        self.num_classes = num_classes
        self.ignore_label = ignore_label
        self.confusion_matrix = np.zeros((num_classes, num_classes), np.int64)

    def update(
        self,
        labels: np.ndarray,
        predictions: np.ndarray,
        names: Sequence[str] | None = None,
    ) -> None:
        """Add a batch of images. After an error nothing of it is added.

        Args:
            labels: Integers [images, height, width], or of any other shape.
            predictions: Integers of the same shape. Ignored pixels may have any value.
            names: Names of the images, for errors.

        Raises:
            ValueError: The shapes differ, or a label or prediction is out of bounds.
        """
        labels, predictions = np.asarray(labels), np.asarray(predictions)
        if labels.shape != predictions.shape:
            raise ValueError(
                f"labels have the shape {list(labels.shape)}, predictions"
                f" {list(predictions.shape)}; they must be equal"
            )
        for title, values in (("labels", labels), ("predictions", predictions)):
            if not np.issubdtype(values.dtype, np.integer):
                raise ValueError(f"{title} must be integers, not {values.dtype}")
        counts = np.ones(labels.shape, bool)
        if self.ignore_label is not None:
            counts = labels != self.ignore_label
        self._check("label", labels, counts, names)
        self._check("prediction", predictions, counts, names)
        pairs = labels[counts].astype(np.int64) * self.num_classes + predictions[counts]
        self.confusion_matrix += np.bincount(pairs, minlength=self.num_classes**2).reshape(
            self.num_classes, self.num_classes
        )

    def merge(self, other: "SegmentationMetrics") -> None:
        """Add what another one has accumulated.

        Raises:
            ValueError: The other one has other classes or another ignore label.
        """
        for field in ("num_classes", "ignore_label"):
            ours, theirs = getattr(self, field), getattr(other, field)
            if ours != theirs:
                raise ValueError(f"cannot merge metrics with {field} {ours} and {theirs}")
        self.confusion_matrix += other.confusion_matrix

    def reset(self) -> None:
        """Start from zero."""
        self.confusion_matrix[:] = 0

    def result(self) -> SegmentationResult:
        """Return the metrics of all batches so far; later updates do not change them."""
        return SegmentationResult(self.confusion_matrix.copy())

    def _check(
        self, kind: str, values: np.ndarray, counts: np.ndarray, names: Sequence[str] | None
    ) -> None:
        """Reject values that are no class; name the first image that has one."""
        bad = counts & ((values < 0) | (values >= self.num_classes))
        if not bad.any():
            return
        # With more than two axes the first one is that of the images.
        image = int(np.argwhere(bad)[0, 0]) if values.ndim > 2 else 0
        shown, where = (values[image], bad[image]) if values.ndim > 2 else (values, bad)
        listed = np.unique(shown[where])
        text = ", ".join(str(value) for value in listed[:5]) + (", ..." if len(listed) > 5 else "")
        name = names[image] if names is not None else f"number {image} of the batch"
        ignored = "" if self.ignore_label is None else f" nor the ignore label {self.ignore_label}"
        message = (
            f"image {name}: {kind} {text} ({int(where.sum())} pixels) is no class"
            f" (0 to {self.num_classes - 1}){ignored}"
        )
        if kind == "label":
            message += "; correct the label, or num_classes and ignore_label of the dataset"
        raise ValueError(message)
