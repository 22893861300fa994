import numpy as np
import pytest

from deeplab.visualization import colors, panels

_COLORS = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)
_LEGEND = colors.Legend(_COLORS, ignore_label=255)


def _image(height=60, width=80):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def _halves(height=60, width=80, left=0, right=1):
    label = np.full((height, width), left)
    label[:, width // 2 :] = right
    return label


class TestOverlay:
    def test_alpha_0_is_the_image(self):
        np.testing.assert_array_equal(panels.overlay(_image(), _halves(), _COLORS, 0), _image())

    def test_alpha_1_is_the_colors(self):
        prediction = _halves(left=1, right=2)
        np.testing.assert_array_equal(
            panels.overlay(_image(), prediction, _COLORS, 1), _COLORS[prediction]
        )

    def test_blends_inside_and_is_pure_along_borders(self):
        image = np.full((60, 80, 3), 100, np.float32)
        blended = panels.overlay(image, _halves(left=1, right=2), _COLORS, 0.5)
        assert blended[30, 10].tolist() == [178, 50, 50]
        assert blended[30, 39].tolist() == [255, 0, 0]
        assert blended[30, 40].tolist() == [0, 0, 255]

    def test_black_leaves_the_image(self):
        blended = panels.overlay(_image(), _halves(), _COLORS, 0.7)
        np.testing.assert_array_equal(blended[:, :40], _image()[:, :40])
        assert (blended[:, 40:] != _image()[:, 40:]).any()

    @pytest.mark.parametrize(
        ("image", "prediction", "alpha", "message"),
        [
            (_image(), _halves(60, 81), 0.5, r"prediction has the shape \[60, 81\], the image"),
            (_image()[..., 0], _halves(), 0.5, r"RGB \[height, width, 3\], not \[60, 80\]"),
            (_image(), _halves(), 1.5, "alpha is 1.5"),
            (_image(), _halves(right=3), 0.5, "label value 3 has no color"),
        ],
    )
    def test_errors(self, image, prediction, alpha, message):
        with pytest.raises(ValueError, match=message):
            panels.overlay(image, prediction, _COLORS, alpha)


def _has_color(picture, color):
    return (picture == np.asarray(color)).all(axis=-1).any()


class TestPanel:
    def test_pictures_lie_side_by_side(self):
        label, prediction = _halves(left=1, right=255), _halves(left=1, right=2)
        picture = panels.panel(_image(), prediction, _LEGEND, label=label, size=80)
        height, pitch, top, left = 60, 92, 24, 12
        tiles = [picture[top : top + height, left + pitch * index :][:, :80] for index in range(4)]
        np.testing.assert_array_equal(tiles[0], _image())
        np.testing.assert_array_equal(tiles[1], colors.colorize(label, _COLORS, 255))
        np.testing.assert_array_equal(tiles[2], _COLORS[prediction])
        np.testing.assert_array_equal(tiles[3], panels.overlay(_image(), prediction, _COLORS))

    def test_no_label_no_label_picture(self):
        without = panels.panel(_image(), _halves(), _LEGEND, size=80)
        with_label = panels.panel(_image(), _halves(), _LEGEND, label=_halves(), size=80)
        assert with_label.shape[1] - without.shape[1] == 92

    def test_the_prediction_before_it_was_refined_is_laid_over_the_image_too(self):
        before, after = _halves(left=0, right=2), _halves(left=0, right=1)
        picture = panels.panel(_image(), after, _LEGEND, unrefined=before, size=80)
        for labels in (before, after):
            overlay = panels.overlay(_image(), labels, _COLORS)
            found = [
                (picture[24 : 24 + 60, left : left + 80] == overlay).all()
                for left in range(12, picture.shape[1] - 80)
            ]
            assert sum(found) == 1
        # The class that was refined away is in the legend.
        assert _has_color(picture[96:], _COLORS[2])

    def test_the_legend_has_the_classes_that_occur_and_no_other(self):
        legend_top = 24 + 60 + 12
        picture = panels.panel(_image(), _halves(left=0, right=0), _LEGEND, size=80)
        assert not _has_color(picture[legend_top:], [255, 0, 0])
        picture = panels.panel(_image(), _halves(right=0), _LEGEND, label=_halves(right=1), size=80)
        assert _has_color(picture[legend_top:], [255, 0, 0])
        assert not _has_color(picture[legend_top:], [0, 0, 255])

    @pytest.mark.parametrize(("height", "width"), [(500, 20), (20, 500), (1, 1), (1200, 900)])
    def test_any_size(self, height, width):
        picture = panels.panel(
            _image(height, width), np.ones((height, width), int), _LEGEND, label=None, size=100
        )
        assert picture.dtype == np.uint8
        assert _has_color(picture, [255, 0, 0])

    def test_many_classes_with_long_names_make_it_larger_and_not_unreadable(self):
        prediction = np.arange(4800).reshape(60, 80) % 150
        palette = colors.distinct_colors(150)
        short = panels.panel(_image(), prediction, colors.Legend(palette), size=80)
        names = [f"a class with a very long name, number {index}" for index in range(150)]
        named = panels.panel(_image(), prediction, colors.Legend(palette, names), size=80)
        assert named.shape[0] > short.shape[0]
        base = np.array([1 << 16, 1 << 8, 1])
        assert np.isin(palette @ base, named[96:] @ base).all()

    def test_a_label_of_another_size(self):
        with pytest.raises(ValueError, match=r"the label has the shape \[5, 5\], the image"):
            panels.panel(_image(), _halves(), _LEGEND, label=np.zeros((5, 5), int))


def test_pictures_are_what_the_single_functions_draw():
    legend = colors.Legend(_COLORS, ["a", "b", "c"], ignore_label=255)
    maps = {"label": _halves(right=255), "unrefined": _halves(right=2)}
    drawn = panels.pictures(_image(), _halves(), legend, **maps)
    assert list(drawn) == ["prediction", "overlay", "panel"]
    np.testing.assert_array_equal(drawn["prediction"], _COLORS[_halves()])
    np.testing.assert_array_equal(drawn["overlay"], panels.overlay(_image(), _halves(), _COLORS))
    np.testing.assert_array_equal(drawn["panel"], panels.panel(_image(), _halves(), legend, **maps))
