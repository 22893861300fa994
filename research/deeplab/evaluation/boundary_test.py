"""Counts at borders, against distances from every pixel to every other one."""

import numpy as np
import pytest

from deeplab.evaluation import boundary, segmentation


def _labels(seed, size, classes=4, blocks=(5, 6), ignore=None):
    """Blocks of labels, one of them of a single pixel, and a few ignored pixels."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, classes, blocks)
    rows = np.arange(size[0]) * blocks[0] // size[0]
    labels = coarse[rows[:, np.newaxis], np.arange(size[1]) * blocks[1] // size[1]]
    labels[size[0] // 2, size[1] // 2] = (labels[size[0] // 2, size[1] // 2] + 1) % classes
    if ignore is not None:
        labels[random.random(size) < 0.02] = ignore
    return labels


def _distances(labels):
    """The distance of each pixel to the nearest one with another label, one by one."""
    rows, columns = np.indices(labels.shape).reshape(2, -1)
    apart = np.maximum(np.abs(rows[:, None] - rows), np.abs(columns[:, None] - columns))
    values = labels.ravel()
    other = values[:, None] != values
    distance = np.where(other, apart, np.inf).min(axis=1)
    return distance.reshape(labels.shape)


def _by_hand(label, prediction, classes, ignore):
    """Boundary and trimap counts, class by class, each from its mask."""
    height, width = label.shape
    void = np.zeros(label.shape, bool) if ignore is None else label == ignore
    band = max(1, round(0.02 * float(np.sqrt(height**2 + width**2))))
    rows, columns = np.indices(label.shape)
    edge = np.min([rows + 1, height - rows, columns + 1, width - columns], axis=0)

    def boundary_of(mask):
        return mask & (np.minimum(_distances(mask), edge) <= band)

    boundaries = []
    for value in range(classes):
        ours = boundary_of((label == value) & ~void)
        theirs = boundary_of((prediction == value) & ~void)
        boundaries.append([(ours & theirs).sum(), ours.sum(), theirs.sum()])
    distance = _distances(np.where(void, classes, label))
    trimaps = []
    for pixels in (1, 3, 5, 10, 20, 40):
        inside = ~void & (distance <= pixels)
        trimaps.append(
            [
                [
                    (inside & (label == value) & (prediction == value)).sum(),
                    (inside & (label == value)).sum(),
                    (inside & (prediction == value)).sum(),
                ]
                for value in range(classes)
            ]
        )
    return np.array(boundaries), np.array(trimaps)


def _table(counts):
    return np.stack([counts.hits, counts.labeled, counts.predicted], axis=1)


class TestDistance:
    @pytest.mark.parametrize("size", [(1, 1), (1, 9), (17, 23), (40, 31)])
    def test_it_is_that_of_every_pair_of_pixels(self, size):
        for seed in range(3):
            labels = _labels(seed, size, blocks=(2, 3))
            np.testing.assert_array_equal(boundary.border_distance(labels), _distances(labels))

    def test_without_a_border_it_is_infinite(self):
        assert np.isinf(boundary.border_distance(np.full((4, 5), 65535))).all()


class TestCounts:
    @pytest.mark.parametrize(
        ("size", "ignore"), [((30, 40), 255), ((43, 29), 0), ((33, 33), None), ((5, 60), 255)]
    )
    def test_they_are_those_of_each_class_alone(self, size, ignore):
        label = _labels(0, size, ignore=ignore)
        prediction = np.roll(_labels(0, size), (2, -1), axis=(0, 1))
        result = boundary.measure(label, prediction, 4, ignore)
        boundaries, trimaps = _by_hand(label, prediction, 4, ignore)
        np.testing.assert_array_equal(_table(result.boundary), boundaries)
        np.testing.assert_array_equal([_table(each) for each in result.trimaps], trimaps)

    def test_the_width_grows_with_the_diagonal(self):
        """0.02 of 500 pixels is 10: of a half of 200 pixels, 10 at the border and at each edge."""
        label = np.zeros((300, 400), int)
        label[:, 200:] = 1
        counts = boundary.measure(label, label, 2).boundary
        np.testing.assert_array_equal(counts.labeled, [300 * 200 - 280 * 180] * 2)

    def test_a_perfect_prediction_is_perfect_whatever_it_is_in_ignored_pixels(self):
        label = _labels(1, (50, 60), ignore=255)
        result = boundary.measure(label, np.where(label == 255, 3, label), 4, 255)
        assert result.boundary.mean_iou == 1
        assert [each.mean_iou for each in result.trimaps] == [1] * len(boundary.TRIMAP_WIDTHS)

    def test_ignored_pixels_everywhere(self):
        result = boundary.measure(np.full((9, 9), 255), np.zeros((9, 9), int), 2, 255)
        assert result.boundary.mean_iou == result.trimap.mean_iou == 0
        assert np.isnan(result.boundary.class_iou).all()

    def test_the_trimap_follows_a_void_seam_as_a_dilation_does(self):
        """Where ignored pixels part all objects, the band is their dilation (v3+ paper)."""
        label = np.zeros((60, 60), int)
        label[20:40, 20:40] = 1
        label[17:43, 17:23] = label[17:43, 37:43] = label[17:23, 17:43] = label[37:43, 17:43] = 255
        result = boundary.measure(label, np.zeros_like(label), 2, 255)
        dilated = np.zeros(label.shape, bool)
        for row, column in np.argwhere(label == 255):
            dilated[max(0, row - 5) : row + 6, max(0, column - 5) : column + 6] = True
        band = dilated & (label != 255)
        np.testing.assert_array_equal(
            result.trimap.labeled, np.bincount(label[band], minlength=2)[:2]
        )


def test_images_add_up():
    sizes = [(20, 30), (31, 17)]
    pairs = [(_labels(seed, size), _labels(seed + 5, size)) for seed, size in enumerate(sizes)]
    parts = [segmentation.measure(*pair, 4, 255) for pair in pairs]
    total = parts[0] + parts[1]
    np.testing.assert_array_equal(
        total.confusion_matrix, parts[0].confusion_matrix + parts[1].confusion_matrix
    )
    np.testing.assert_array_equal(
        _table(total.borders.trimap), sum(_table(part.borders.trimap) for part in parts)
    )
    np.testing.assert_array_equal(
        _table(total.borders.boundary), sum(_table(part.borders.boundary) for part in parts)
    )
    assert (total + segmentation.SegmentationResult(np.zeros((4, 4), int))).borders is None
