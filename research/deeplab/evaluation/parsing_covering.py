"""Parsing covering, PC (arXiv 1902.05093, section 4; official `parsing_covering.py`)."""

import numpy as np

from deeplab.evaluation import base_metric


class ParsingCovering(base_metric.PanopticMetric):
    """Parsing covering: how well predicted segments cover the true segments of their category.

    Each true segment has the highest IoU of all predicted segments of its category. The mean over
    the true segments is weighted by their areas, so large segments matter most. Pixels that the
    ground truth ignores are not counted.

    Args:
        num_categories: Number of categories; they are 0 to num_categories - 1.
        ignored_label: Category that is not evaluated.
        normalize_by_image_size: Areas are shares of the image instead of pixels.

    Attributes:
        weighted_iou_per_class: Sum of area times highest IoU, float64 [num_categories].
        gt_area_per_class: Sum of the areas, float64 [num_categories].
    """

    TOTALS = ("weighted_iou_per_class", "gt_area_per_class")

    def __init__(
        self, num_categories: int, ignored_label: int, normalize_by_image_size: bool = True
    ):
        super().__init__(num_categories, ignored_label)
        self.normalize_by_image_size = normalize_by_image_size

    def accumulate(self, overlaps: base_metric.Overlaps, num_pixels: int) -> None:
        """Add an image, given its overlaps and its number of pixels."""
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
        """Return which categories have true segments: bool [num_categories]."""
        return self.gt_area_per_class > 0

    def values_per_category(self) -> dict[str, np.ndarray]:
        """Return `pc`, float64 [num_categories]."""
        covering = base_metric.divide_or_zero(self.weighted_iou_per_class, self.gt_area_per_class)
        return {"pc": covering}
