import cv2
import numpy as np
import pytest

from deeplab.utils import get_dataset_colormap
from deeplab.visualization import colors

_COLORS = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)


class TestDistinctColors:
    def test_colors_can_be_told_apart(self):
        # Just-noticeable is a CIELAB distance of 2.3.
        for count, least in ((12, 45), (32, 30), (256, 8)):
            palette = colors.distinct_colors(count)
            palette = np.concatenate([palette, [[255, 255, 255], [0, 0, 0]]]).astype(np.float32)
            lab = cv2.cvtColor(palette[np.newaxis] / 255, cv2.COLOR_RGB2LAB)[0]
            distance = np.linalg.norm(lab[:, np.newaxis] - lab, axis=-1)
            assert distance[np.triu_indices(len(lab), 1)].min() > least

    def test_a_class_keeps_its_color_when_classes_are_added(self):
        np.testing.assert_array_equal(colors.distinct_colors(40)[:7], colors.distinct_colors(7))

    def test_background_is_black_and_alone_so(self):
        palette = colors.distinct_colors(9, background=True)
        assert (palette == 0).all(axis=1).tolist() == [True] + [False] * 8
        np.testing.assert_array_equal(palette[1:], colors.distinct_colors(8))

    @pytest.mark.parametrize("count", [-1, 2049])
    def test_bad_count(self, count):
        with pytest.raises(ValueError, match=f"0 to 2048 colors, not {count}"):
            colors.distinct_colors(count)

    def test_as_many_as_it_promises(self):
        assert len(np.unique(colors.distinct_colors(2048), axis=0)) == 2048


def _halves(left, right):
    label = np.full((60, 80), left)
    label[:, 40:] = right
    return label


class TestColorize:
    def test_without_ignored_pixels_it_is_the_color_map(self):
        label = _halves(1, 2)
        np.testing.assert_array_equal(
            colors.colorize(label, _COLORS, 255),
            get_dataset_colormap.label_to_color_image(label, _COLORS),
        )

    def test_ignored_pixels_are_hatched_and_need_no_color(self):
        picture = colors.colorize(_halves(2, 255), _COLORS, ignore_label=255)
        assert (picture[:, :40] == [0, 0, 255]).all()
        assert np.unique(picture[:, 40:].reshape(-1, 3), axis=0).tolist() == [[160] * 3, [255] * 3]

    def test_a_label_without_a_color(self):
        with pytest.raises(ValueError, match="label value 255 has no color"):
            colors.colorize(_halves(0, 255), _COLORS)
