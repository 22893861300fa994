import numpy as np
import pytest

from deeplab.datasets import descriptors
from deeplab.evaluation import segmentation
from deeplab.testing import golden


def _random(seed=0, classes=5, shape=(3, 20, 30), ignore=255):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, shape)
    predictions = np.where(random.random(shape) < 0.6, labels, random.integers(0, classes, shape))
    if ignore is not None:
        labels[random.random(shape) < 0.1] = ignore
    return labels, predictions


class TestOfficialNumbers:
    def test_after_each_batch(self):
        facts, arrays = golden.misc("metrics")
        metrics = segmentation.SegmentationMetrics(6, ignore_label=255)
        for labels, predictions, expected in zip(
            arrays["labels"], arrays["preds"], facts["after_batch"], strict=True
        ):
            metrics.update(labels, predictions)
            result = metrics.result()
            assert result.mean_iou == pytest.approx(expected["miou"], rel=1e-6)
            np.testing.assert_allclose(result.class_iou, expected["class_iou"], rtol=1e-6)
        np.testing.assert_array_equal(metrics.confusion_matrix, arrays["confusion"])

    def test_a_class_predicted_but_absent_is_0_in_the_mean_and_nan_alone(self):
        metrics = segmentation.SegmentationMetrics(4)
        metrics.update(np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1]))
        result = metrics.result()
        np.testing.assert_array_equal(result.class_iou, [0.5, 1.0, np.nan, np.nan])
        assert result.mean_iou == (0.5 + 1.0 + 0.0) / 3

    def test_an_ignore_label_that_is_a_class(self):
        # ADE20K: 0 is ignored and one of the classes; to predict it is a mistake.
        metrics = segmentation.SegmentationMetrics(3, ignore_label=0)
        metrics.update(np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 0, 2]))
        result = metrics.result()
        np.testing.assert_array_equal(result.confusion_matrix, [[0, 0, 0], [1, 1, 0], [0, 0, 1]])
        np.testing.assert_array_equal(result.class_iou, [np.nan, 0.5, 1.0])
        assert result.mean_iou == 0.5


class TestByHand:
    def test_every_number(self):
        metrics = segmentation.SegmentationMetrics(3, ignore_label=9)
        metrics.update(
            np.array([[0, 0, 0, 0], [1, 1, 9, 9]]), np.array([[0, 0, 0, 1], [1, 2, 0, 7]])
        )
        result = metrics.result()
        np.testing.assert_array_equal(result.confusion_matrix, [[3, 1, 0], [0, 1, 1], [0, 0, 0]])
        assert result.confusion_matrix.dtype == np.int64
        np.testing.assert_array_equal(result.label_pixels, [4, 2, 0])
        np.testing.assert_array_equal(result.predicted_pixels, [3, 2, 1])
        np.testing.assert_allclose(result.class_iou, [3 / 4, 1 / 3, np.nan])
        np.testing.assert_allclose(result.class_accuracy, [3 / 4, 1 / 2, np.nan])
        assert result.mean_iou == pytest.approx((3 / 4 + 1 / 3 + 0) / 3)
        assert result.pixel_accuracy == pytest.approx(4 / 6)
        assert result.mean_class_accuracy == pytest.approx((3 / 4 + 1 / 2) / 2)
        assert result.frequency_weighted_iou == pytest.approx((4 * 3 / 4 + 2 * 1 / 3) / 6)

    def test_perfect_predictions(self):
        labels, _ = _random()
        metrics = segmentation.SegmentationMetrics(6, ignore_label=255)
        metrics.update(labels, np.where(labels == 255, 0, labels))
        result = metrics.result()
        assert result.mean_iou == result.pixel_accuracy == result.frequency_weighted_iou == 1
        np.testing.assert_array_equal(result.class_iou, [1, 1, 1, 1, 1, np.nan])

    def test_no_pixels(self):
        metrics = segmentation.SegmentationMetrics(2, ignore_label=255)
        metrics.update(np.full((1, 4, 4), 255), np.zeros((1, 4, 4), int))
        result = metrics.result()
        assert result.mean_iou == 0
        assert np.isnan(result.class_iou).all()
        assert np.isnan(
            [result.pixel_accuracy, result.mean_class_accuracy, result.frequency_weighted_iou]
        ).all()


def _cityscapes_category_scores(confusion, categories):
    """Category IoUs as Cityscapes' scripts define them, pixel pair by pixel pair."""
    scores = {}
    for category in categories:
        hits = false_negatives = false_positives = 0
        for label, prediction in np.ndindex(*confusion.shape):
            count = confusion[label, prediction]
            if categories[label] == category:
                if categories[prediction] == category:
                    hits += count
                else:
                    false_negatives += count
            elif categories[prediction] == category:
                false_positives += count
        pixels = hits + false_negatives + false_positives
        scores[category] = hits / pixels if pixels else float("nan")
    return scores


class TestCategories:
    def test_those_of_cityscapes(self):
        cityscapes = descriptors.load("cityscapes")
        confusion = np.random.default_rng(0).integers(0, 1000, (19, 19))
        # Vehicles are in no label, nature is in neither.
        confusion[13:] = 0
        confusion[8:10] = confusion[:, 8:10] = 0
        found = segmentation.SegmentationResult(confusion).of_categories(cityscapes.categories)
        names = ["flat", "construction", "object", "nature", "sky", "human", "vehicle"]
        assert list(found) == names
        expected = _cityscapes_category_scores(confusion, cityscapes.categories)
        assert found == pytest.approx(expected, nan_ok=True)
        assert found["vehicle"] == 0

    def test_their_members(self):
        """Categories of the label definitions of Cityscapes."""
        cityscapes = descriptors.load("cityscapes")
        category = dict(zip(cityscapes.class_names, cityscapes.categories, strict=True))
        for members, name in (
            (("road", "sidewalk"), "flat"),
            (("building", "wall", "fence"), "construction"),
            (("pole", "traffic light", "traffic sign"), "object"),
            (("vegetation", "terrain"), "nature"),
            (("person", "rider"), "human"),
            (("car", "truck", "bus", "train", "motorcycle", "bicycle"), "vehicle"),
        ):
            assert {category[member] for member in members} == {name}

    def test_a_class_without_a_category_counts_as_another_one(self):
        confusion = np.array([[5, 1, 2], [1, 4, 0], [3, 0, 9]])
        found = segmentation.SegmentationResult(confusion).of_categories(("a", "a", None))
        assert found == {"a": 11 / (11 + 2 + 3)}


class TestAccumulation:
    def test_batches_of_any_size_and_type_add_up(self):
        labels, predictions = _random()
        whole = segmentation.SegmentationMetrics(5, 255)
        whole.update(labels, predictions)
        parts = segmentation.SegmentationMetrics(5, 255)
        for label, prediction in zip(labels, predictions, strict=True):
            parts.update(label.astype(np.uint8), prediction.astype(np.int32))
        np.testing.assert_array_equal(parts.confusion_matrix, whole.confusion_matrix)

    def test_merge(self):
        labels, predictions = _random()
        whole = segmentation.SegmentationMetrics(5, 255)
        whole.update(labels, predictions)
        first, second = (segmentation.SegmentationMetrics(5, 255) for _ in range(2))
        first.update(labels[:1], predictions[:1])
        second.update(labels[1:], predictions[1:])
        first.merge(second)
        np.testing.assert_array_equal(first.confusion_matrix, whole.confusion_matrix)

    def test_a_result_stays_what_it_was(self):
        metrics = segmentation.SegmentationMetrics(5, 255)
        metrics.update(*_random(0))
        result = metrics.result()
        before = result.mean_iou
        metrics.update(*_random(1))
        assert result.mean_iou == before
        metrics.reset()
        assert metrics.confusion_matrix.sum() == 0
        assert result.mean_iou == before

    def test_counts_are_exact_beyond_float32(self):
        metrics = segmentation.SegmentationMetrics(2)
        metrics.confusion_matrix[0, 0] = 2**40
        metrics.update(np.zeros(1, int), np.zeros(1, int))
        assert metrics.result().label_pixels[0] == 2**40 + 1

    def test_cannot_merge_others(self):
        metrics = segmentation.SegmentationMetrics(5, 255)
        with pytest.raises(ValueError, match="num_classes 5 and 4"):
            metrics.merge(segmentation.SegmentationMetrics(4, 255))
        with pytest.raises(ValueError, match="ignore_label 255 and None"):
            metrics.merge(segmentation.SegmentationMetrics(5))


class TestBadInput:
    def test_a_label_out_of_bounds_names_image_and_values(self):
        labels, predictions = _random()
        labels[1, 3, 4:6] = 128
        labels[1, 5, 5] = -3
        metrics = segmentation.SegmentationMetrics(5, 255)
        with pytest.raises(
            ValueError,
            match=r"image b: label -3, 128 \(3 pixels\) is not a class \(0 to 4\) nor the ignore"
            " label 255; correct the label, or num_classes and ignore_label",
        ):
            metrics.update(labels, predictions, ["a", "b", "c"])
        assert metrics.confusion_matrix.sum() == 0

    def test_many_values_are_cut_short_and_a_single_image_has_no_number(self):
        metrics = segmentation.SegmentationMetrics(2)
        labels = np.arange(100).reshape(10, 10)
        with pytest.raises(ValueError, match=r"number 0 .*label 2, 3, 4, 5, 6, \.\.\. \(98 pixels"):
            metrics.update(labels, np.zeros_like(labels))

    def test_a_prediction_out_of_bounds(self):
        labels, predictions = _random(ignore=None)
        predictions[2, 0, 0] = 5
        with pytest.raises(ValueError, match=r"image number 2 of the batch: prediction 5 \(1 pix"):
            segmentation.SegmentationMetrics(5).update(labels, predictions)

    @pytest.mark.parametrize(
        ("labels", "predictions", "message"),
        [
            (np.zeros((2, 3), int), np.zeros((3, 2), int), r"\[2, 3\], predictions \[3, 2\]"),
            (np.zeros((2, 2)), np.zeros((2, 2), int), "labels must be integers, not float64"),
            (np.zeros((2, 2), int), np.zeros((2, 2)), "predictions must be integers, not float64"),
        ],
    )
    def test_shapes_and_types(self, labels, predictions, message):
        with pytest.raises(ValueError, match=message):
            segmentation.SegmentationMetrics(2).update(labels, predictions)

    def test_num_classes(self):
        with pytest.raises(ValueError, match="num_classes is 0"):
            segmentation.SegmentationMetrics(0)
