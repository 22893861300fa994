"""Panoptic quality, PQ (arXiv 1801.00868, section 4; official `panoptic_quality.py`)."""

import numpy as np

from deeplab.evaluation import base_metric


class PanopticQuality(base_metric.PanopticMetric):
    """Recognition times segmentation quality of the segments of each category.

    A predicted and a true segment of one category match if their IoU is above 1/2, which is true
    of one pair at most. PQ is the mean IoU of the matches (SQ) times their F1 score (RQ). Void
    pixels count in no union, and a prediction that lies mostly on void or crowds is no false
    positive. Of the ignored category nothing is counted.

    A crowd is ignored for predictions of every category, as in the official DeepLab code; the
    COCO panoptic API does so for its own category alone.

    Attributes:
        iou_per_class: sum of the IoU of the matches of each category, float64 [num_categories].
        tp_per_class: matches, float64 [num_categories].
        fn_per_class: true segments that are not matched.
        fp_per_class: predicted segments that are not matched and not ignored.
    """

    TOTALS = ("iou_per_class", "tp_per_class", "fn_per_class", "fp_per_class")

    def accumulate(self, overlaps: base_metric.Overlaps, num_pixels: int) -> None:
        """Adds an image of which the overlaps are known."""
        truth, predicted = overlaps.groundtruth, overlaps.predicted
        truth_index, predicted_index = overlaps.groundtruth_index, overlaps.predicted_index
        evaluated = self._is_evaluated(truth)

        def covered_by(segments: np.ndarray) -> np.ndarray:
            """Pixels of each prediction that lie on these segments of the ground truth."""
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
        """Whether a category has segments, true or predicted: bool [num_categories]."""
        return self.tp_per_class + self.fn_per_class + self.fp_per_class > 0

    def values_per_category(self) -> dict[str, np.ndarray]:
        """`pq`, `sq` and `rq`, float64 [num_categories]."""
        sq = base_metric.divide_or_zero(self.iou_per_class, self.tp_per_class)
        rq = base_metric.divide_or_zero(
            self.tp_per_class, self.tp_per_class + 0.5 * (self.fn_per_class + self.fp_per_class)
        )
        return {"pq": sq * rq, "sq": sq, "rq": rq}
