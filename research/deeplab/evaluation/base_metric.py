"""Base of the panoptic metrics: accumulation, means over categories, overlaps of segments."""

import abc
import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Segments:
    """The segments of one image; a segment is all pixels of one category and instance.

    Attributes:
        category: Category of each segment, int64 [segments].
        instance: Instance of each segment, int64 [segments].
        area: Number of pixels of each segment, int64 [segments].
    """

    category: np.ndarray
    instance: np.ndarray
    area: np.ndarray


@dataclasses.dataclass(frozen=True)
class Overlaps:
    """Overlaps between the segments of a ground truth and a prediction.

    Attributes:
        groundtruth: Segments of the ground truth.
        predicted: Segments of the prediction.
        groundtruth_index: Index of the true segment of each overlapping pair, int64 [pairs].
        predicted_index: Index of the predicted segment of each pair, int64 [pairs].
        area: Number of pixels that each pair shares, int64 [pairs].
    """

    groundtruth: Segments
    predicted: Segments
    groundtruth_index: np.ndarray
    predicted_index: np.ndarray
    area: np.ndarray


class PanopticMetric(abc.ABC):
    """A metric over the categories of panoptic segmentations (official `base_metric.py`).

    Args:
        num_categories: Number of categories; they are 0 to num_categories - 1.
        ignored_label: Category that is not evaluated; it may be above the others. In the ground
            truth its instance 0 is void, and its other instances are crowds.

    Raises:
        ValueError: There is no category.

    Example:
        metric = PanopticQuality(num_categories=134, ignored_label=0)
        for groundtruth, predicted in images:
            metric.compare_and_accumulate(*groundtruth, *predicted)
        print(metric.result())
    """

    # Names of the attributes that are summed over images, float64 [num_categories].
    TOTALS: tuple[str, ...]

    def __init__(self, num_categories: int, ignored_label: int):
        if num_categories < 1:
            raise ValueError(f"num_categories is {num_categories}; it must be at least 1")
        self.num_categories = num_categories
        self.ignored_label = ignored_label
        self.reset()

    @abc.abstractmethod
    def accumulate(self, overlaps: Overlaps, num_pixels: int) -> None:
        """Add an image, given its overlaps and its number of pixels."""

    @abc.abstractmethod
    def valid_categories(self) -> np.ndarray:
        """Return which categories have a value: bool [num_categories]."""

    @abc.abstractmethod
    def values_per_category(self) -> dict[str, np.ndarray]:
        """Return the metric, then its factors, by their short names: float64 [num_categories].

        A category without a value has 0.
        """

    def reset(self) -> None:
        """Start from zero."""
        for name in self.TOTALS:
            setattr(self, name, np.zeros(self.num_categories))

    def merge(self, other: "PanopticMetric") -> None:
        """Add what another metric of the same kind has accumulated."""
        for name in self.TOTALS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def compare_and_accumulate(
        self,
        groundtruth_category: np.ndarray,
        groundtruth_instance: np.ndarray,
        predicted_category: np.ndarray,
        predicted_instance: np.ndarray,
    ) -> None:
        """Add an image.

        Args:
            groundtruth_category: True category of each pixel, integers [height, width].
            groundtruth_instance: True instance within the category, integers [height, width] from
                0 on.
            predicted_category: Predicted category of each pixel.
            predicted_instance: Predicted instance within the category.

        Raises:
            ValueError: The sizes differ, or a category is out of bounds.
        """
        arrays = (
            groundtruth_category,
            groundtruth_instance,
            predicted_category,
            predicted_instance,
        )
        arrays = [np.asarray(array) for array in arrays]
        if len({array.shape for array in arrays}) > 1:
            raise ValueError(
                f"the ground truth has the shape {list(arrays[0].shape)}, the prediction"
                f" {list(arrays[2].shape)}; they must be equal"
            )
        for title, category in (("ground truth", arrays[0]), ("prediction", arrays[2])):
            bad = (category < 0) | (category >= self.num_categories)
            bad &= category != self.ignored_label
            if bad.any():
                raise ValueError(
                    f"the {title} has category {category[bad].flat[0]}, but there are"
                    f" {self.num_categories} (0 to {self.num_categories - 1}): --num_categories"
                )
        self.accumulate(find_overlaps(*arrays), arrays[0].size)

    def result_per_category(self) -> np.ndarray:
        """Return the metric of each category, float64 [num_categories]; 0 without a value."""
        return next(iter(self.values_per_category().values()))

    def result(self) -> float:
        """Return the mean over the categories that have a value; 0 if none has."""
        valid = self.valid_categories()
        return float(self.result_per_category()[valid].mean()) if valid.any() else 0.0

    def detailed_results(
        self, is_thing: Sequence[bool] | np.ndarray | None = None
    ) -> dict[str, dict[str, float]]:
        """Return means over all categories, and over those of things and stuff if they are known.

        Args:
            is_thing: For each category, whether it is of things (countable) or of stuff.

        Returns:
            For each of `All`, `Things` and `Stuff`: the metric and its factors by their short
            names, and `n`, the number of categories that have a value.
        """
        valid = self.valid_categories()
        subsets = {"All": valid}
        if is_thing is not None:
            things = np.asarray(is_thing, bool)
            subsets |= {"Things": valid & things, "Stuff": valid & ~things}
        return {
            title: {
                **{
                    name: float(values[subset].mean()) if subset.any() else 0.0
                    for name, values in self.values_per_category().items()
                },
                "n": int(subset.sum()),
            }
            for title, subset in subsets.items()
        }

    def _is_evaluated(self, segments: Segments) -> np.ndarray:
        return segments.category != self.ignored_label

    def _per_category(self, category: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Return the number of entries of each category, or the sum of their weights."""
        return np.bincount(category, weights, minlength=self.num_categories).astype(np.float64)


def divide_or_zero(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return the quotient; 0 where the denominator is 0."""
    return np.divide(
        numerator, denominator, out=np.zeros_like(denominator, np.float64), where=denominator != 0
    )


def find_overlaps(
    groundtruth_category: np.ndarray,
    groundtruth_instance: np.ndarray,
    predicted_category: np.ndarray,
    predicted_instance: np.ndarray,
) -> Overlaps:
    """Find the true and the predicted segments of an image, and how they overlap.

    Args:
        groundtruth_category: True category of each pixel, integers from 0 on, of any shape.
        groundtruth_instance: True instance of each pixel, integers from 0 on.
        predicted_category: Predicted category of each pixel.
        predicted_instance: Predicted instance of each pixel.
    """
    groundtruth, groundtruth_of_pixel = _find_segments(groundtruth_category, groundtruth_instance)
    predicted, predicted_of_pixel = _find_segments(predicted_category, predicted_instance)
    count = max(len(predicted.area), 1)
    pairs, area = np.unique(groundtruth_of_pixel * count + predicted_of_pixel, return_counts=True)
    return Overlaps(groundtruth, predicted, pairs // count, pairs % count, area)


def _find_segments(category: np.ndarray, instance: np.ndarray) -> tuple[Segments, np.ndarray]:
    """Return the segments, and the index of each pixel's segment."""
    instances = int(instance.max(initial=0)) + 1
    identity = category.astype(np.int64).ravel() * instances + instance.ravel()
    identities, of_pixel, area = np.unique(identity, return_inverse=True, return_counts=True)
    return Segments(identities // instances, identities % instances, area), of_pixel
