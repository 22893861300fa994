"""Semantic segmentation metrics from a confusion matrix (official `eval.py`); NumPy alone."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class SegmentationResult:
    """What a confusion matrix says; every array is float64 [classes] unless said otherwise.

    Pixels whose label is the ignore label count nowhere.

    Attributes:
        confusion_matrix: int64 [classes, classes], pixels by label (row) and prediction (column).
    """

    confusion_matrix: np.ndarray

    @property
    def label_pixels(self) -> np.ndarray:
        """Pixels of each class in the labels, int64 [classes]."""
        return self.confusion_matrix.sum(axis=1)

    @property
    def predicted_pixels(self) -> np.ndarray:
        """Pixels of each class in the predictions, int64 [classes]."""
        return self.confusion_matrix.sum(axis=0)

    @property
    def class_iou(self) -> np.ndarray:
        """Intersection over union; NaN for a class that no label has, even if it is predicted."""
        return np.where(self.label_pixels > 0, self._iou(), np.nan)

    @property
    def class_accuracy(self) -> np.ndarray:
        """Share of each class's pixels that are predicted so; NaN for a class no label has."""
        return _divide(self._hits(), self.label_pixels)

    @property
    def mean_iou(self) -> float:
        """Mean over the classes that are labelled or predicted, as `tf.metrics.mean_iou` has it.

        A class that is predicted but in no label counts as 0 here, so this is not the mean of
        `class_iou`. Without a single pixel it is 0.
        """
        iou = self._iou()
        occurs = ~np.isnan(iou)
        return float(iou[occurs].mean()) if occurs.any() else 0.0

    @property
    def pixel_accuracy(self) -> float:
        """Share of the pixels that are predicted right; NaN without pixels."""
        return float(_divide(self._hits().sum(), self.confusion_matrix.sum()))

    @property
    def mean_class_accuracy(self) -> float:
        """Mean of `class_accuracy` over the classes that are labelled; NaN if there is none."""
        accuracy = self.class_accuracy[self.label_pixels > 0]
        return float(accuracy.mean()) if accuracy.size else float("nan")

    @property
    def frequency_weighted_iou(self) -> float:
        """Mean of the IoU, weighted by the classes' pixels in the labels; NaN without pixels."""
        weighted = np.nansum(self.label_pixels * self.class_iou)
        return float(_divide(weighted, self.confusion_matrix.sum()))

    def _hits(self) -> np.ndarray:
        return np.diagonal(self.confusion_matrix)

    def _iou(self) -> np.ndarray:
        """Intersection over union; NaN for a class that is neither labelled nor predicted."""
        union = self.label_pixels + self.predicted_pixels - self._hits()
        return _divide(self._hits(), union)


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient in float64, NaN where the denominator is 0."""
    denominator = np.asarray(denominator, np.float64)
    return np.asarray(numerator, np.float64) / np.where(denominator == 0, np.nan, denominator)


class SegmentationMetrics:
    """Accumulates a confusion matrix over a data set.

    Example:
        metrics = SegmentationMetrics(num_classes=21, ignore_label=255)
        for labels, predictions, names in batches:
            metrics.update(labels, predictions, names)
        print(metrics.result().mean_iou)
    """

    def __init__(self, num_classes: int, ignore_label: int | None = None):
        """Starts from nothing.

        Args:
            num_classes: number of classes; labels and predictions are 0 to num_classes - 1.
            ignore_label: label of the pixels that do not count; it may be that of a class, which
                then is in no label (ADE20K). None: every pixel counts.

        Raises:
            ValueError: fewer than one class.
        """
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
        """Adds a batch of images, or none of it if there is an error.

        Args:
            labels: integers [images, height, width], or of any other shape.
            predictions: integers of the same shape; what they are where the label is ignored
                plays no part.
            names: the images' names, for errors.

        Raises:
            ValueError: the shapes differ, or a label or prediction is out of bounds.
        """
        labels, predictions = np.asarray(labels), np.asarray(predictions)
        if labels.shape != predictions.shape:
            raise ValueError(
                f"labels have the shape {list(labels.shape)}, predictions"
                f" {list(predictions.shape)}; they must be equal"
            )
        for title, values in (("labels", labels), ("predictions", predictions)):
            if not np.issubdtype(values.dtype, np.integer):
                raise ValueError(f"{title} are integers, not {values.dtype}")
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
        """Adds what another one has accumulated.

        Raises:
            ValueError: the other one has other classes or another ignore label.
        """
        for field in ("num_classes", "ignore_label"):
            ours, theirs = getattr(self, field), getattr(other, field)
            if ours != theirs:
                raise ValueError(f"cannot merge metrics with {field} {ours} and {theirs}")
        self.confusion_matrix += other.confusion_matrix

    def reset(self) -> None:
        """Forgets everything."""
        self.confusion_matrix[:] = 0

    def result(self) -> SegmentationResult:
        """The metrics of everything so far; later updates leave it as it is."""
        return SegmentationResult(self.confusion_matrix.copy())

    def _check(
        self, kind: str, values: np.ndarray, counts: np.ndarray, names: Sequence[str] | None
    ) -> None:
        """Refuses values that are no class, naming the first image that has some."""
        bad = counts & ((values < 0) | (values >= self.num_classes))
        if not bad.any():
            return
        # An image is an entry of the first axis where there are more than two.
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
            message += "; mend the label, or num_classes and ignore_label of the data set"
        raise ValueError(message)
