import numpy as np
import pytest

from deeplab.evaluation import base_metric, panoptic_quality

_IGNORED = 0


def _metric(*images, num_categories=4, ignored_label=_IGNORED):
    metric = panoptic_quality.PanopticQuality(num_categories, ignored_label)
    for image in images:
        metric.compare_and_accumulate(*image)
    return metric


def _one_category(groundtruth, predicted):
    """An image whose segments all are of category 1."""
    groundtruth, predicted = np.array(groundtruth), np.array(predicted)
    ones = np.ones_like(groundtruth)
    return ones, groundtruth, ones, predicted


def _random(seed, ignored_label=_IGNORED, size=40):
    """A random image of boxes; the prediction is the same image, with some boxes moved."""
    random = np.random.default_rng(seed)
    arrays = np.zeros((4, size, size), int)
    arrays[[0, 2]] = ignored_label
    for _ in range(25):
        y, x, h, w = random.integers(0, [size, size, 16, 16])
        category, instance = random.choice([ignored_label, 1, 2, 3]), random.integers(0, 3)
        arrays[:2, y : y + h, x : x + w] = [[[category]], [[instance]]]
        y, x = np.maximum(0, [y, x] + random.integers(-2, 3, 2))
        arrays[2:, y : y + h, x : x + w] = [[[category]], [[instance]]]
    return tuple(arrays)


def _by_definition(image, num_categories=4, ignored_label=_IGNORED):
    """Totals from masks, straight from the definition."""
    masks = []
    for category, instance in (image[:2], image[2:]):
        pairs = sorted(set(zip(category.ravel().tolist(), instance.ravel().tolist(), strict=True)))
        masks.append([(c, i, (category == c) & (instance == i)) for c, i in pairs])
    void = (image[0] == ignored_label) & (image[1] == 0)
    iou, tp, fn, fp = np.zeros((4, num_categories))
    matched = set()
    for category, _, true in masks[0]:
        if category == ignored_label:
            continue
        found = False
        for other, number, predicted in masks[1]:
            union = (true | (predicted & ~void)).sum()
            if other == category and (true & predicted).sum() > 0.5 * union:
                found = True
                matched.add((other, number))
                iou[category] += (true & predicted).sum() / union
                tp[category] += 1
        fn[category] += not found
    for category, instance, predicted in masks[1]:
        on_ignored = (predicted & (image[0] == ignored_label)).sum() > 0.5 * predicted.sum()
        if category != ignored_label and (category, instance) not in matched and not on_ignored:
            fp[category] += 1
    return iou, tp, fn, fp


def _totals(metric):
    return [getattr(metric, name) for name in metric.TOTALS]


class TestByHand:
    def test_matches(self):
        truth = np.ones((6, 6), int)
        truth[2, 2:5] = truth[3, 1:5] = 2
        predicted = np.ones((6, 6), int)
        predicted[2, 1:5] = predicted[3, 1:4] = 2
        # Segment 2: 6 shared, 8 in the union; segment 1: 28 and 30.
        metric = _metric(_one_category(truth, predicted))
        np.testing.assert_allclose(metric.iou_per_class, [0, 6 / 8 + 28 / 30, 0, 0])
        assert metric.result() == pytest.approx((6 / 8 + 28 / 30) / 2)

    def test_half_is_no_match(self):
        truth, predicted = np.array([[1, 1, 0, 0]]), np.array([[1, 0, 0, 0]])
        # Segment 1: 1 of 2; segment 0: 2 of 3.
        metric = _metric(_one_category(truth, predicted))
        np.testing.assert_array_equal(
            _totals(metric), np.eye(4)[[1] * 4] * [[2 / 3], [1], [1], [1]]
        )
        assert metric.result() == pytest.approx(2 / 3 * 1 / (1 + 0.5 + 0.5))

    def test_void_is_in_no_union(self):
        category = np.array([[1, 1, _IGNORED, _IGNORED]])
        zeros, ones = np.zeros_like(category), np.ones_like(category)
        metric = _metric((category, zeros, ones, zeros))
        np.testing.assert_array_equal(_totals(metric)[:2], [[0, 1, 0, 0], [0, 1, 0, 0]])

    def test_a_crowd_is_in_the_union(self):
        category = np.array([[1, 1, 1, _IGNORED, _IGNORED]])
        crowd = (category == _IGNORED).astype(int)
        ones = np.ones_like(category)
        metric = _metric((category, crowd, ones, 0 * ones))
        np.testing.assert_allclose(metric.iou_per_class, [0, 3 / 5, 0, 0])

    @pytest.mark.parametrize(("ignored_pixels", "false_positives"), [(2, 1), (3, 0)])
    def test_a_prediction_mostly_on_ignored_pixels_is_no_false_positive(
        self, ignored_pixels, false_positives
    ):
        category = np.array([[1, 1, 1, 1, 1, 1]])
        category[:, :ignored_pixels] = _IGNORED
        predicted = np.array([[2, 2, 2, 2, 1, 1]])
        zeros = np.zeros_like(category)
        metric = _metric((category, zeros, predicted, zeros))
        assert metric.fp_per_class[2] == false_positives

    def test_one_segment_for_two_instances(self):
        category = np.full((4, 5), 1)
        category[2:, :2] = category[2:, 3:] = 2
        predicted = np.zeros_like(category)
        predicted[2:, 3:] = 1
        metric = _metric((category, np.zeros_like(category), category, predicted))
        # The two halves have 4 of 8 pixels: neither matches.
        np.testing.assert_array_equal(metric.tp_per_class, [0, 1, 0, 0])
        np.testing.assert_array_equal(metric.fn_per_class, [0, 0, 1, 0])
        np.testing.assert_array_equal(metric.fp_per_class, [0, 0, 2, 0])
        assert metric.result() == 0.5

    def test_detailed_results(self):
        metric = _metric(num_categories=5)
        metric.iou_per_class += [0, 0.9, 1.2, 0, 0]
        metric.tp_per_class += [0, 1, 2, 0, 0]
        metric.fn_per_class += [0, 0, 1, 2, 0]
        metric.fp_per_class += [0, 2, 1, 0, 0]
        results = metric.detailed_results(is_thing=[False, True, False, False, True])
        # Category 1: SQ 0.9, RQ 1/2; 2: SQ 0.6, RQ 2/3; 3: nothing found; 4: does not occur.
        assert results["Things"] == pytest.approx({"pq": 0.45, "sq": 0.9, "rq": 0.5, "n": 1})
        assert results["Stuff"] == pytest.approx({"pq": 0.2, "sq": 0.3, "rq": 1 / 3, "n": 2})
        assert results["All"] == pytest.approx(
            {"pq": 0.85 / 3, "sq": 1.5 / 3, "rq": (1 / 2 + 2 / 3) / 3, "n": 3}
        )
        assert metric.result() == results["All"]["pq"]
        assert list(metric.detailed_results()) == ["All"]


class TestProperties:
    @pytest.mark.parametrize("ignored_label", [0, 255])
    @pytest.mark.parametrize("seed", range(5))
    def test_the_definition(self, seed, ignored_label):
        image = _random(seed, ignored_label)
        metric = _metric(image, ignored_label=ignored_label)
        np.testing.assert_allclose(
            _totals(metric), _by_definition(image, ignored_label=ignored_label), rtol=1e-12
        )
        assert metric.tp_per_class.sum() > 0
        assert metric.fp_per_class.sum() > 0

    def test_a_perfect_prediction_has_1(self):
        truth = _random(0)[:2]
        metric = _metric((*truth, *truth))
        assert metric.result() == 1
        assert not (metric.fn_per_class.any() or metric.fp_per_class.any())

    def test_everything_wrong_has_0(self):
        category = np.array([[1, 2], [1, 2]])
        zeros = np.zeros_like(category)
        assert _metric((category, zeros, 3 - category, zeros)).result() == 0

    def test_the_numbers_of_instances_have_no_meaning(self):
        truth_category, truth_instance, category, instance = _random(1)
        renamed = np.array([70_000, 3, 12])[instance]
        np.testing.assert_array_equal(
            _totals(_metric((truth_category, truth_instance, category, renamed))),
            _totals(_metric((truth_category, truth_instance, category, instance))),
        )

    def test_merging_equals_accumulating(self):
        images = [_random(seed) for seed in range(4)]
        first, second = _metric(*images[:1]), _metric(*images[1:])
        first.merge(second)
        np.testing.assert_allclose(_totals(first), _totals(_metric(*images)), rtol=1e-14)

    def test_reset(self):
        metric = _metric(_random(0))
        metric.reset()
        assert not np.any(_totals(metric))
        assert metric.result() == 0
        assert metric.detailed_results() == {"All": {"pq": 0, "sq": 0, "rq": 0, "n": 0}}


class TestBadInput:
    def test_sizes(self):
        with pytest.raises(ValueError, match=r"has the shape \[2, 2\], the prediction \[2, 3\]"):
            _metric((*np.zeros((2, 2, 2), int), *np.zeros((2, 2, 3), int)))

    @pytest.mark.parametrize(("category", "shown"), [(4, "4"), (-1, "-1")])
    def test_categories(self, category, shown):
        zeros = np.zeros((2, 2), int)
        with pytest.raises(ValueError, match=f"the prediction has category {shown}, .*are 4"):
            _metric((zeros, zeros, zeros + category, zeros))
        with pytest.raises(ValueError, match=f"the ground truth has category {shown}"):
            _metric((zeros + category, zeros, zeros, zeros))

    def test_no_categories(self):
        with pytest.raises(ValueError, match="num_categories is 0"):
            _metric(num_categories=0)


def test_overlaps_partition_both_images():
    overlaps = base_metric.find_overlaps(*_random(2))
    for segments, index in (
        (overlaps.groundtruth, overlaps.groundtruth_index),
        (overlaps.predicted, overlaps.predicted_index),
    ):
        np.testing.assert_array_equal(np.bincount(index, overlaps.area), segments.area)
        assert segments.area.sum() == 1600
