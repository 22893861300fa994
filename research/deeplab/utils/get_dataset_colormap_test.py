import inspect

import numpy as np
import pytest

from deeplab.testing import golden
from deeplab.utils import get_dataset_colormap, save_annotation

_NAMES = ("ade20k", "cityscapes", "mapillary_vistas", "pascal")


@pytest.mark.parametrize("name", _NAMES)
def test_official_maps(name):
    facts, arrays = golden.misc("datasets_and_colormaps")
    colormap = get_dataset_colormap.create_label_colormap(name)
    np.testing.assert_array_equal(colormap, arrays[f"colormap_{name}"])
    assert len(colormap) == facts[f"colormap_{name}"]["max_entries"]
    assert get_dataset_colormap.get_dataset_colormap_max_entries(name) == len(colormap)
    assert colormap.dtype == np.uint8


@pytest.mark.parametrize("name", _NAMES)
def test_each_official_map_has_its_official_functions(name):
    _, arrays = golden.misc("datasets_and_colormaps")
    colormap = getattr(get_dataset_colormap, f"create_{name}_label_colormap")()
    np.testing.assert_array_equal(colormap, arrays[f"colormap_{name}"])
    assert getattr(get_dataset_colormap, f"get_{name}_name")() == name
    # Whoever changes a map changes a copy.
    colormap[:] = 1
    np.testing.assert_array_equal(
        get_dataset_colormap.create_label_colormap(name), arrays[f"colormap_{name}"]
    )


def test_every_official_map_has_a_golden():
    facts, _ = golden.misc("datasets_and_colormaps")
    assert [f"colormap_{name}" for name in _NAMES] == sorted(
        name for name in facts if name.startswith("colormap_")
    )


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (get_dataset_colormap.create_label_colormap, {"dataset": "pascal"}),
        (
            get_dataset_colormap.label_to_color_image,
            {"label": inspect.Parameter.empty, "dataset": "pascal"},
        ),
        (
            save_annotation.save_annotation,
            {
                "label": inspect.Parameter.empty,
                "save_dir": inspect.Parameter.empty,
                "filename": inspect.Parameter.empty,
                "add_colormap": True,
                "normalize_to_unit_values": False,
                "scale_values": False,
                "colormap_type": "pascal",
            },
        ),
        (
            get_dataset_colormap.bit_get,
            {"val": inspect.Parameter.empty, "idx": inspect.Parameter.empty},
        ),
    ],
)
def test_parameters_have_their_official_names_and_defaults(function, parameters):
    found = inspect.signature(function).parameters
    assert {name: parameter.default for name, parameter in found.items()} == parameters


def test_bit_get():
    assert [get_dataset_colormap.bit_get(0b1010, bit) for bit in range(5)] == [0, 1, 0, 1, 0]
    assert get_dataset_colormap.bit_get(np.array([4, 3]), 2).tolist() == [1, 0]


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"no color map 'camvid'; known are ade20k, cityscapes"):
        get_dataset_colormap.create_label_colormap("camvid")


class TestLabelToColorImage:
    def test_official_colors(self):
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
            (np.array([[-1]]), "pascal", "label value -1 has no color"),
            (np.array([[2]]), np.zeros((2, 3)), "the color map has 2 entries"),
            (np.zeros((2, 2, 1), int), "pascal", r"\[height, width\], not \[2, 2, 1\]"),
            (np.zeros((2, 2)), "pascal", "integers, not float64"),
            (np.zeros((2, 2), int), "vistas", "no color map 'vistas'"),
        ],
    )
    def test_errors(self, label, colormap, message):
        with pytest.raises(ValueError, match=message):
            get_dataset_colormap.label_to_color_image(label, colormap)
