"""What the panoptic metrics share: accumulation, means over categories, overlaps of segments."""

import abc
import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Segments:
    """The segments of one image; a segment is the pixels of one category and instance.

    Attributes:
        category: int64 [segments].
        instance: int64 [segments].
        area: pixels, int64 [segments].
    """

    category: np.ndarray
    instance: np.ndarray
    area: np.ndarray


@dataclasses.dataclass(frozen=True)
class Overlaps:
    """The segments of a ground truth and a prediction, and the pixels that they share.

    Attributes:
        groundtruth: segments of the ground truth.
        predicted: segments of the prediction.
        groundtruth_index: for each pair of segments that share pixels, the index of the one.
        predicted_index: and of the other.
        area: pixels that they share, int64 [pairs].
    """

    groundtruth: Segments
    predicted: Segments
    groundtruth_index: np.ndarray
    predicted_index: np.ndarray
    area: np.ndarray


class PanopticMetric(abc.ABC):
    """A metric over the categories of panoptic segmentations (official `base_metric.py`).

    Example:
        metric = PanopticQuality(num_categories=134, ignored_label=0)
        for groundtruth, predicted in images:
            metric.compare_and_accumulate(*groundtruth, *predicted)
        print(metric.result())
    """

    # Names of the attributes, float64 [num_categories], that add up over images.
    TOTALS: tuple[str, ...]

    def __init__(self, num_categories: int, ignored_label: int):
        """Starts from nothing.

        Args:
            num_categories: number of categories; they are 0 to num_categories - 1.
            ignored_label: category that is not evaluated. In the ground truth its instance 0 is
                void, and its other instances are crowds. It may be above the others.

        Raises:
            ValueError: fewer than one category.
        """
        if num_categories < 1:
            raise ValueError(f"num_categories is {num_categories}; it must be at least 1")
        self.num_categories = num_categories
        self.ignored_label = ignored_label
        self.reset()

    @abc.abstractmethod
    def accumulate(self, overlaps: Overlaps, num_pixels: int) -> None:
        """Adds an image of which the overlaps are known, and the number of its pixels."""

    @abc.abstractmethod
    def valid_categories(self) -> np.ndarray:
        """Whether a category has a value: bool [num_categories]."""

    @abc.abstractmethod
    def values_per_category(self) -> dict[str, np.ndarray]:
        """The metric, first, and its factors, by their short names: float64 [num_categories].

        0 for a category that has no value.
        """

    def reset(self) -> None:
        """Forgets everything."""
        for name in self.TOTALS:
            setattr(self, name, np.zeros(self.num_categories))

    def merge(self, other: "PanopticMetric") -> None:
        """Adds what another metric of the same kind has accumulated."""
        for name in self.TOTALS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def compare_and_accumulate(
        self,
        groundtruth_category: np.ndarray,
        groundtruth_instance: np.ndarray,
        predicted_category: np.ndarray,
        predicted_instance: np.ndarray,
    ) -> None:
        """Adds an image.

        Args:
            groundtruth_category: the category of each pixel, integers [height, width].
            groundtruth_instance: its instance among those of the category, integers of that shape
                from 0 on.
            predicted_category: as predicted.
            predicted_instance: as predicted.

        Raises:
            ValueError: the sizes differ, or a category is out of bounds.
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
        """The metric of each category, float64 [num_categories]; 0 where it has no value."""
        return next(iter(self.values_per_category().values()))

    def result(self) -> float:
        """Mean over the categories that have a value; 0 if there is none."""
        valid = self.valid_categories()
        return float(self.result_per_category()[valid].mean()) if valid.any() else 0.0

    def detailed_results(
        self, is_thing: Sequence[bool] | np.ndarray | None = None
    ) -> dict[str, dict[str, float]]:
        """Means over all categories and, where it is known which is which, things and stuff.

        Args:
            is_thing: for each category, whether it is of things (countable) or of stuff.

        Returns:
            For `All`, `Things` and `Stuff`: the metric and its factors by their short names, and
            `n`, the number of categories that have a value.
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
        """Number, or sum of the weights, of the entries of each category."""
        return np.bincount(category, weights, minlength=self.num_categories).astype(np.float64)


def divide_or_zero(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient; 0 where the denominator is 0."""
    return np.divide(
        numerator, denominator, out=np.zeros_like(denominator, np.float64), where=denominator != 0
    )


def find_overlaps(
    groundtruth_category: np.ndarray,
    groundtruth_instance: np.ndarray,
    predicted_category: np.ndarray,
    predicted_instance: np.ndarray,
) -> Overlaps:
    """Finds the segments of an image, as it is and as predicted, and the pixels that they share.

    Args:
        groundtruth_category: integers of any shape, from 0 on.
        groundtruth_instance: integers of that shape, from 0 on.
        predicted_category: as predicted.
        predicted_instance: as predicted.
    """
    groundtruth, groundtruth_of_pixel = _find_segments(groundtruth_category, groundtruth_instance)
    predicted, predicted_of_pixel = _find_segments(predicted_category, predicted_instance)
    count = max(len(predicted.area), 1)
    pairs, area = np.unique(groundtruth_of_pixel * count + predicted_of_pixel, return_counts=True)
    return Overlaps(groundtruth, predicted, pairs // count, pairs % count, area)


def _find_segments(category: np.ndarray, instance: np.ndarray) -> tuple[Segments, np.ndarray]:
    """The segments, and for each pixel the index of its own."""
    instances = int(instance.max(initial=0)) + 1
    identity = category.astype(np.int64).ravel() * instances + instance.ravel()
    identities, of_pixel, area = np.unique(identity, return_inverse=True, return_counts=True)
    return Segments(identities // instances, identities % instances, area), of_pixel
