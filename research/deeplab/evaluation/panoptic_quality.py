"""Panoptic quality, PQ (arXiv 1801.00868, section 4; official `panoptic_quality.py`)."""

import numpy as np

from deeplab.evaluation import base_metric


class PanopticQuality(base_metric.PanopticMetric):
    """Segmentation quality times recognition quality, for each category.

    A predicted and a true segment of one category match if their IoU is above 1/2; each segment
    has at most one match. PQ is the mean IoU of the matches (SQ) times their F1 score (RQ). Void
    pixels count in no union, and a prediction that lies mostly on void or crowds is not a false
    positive. The ignored category is not counted.

    A crowd is ignored for predictions of every category, as in the official DeepLab code. The COCO
    panoptic API ignores it only for predictions of its own category.

    Attributes:
        iou_per_class: Sum of the IoU of all matches, float64 [num_categories].
        tp_per_class: Number of matches.
        fn_per_class: Number of true segments without a match.
        fp_per_class: Number of predicted segments without a match that are not ignored.
    """

    TOTALS = ("iou_per_class", "tp_per_class", "fn_per_class", "fp_per_class")

    def accumulate(self, overlaps: base_metric.Overlaps, num_pixels: int) -> None:
        """Add an image, given its overlaps."""
        truth, predicted = overlaps.groundtruth, overlaps.predicted
        truth_index, predicted_index = overlaps.groundtruth_index, overlaps.predicted_index
        evaluated = self._is_evaluated(truth)

        def covered_by(segments: np.ndarray) -> np.ndarray:
            """Return how many pixels of each prediction lie on these true segments."""
            chosen = segments[truth_index]
            return np.bincount(
                predicted_index[chosen], overlaps.area[chosen], minlength=len(predicted.area)
            )

        on_void = covered_by(~evaluated & (truth.instance == 0))
        on_ignored = covered_by(~evaluated)
        same = evaluated[truth_index] & (
            truth.category[truth_index] == predicted.category[predicted_index]
        )
        truth_index, predicted_index = truth_index[same], predicted_index[same]
        area = overlaps.area[same]
        union = (
            truth.area[truth_index]
            + predicted.area[predicted_index]
            - on_void[predicted_index]
            - area
        )
        iou = area / union
        match = iou > 0.5
        matched_category = truth.category[truth_index[match]]
        missed, spurious = evaluated.copy(), self._is_evaluated(predicted)
        missed[truth_index[match]] = False
        spurious[predicted_index[match]] = False
        spurious &= on_ignored <= 0.5 * predicted.area

        self.iou_per_class += self._per_category(matched_category, iou[match])
        self.tp_per_class += self._per_category(matched_category)
        self.fn_per_class += self._per_category(truth.category[missed])
        self.fp_per_class += self._per_category(predicted.category[spurious])

    def valid_categories(self) -> np.ndarray:
        """Return which categories have true or predicted segments: bool [num_categories]."""
        return self.tp_per_class + self.fn_per_class + self.fp_per_class > 0

    def values_per_category(self) -> dict[str, np.ndarray]:
        """Return `pq`, `sq` and `rq`, float64 [num_categories]."""
        sq = base_metric.divide_or_zero(self.iou_per_class, self.tp_per_class)
        rq = base_metric.divide_or_zero(
            self.tp_per_class, self.tp_per_class + 0.5 * (self.fn_per_class + self.fp_per_class)
        )
        return {"pq": sq * rq, "sq": sq, "rq": rq}
