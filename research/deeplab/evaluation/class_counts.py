"""Metrics of classes from counts of pixels: IoU, Dice, precision and recall."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class ClassCounts:
    """Pixels of each class, int64 [classes], and the metrics that follow from them.

    Metrics of classes are float64 [classes], NaN where they are not defined. Each mean is over the
    classes in labels or predictions, and what is not defined for such a class counts as 0 in it:
    the rule of `tf.metrics.mean_iou`. So a class that is predicted but in no label lowers the mean.
    Without any pixel a mean is 0.

    Args:
        hits: Pixels whose label and prediction are the class.
        labeled: Pixels whose label is the class.
        predicted: Pixels that are predicted as the class.
    """

    hits: np.ndarray
    labeled: np.ndarray
    predicted: np.ndarray

    @classmethod
    def of_confusions(cls, matrix: np.ndarray) -> "ClassCounts":
        """Return the counts of a confusion matrix, rows are labels, int64 [classes, classes]."""
        return cls(np.diagonal(matrix).copy(), matrix.sum(axis=1), matrix.sum(axis=0))

    def __add__(self, other: "ClassCounts") -> "ClassCounts":
        return ClassCounts(
            self.hits + other.hits,
            self.labeled + other.labeled,
            self.predicted + other.predicted,
        )

    @property
    def class_iou(self) -> np.ndarray:
        """Return the IoU of each class; NaN for a class in no label, even if it is predicted."""
        return np.where(self.labeled > 0, self._iou(), np.nan)

    @property
    def mean_iou(self) -> float:
        """Return the mean IoU."""
        return self._mean(self._iou())

    @property
    def class_dice(self) -> np.ndarray:
        """Return `2 hits / (labeled + predicted)`; NaN for a class in no label."""
        return np.where(self.labeled > 0, self._dice(), np.nan)

    @property
    def mean_dice(self) -> float:
        """Return the mean Dice coefficient."""
        return self._mean(self._dice())

    @property
    def class_precision(self) -> np.ndarray:
        """Return the share of each class's predictions that is right; NaN without any."""
        return divide(self.hits, self.predicted)

    @property
    def mean_precision(self) -> float:
        """Return the mean precision."""
        return self._mean(self.class_precision)

    @property
    def class_recall(self) -> np.ndarray:
        """Return the share of each class's pixels that is found; NaN for a class in no label."""
        return divide(self.hits, self.labeled)

    @property
    def mean_recall(self) -> float:
        """Return the mean recall."""
        return self._mean(self.class_recall)

    def _iou(self) -> np.ndarray:
        return divide(self.hits, self.labeled + self.predicted - self.hits)

    def _dice(self) -> np.ndarray:
        return divide(2 * self.hits, self.labeled + self.predicted)

    def _mean(self, values: np.ndarray) -> float:
        occurs = self.labeled + self.predicted > 0
        return float(np.nan_to_num(values[occurs]).mean()) if occurs.any() else 0.0


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return the quotient in float64; NaN where the denominator is 0."""
    denominator = np.asarray(denominator, np.float64)
    return np.asarray(numerator, np.float64) / np.where(denominator == 0, np.nan, denominator)
