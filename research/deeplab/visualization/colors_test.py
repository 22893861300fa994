import cv2
import numpy as np
import pytest

from deeplab.utils import get_dataset_colormap
from deeplab.visualization import colors

_COLORS = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)

# Viénot, Brettel and Mollon (1999): linear RGB as seen without one kind of cones. Their model is
# another one than that of the code, and has no tritanopia, which is rare.
_DICHROMATS = {
    "long": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    "middle": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
}


def _as_dichromat(palette, cones):
    """Return colors as a reader without some cones sees them; gamma 2.4 with the sRGB toe."""
    seen = []
    for color in palette / 255:
        linear = [
            value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
            for value in color
        ]
        light = np.clip(np.dot(_DICHROMATS[cones], linear), 0, 1)
        seen.append(
            [
                255 * (12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055)
                for value in light
            ]
        )
    return np.array(seen)


def _smallest_distance(palette):
    """Return the smallest CIELAB distance of two colors; white and black belong to them."""
    palette = np.concatenate([palette, [[255, 255, 255], [0, 0, 0]]]).astype(np.float32)
    lab = cv2.cvtColor(palette[np.newaxis] / 255, cv2.COLOR_RGB2LAB)[0]
    distance = np.linalg.norm(lab[:, np.newaxis] - lab, axis=-1)
    return distance[np.triu_indices(len(lab), 1)].min()


class TestDistinctColors:
    # Just-noticeable is a CIELAB distance of 2.3.
    @pytest.mark.parametrize(("count", "least"), [(12, 35), (32, 22), (256, 7)])
    def test_colors_can_be_told_apart(self, count, least):
        assert _smallest_distance(colors.distinct_colors(count)) > least

    @pytest.mark.parametrize("cones", sorted(_DICHROMATS))
    @pytest.mark.parametrize(("count", "least"), [(5, 30), (12, 18), (32, 11)])
    def test_color_blind_readers_can_tell_them_apart(self, cones, count, least):
        palette = _as_dichromat(colors.distinct_colors(count), cones)
        assert _smallest_distance(palette) > least

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
