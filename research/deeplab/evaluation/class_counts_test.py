import numpy as np
import pytest

from deeplab.evaluation.class_counts import ClassCounts


def _counts():
    # Found in part, predicted but absent, missed, in neither.
    return ClassCounts(*map(np.array, ([6, 0, 0, 0], [8, 0, 5, 0], [7, 4, 0, 0])))


def test_every_number_by_hand():
    counts, nan = _counts(), np.nan
    np.testing.assert_allclose(counts.class_iou, [6 / 9, nan, 0, nan])
    np.testing.assert_allclose(counts.class_dice, [12 / 15, nan, 0, nan])
    np.testing.assert_allclose(counts.class_precision, [6 / 7, 0, nan, nan])
    np.testing.assert_allclose(counts.class_recall, [6 / 8, nan, 0, nan])
    # Over the three classes that occur.
    assert counts.mean_iou == pytest.approx(6 / 9 / 3)
    assert counts.mean_dice == pytest.approx(12 / 15 / 3)
    assert counts.mean_precision == pytest.approx(6 / 7 / 3)
    assert counts.mean_recall == pytest.approx(6 / 8 / 3)


def test_dice_is_that_of_its_iou():
    random = np.random.default_rng(0)
    hits = random.integers(1, 50, 20)
    counts = ClassCounts(hits, hits + random.integers(0, 50, 20), hits + random.integers(0, 50, 20))
    iou = counts.class_iou
    np.testing.assert_allclose(counts.class_dice, 2 * iou / (1 + iou))


def test_without_pixels_means_are_0():
    counts = ClassCounts(*np.zeros((3, 4), int))
    assert counts.mean_iou == counts.mean_dice == counts.mean_precision == counts.mean_recall == 0


def test_counts_add_up():
    total = _counts() + _counts()
    np.testing.assert_array_equal(total.labeled, [16, 0, 10, 0])
    np.testing.assert_allclose(total.class_iou, _counts().class_iou)
