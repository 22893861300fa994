"""Parsing covering, PC (arXiv 1902.05093, section 4; official `parsing_covering.py`)."""

import numpy as np

from deeplab.evaluation import base_metric


class ParsingCovering(base_metric.PanopticMetric):
    """How well the true segments are covered by predicted ones of their category.

    Each true segment takes the highest IoU that a predicted segment of its category has with it,
    and counts by its area, so that large segments matter most. Pixels that are ignored in the
    ground truth count nowhere.

    Attributes:
        weighted_iou_per_class: sum of area times highest IoU, float64 [num_categories].
        gt_area_per_class: sum of the areas, float64 [num_categories].
    """

    TOTALS = ("weighted_iou_per_class", "gt_area_per_class")

    def __init__(
        self, num_categories: int, ignored_label: int, normalize_by_image_size: bool = True
    ):
        """Starts from nothing.

        Args:
            num_categories: number of categories; they are 0 to num_categories - 1.
            ignored_label: category that is not evaluated.
            normalize_by_image_size: areas are shares of the image, else pixels.
        """
        super().__init__(num_categories, ignored_label)
        self.normalize_by_image_size = normalize_by_image_size

    def accumulate(self, overlaps: base_metric.Overlaps, num_pixels: int) -> None:
        """Adds an image of which the overlaps are known, and the number of its pixels."""
        truth, predicted = overlaps.groundtruth, overlaps.predicted
        evaluated = self._is_evaluated(truth)
        counts = evaluated[overlaps.groundtruth_index]
        truth_index, predicted_index = (
            overlaps.groundtruth_index[counts],
            overlaps.predicted_index[counts],
        )
        area = overlaps.area[counts]
        predicted_area = np.bincount(predicted_index, area, minlength=len(predicted.area))
        union = truth.area[truth_index] + predicted_area[predicted_index] - area
        same = truth.category[truth_index] == predicted.category[predicted_index]
        highest = np.zeros(len(truth.area))
        np.maximum.at(highest, truth_index[same], (area / union)[same])

        weight = truth.area / (num_pixels if self.normalize_by_image_size else 1)
        category = truth.category[evaluated]
        self.weighted_iou_per_class += self._per_category(category, (highest * weight)[evaluated])
        self.gt_area_per_class += self._per_category(category, weight[evaluated])

    def valid_categories(self) -> np.ndarray:
        """Whether a category has true segments: bool [num_categories]."""
        return self.gt_area_per_class > 0

    def values_per_category(self) -> dict[str, np.ndarray]:
        """`pc`, float64 [num_categories]."""
        covering = base_metric.divide_or_zero(self.weighted_iou_per_class, self.gt_area_per_class)
        return {"pc": covering}
