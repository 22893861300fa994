import numpy as np
import pytest

from deeplab.evaluation import panoptic_quality_test, parsing_covering

_random = panoptic_quality_test._random


def _metric(*images, ignored_label=0, normalize=False):
    metric = parsing_covering.ParsingCovering(4, ignored_label, normalize)
    for image in images:
        metric.compare_and_accumulate(*image)
    return metric


def _by_definition(image, ignored_label):
    """Totals from masks, straight from the definition."""
    counts = image[0] != ignored_label
    weighted, areas = np.zeros((2, 4))
    for category in range(4):
        if category == ignored_label:
            continue
        for instance in np.unique(image[1][image[0] == category]):
            true = (image[0] == category) & (image[1] == instance)
            ious = [0.0]
            for number in np.unique(image[3][image[2] == category]):
                predicted = (image[2] == category) & (image[3] == number) & counts
                ious.append((true & predicted).sum() / (true | predicted).sum())
            weighted[category] += true.sum() * max(ious)
            areas[category] += true.sum()
    return weighted, areas


class TestByHand:
    def test_the_best_cover_counts_by_area(self):
        category = np.ones((1, 10), int)
        truth = np.array([[0, 0, 0, 0, 0, 0, 0, 0, 1, 1]])
        predicted = np.array([[0, 0, 0, 0, 0, 0, 2, 2, 2, 1]])
        metric = _metric((category, truth, category, predicted))
        # Segment 0: 6 of 8; segment 1: 1 of 2 with predicted 1, 1 of 4 with predicted 2.
        np.testing.assert_allclose(metric.weighted_iou_per_class, [0, 8 * 6 / 8 + 2 * 1 / 2, 0, 0])
        np.testing.assert_array_equal(metric.gt_area_per_class, [0, 10, 0, 0])
        assert metric.result() == pytest.approx(0.7)

    def test_only_the_same_category_covers(self):
        category = np.array([[1, 1, 2, 2]])
        zeros = np.zeros_like(category)
        metric = _metric((category, zeros, np.array([[1, 1, 1, 2]]), zeros))
        np.testing.assert_allclose(metric.result_per_category(), [0, 2 / 3, 1 / 2, 0])
        assert metric.result() == pytest.approx((2 / 3 + 1 / 2) / 2)

    def test_ignored_pixels_are_in_no_area(self):
        category = np.array([[1, 1, 0, 0]])
        zeros = np.zeros_like(category)
        metric = _metric((category, zeros, np.ones_like(category), zeros))
        assert metric.result() == 1
        assert metric.detailed_results() == {"All": {"pc": 1, "n": 1}}

    def test_things_and_stuff(self):
        category = np.array([[1, 1, 2, 2]])
        zeros = np.zeros_like(category)
        metric = _metric((category, zeros, np.array([[1, 1, 3, 3]]), zeros))
        assert metric.detailed_results([False, True, False, False]) == {
            "All": {"pc": 0.5, "n": 2},
            "Things": {"pc": 1.0, "n": 1},
            "Stuff": {"pc": 0.0, "n": 1},
        }


class TestProperties:
    @pytest.mark.parametrize("ignored_label", [0, 255])
    @pytest.mark.parametrize("seed", range(4))
    def test_the_definition(self, seed, ignored_label):
        image = _random(seed, ignored_label)
        metric = _metric(image, ignored_label=ignored_label)
        weighted, areas = _by_definition(image, ignored_label)
        np.testing.assert_allclose(metric.weighted_iou_per_class, weighted, rtol=1e-12)
        np.testing.assert_array_equal(metric.gt_area_per_class, areas)
        assert 0 < metric.result() < 1

    def test_a_perfect_prediction_has_1(self):
        truth = _random(0)[:2]
        assert _metric((*truth, *truth)).result() == pytest.approx(1, abs=1e-15)

    def test_the_numbers_of_instances_have_no_meaning(self):
        truth_category, truth_instance, category, instance = _random(1)
        renamed = np.array([2, 0, 1])[instance]
        assert (
            _metric((truth_category, truth_instance, category, renamed)).result()
            == _metric((truth_category, truth_instance, category, instance)).result()
        )

    def test_normalized_images_weigh_the_same(self):
        small, large = _random(0, size=40), _random(1, size=80)
        metric = _metric(small, large, normalize=True)
        parts = [_metric(image) for image in (small, large)]
        np.testing.assert_allclose(
            metric.gt_area_per_class,
            parts[0].gt_area_per_class / 40**2 + parts[1].gt_area_per_class / 80**2,
        )
        np.testing.assert_allclose(
            metric.weighted_iou_per_class,
            parts[0].weighted_iou_per_class / 40**2 + parts[1].weighted_iou_per_class / 80**2,
        )

    def test_normalization_changes_nothing_for_one_image(self):
        image = _random(3)
        assert _metric(image, normalize=True).result() == pytest.approx(_metric(image).result())

    def test_merging_equals_accumulating(self):
        images = [_random(seed) for seed in range(3)]
        first, second = _metric(*images[:2]), _metric(*images[2:])
        first.merge(second)
        assert first.result() == pytest.approx(_metric(*images).result(), rel=1e-14)

    def test_nothing_has_0(self):
        assert _metric().result() == 0
        assert _metric().detailed_results() == {"All": {"pc": 0, "n": 0}}
