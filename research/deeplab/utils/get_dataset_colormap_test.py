import cv2
import numpy as np
import pytest

from deeplab.testing import golden
from deeplab.utils import get_dataset_colormap


@pytest.mark.parametrize("name", ["ade20k", "cityscapes", "mapillary_vistas", "pascal"])
def test_official_maps(name):
    facts, arrays = golden.misc("datasets_and_colormaps")
    colormap = get_dataset_colormap.create_label_colormap(name)
    np.testing.assert_array_equal(colormap, arrays[f"colormap_{name}"])
    assert len(colormap) == facts[f"colormap_{name}"]["max_entries"]
    assert colormap.dtype == np.uint8


def test_every_official_map_has_a_golden():
    facts, _ = golden.misc("datasets_and_colormaps")
    assert sorted(f"colormap_{name}" for name in get_dataset_colormap.NAMES) == sorted(
        name for name in facts if name.startswith("colormap_")
    )


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"no colour map 'camvid'; known are ade20k, cityscapes"):
        get_dataset_colormap.create_label_colormap("camvid")


class TestGenerate:
    def test_colours_can_be_told_apart(self):
        # Just-noticeable is a CIELAB distance of 2.3.
        for count, least in ((12, 45), (32, 30), (256, 8)):
            colors = get_dataset_colormap.generate(count)
            colors = np.concatenate([colors, [[255, 255, 255], [0, 0, 0]]]).astype(np.float32)
            lab = cv2.cvtColor(colors[np.newaxis] / 255, cv2.COLOR_RGB2LAB)[0]
            distance = np.linalg.norm(lab[:, np.newaxis] - lab, axis=-1)
            assert distance[np.triu_indices(len(lab), 1)].min() > least

    def test_a_class_keeps_its_colour_when_classes_are_added(self):
        np.testing.assert_array_equal(
            get_dataset_colormap.generate(40)[:7], get_dataset_colormap.generate(7)
        )

    def test_background_is_black_and_alone_so(self):
        colors = get_dataset_colormap.generate(9, background=True)
        assert (colors == 0).all(axis=1).tolist() == [True] + [False] * 8
        np.testing.assert_array_equal(colors[1:], get_dataset_colormap.generate(8))

    @pytest.mark.parametrize("count", [-1, 2049])
    def test_bad_count(self, count):
        with pytest.raises(ValueError, match=f"0 to 2048 colours, not {count}"):
            get_dataset_colormap.generate(count)

    def test_as_many_as_it_promises(self):
        assert len(np.unique(get_dataset_colormap.generate(2048), axis=0)) == 2048


class TestLabelToColorImage:
    def test_official_colours(self):
        _, arrays = golden.misc("datasets_and_colormaps")
        label = arrays["save_in_label"]
        for name, expected in (("pascal", "save_color_pascal"), ("cityscapes", "save_color_city")):
            image = get_dataset_colormap.label_to_color_image(label, name)
            np.testing.assert_array_equal(image, arrays[expected])
            assert image.dtype == np.uint8

    def test_own_colormap(self):
        image = get_dataset_colormap.label_to_color_image(
            np.array([[1, 0]]), np.array([[1, 2, 3], [4, 5, 6]])
        )
        assert image.tolist() == [[[4, 5, 6], [1, 2, 3]]]

    def test_empty(self):
        assert get_dataset_colormap.label_to_color_image(np.zeros((0, 4), np.uint8)).shape == (
            0,
            4,
            3,
        )

    @pytest.mark.parametrize(
        ("label", "colormap", "message"),
        [
            (np.array([[512]]), "pascal", "label value 512 .* 'pascal' has 512 entries, 0 to 511"),
            (np.array([[255]]), "ade20k", "label value 255 .* 'ade20k' has 151 entries, 0 to 150"),
            (np.array([[-1]]), "pascal", "label value -1 has no colour"),
            (np.array([[2]]), np.zeros((2, 3)), "the colour map has 2 entries"),
            (np.zeros((2, 2, 1), int), "pascal", r"\[height, width\], not \[2, 2, 1\]"),
            (np.zeros((2, 2)), "pascal", "integers, not float64"),
            (np.zeros((2, 2), int), "vistas", "no colour map 'vistas'"),
        ],
    )
    def test_errors(self, label, colormap, message):
        with pytest.raises(ValueError, match=message):
            get_dataset_colormap.label_to_color_image(label, colormap)
