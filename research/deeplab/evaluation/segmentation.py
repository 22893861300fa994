"""Metrics of semantic segmentation from a confusion matrix (official `eval.py`)."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deeplab.evaluation import boundary
from deeplab.evaluation.boundary import BoundaryResult
from deeplab.evaluation.class_counts import ClassCounts, divide


@dataclasses.dataclass(frozen=True, eq=False)
class SegmentationResult:
    """Metrics of a confusion matrix. Arrays are float64 [classes] unless stated otherwise.

    Pixels with the ignore label are not counted.

    Attributes:
        confusion_matrix: Pixels by label (row) and prediction (column), int64 [classes, classes].
        borders: Counts at borders; None: they were not counted.
    """

    confusion_matrix: np.ndarray
    borders: BoundaryResult | None = None

    def __add__(self, other: "SegmentationResult") -> "SegmentationResult":
        borders = None
        if self.borders is not None and other.borders is not None:
            borders = self.borders + other.borders
        return SegmentationResult(self.confusion_matrix + other.confusion_matrix, borders)

    def as_lists(self) -> dict[str, Any]:
        """Return all counts as JSON values; see `of_lists`."""
        borders = None
        if self.borders is not None:
            parts = (self.borders.boundary, *self.borders.trimaps)
            borders = [
                [each.hits.tolist(), each.labeled.tolist(), each.predicted.tolist()]
                for each in parts
            ]
        return {"confusions": self.confusion_matrix.tolist(), "borders": borders}

    @classmethod
    def of_lists(cls, lists: Mapping[str, Any]) -> "SegmentationResult":
        """Return the result that `as_lists` was called for."""
        borders = None
        if lists["borders"] is not None:
            parts = [ClassCounts(*np.array(each, np.int64)) for each in lists["borders"]]
            borders = BoundaryResult(parts[0], tuple(parts[1:]))
        return cls(np.array(lists["confusions"], np.int64), borders)

    @functools.cached_property
    def counts(self) -> ClassCounts:
        """Return the pixels of each class, with Dice, precision and recall."""
        return ClassCounts.of_confusions(self.confusion_matrix)

    @property
    def label_pixels(self) -> np.ndarray:
        """Return the pixels of each class in the labels, int64 [classes]."""
        return self.counts.labeled

    @property
    def predicted_pixels(self) -> np.ndarray:
        """Return the pixels of each class in the predictions, int64 [classes]."""
        return self.counts.predicted

    @property
    def class_iou(self) -> np.ndarray:
        """Return the IoU of each class; NaN for a class in no label, even if it is predicted."""
        return self.counts.class_iou

    @property
    def class_accuracy(self) -> np.ndarray:
        """Return the share of each class's pixels that is correct; NaN for a class in no label."""
        return self.counts.class_recall

    @property
    def mean_iou(self) -> float:
        """Return the mean IoU of the classes in labels or predictions (`tf.metrics.mean_iou`).

        A class that is predicted but in no label counts as 0 here, so this is not the mean of
        `class_iou`. Without any pixel it is 0.
        """
        return self.counts.mean_iou

    @property
    def pixel_accuracy(self) -> float:
        """Return the share of correct pixels; NaN without pixels."""
        return float(divide(self.counts.hits.sum(), self.confusion_matrix.sum()))

    @property
    def mean_class_accuracy(self) -> float:
        """Return the mean of `class_accuracy` over the classes in labels; NaN without any."""
        accuracy = self.class_accuracy[self.label_pixels > 0]
        return float(accuracy.mean()) if accuracy.size else float("nan")

    @property
    def frequency_weighted_iou(self) -> float:
        """Return the mean IoU, weighted by the classes' pixels in labels; NaN without pixels."""
        weighted = np.nansum(self.label_pixels * self.class_iou)
        return float(divide(weighted, self.confusion_matrix.sum()))

    def of_categories(self, categories: Sequence[str | None]) -> dict[str, float]:
        """Return the IoU of each category; NaN for one in neither labels nor predictions.

        Within a category it makes no difference which class is predicted (category IoU of
        Cityscapes).

        Args:
            categories: The category of each class; None: it is in none.
        """
        names = list(dict.fromkeys(name for name in categories if name is not None))
        of_class = np.array([-1 if name is None else names.index(name) for name in categories])
        member = of_class == np.arange(len(names))[:, np.newaxis]
        labeled, predicted = member @ self.label_pixels, member @ self.predicted_pixels
        hits = np.diagonal(member @ self.confusion_matrix @ member.T)
        iou = divide(hits, labeled + predicted - hits)
        return dict(zip(names, iou.tolist(), strict=True))


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
        """Add the counts of other metrics.

        Raises:
            ValueError: Their classes or ignore label are not the same.
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
        """Reject values that are not a class; name the first image that has one."""
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
            f"image {name}: {kind} {text} ({int(where.sum())} pixels) is not a class"
            f" (0 to {self.num_classes - 1}){ignored}"
        )
        if kind == "label":
            message += "; correct the label, or num_classes and ignore_label of the dataset"
        raise ValueError(message)


def measure(
    label: np.ndarray,
    prediction: np.ndarray,
    num_classes: int,
    ignore_label: int | None = None,
    name: str | None = None,
) -> SegmentationResult:
    """Return all metrics of one image, with those at borders; add them up over a dataset.

    Args:
        label: Integers [height, width], without padding.
        prediction: Integers [height, width].
        num_classes: See `SegmentationMetrics`.
        ignore_label: See `SegmentationMetrics`.
        name: Name of the image, for errors.

    Raises:
        ValueError: The shapes differ, or a label or prediction is out of bounds.
    """
    metrics = SegmentationMetrics(num_classes, ignore_label)
    names = None if name is None else [name]
    metrics.update(label[np.newaxis], prediction[np.newaxis], names)
    borders = boundary.measure(label, prediction, num_classes, ignore_label)
    return SegmentationResult(metrics.confusion_matrix, borders)
