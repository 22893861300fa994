import os

import cv2
import numpy as np
import pytest

from deeplab.testing import golden
from deeplab.utils import save_annotation


def _read(path):
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if image.ndim == 3 else image


@pytest.mark.parametrize(
    ("key", "source", "options"),
    [
        ("color_pascal", "save_in_label", {}),
        ("color_city", "save_in_label", {"colormap_type": "cityscapes"}),
        ("raw", "save_in_label", {"add_colormap": False}),
        (
            "scale",
            "save_in_float",
            {"add_colormap": False, "normalize_to_unit_values": True, "scale_values": True},
        ),
        ("rgb", "save_rgb", {"add_colormap": False}),
    ],
)
def test_official_files(tmp_path, key, source, options):
    facts, arrays = golden.misc("datasets_and_colormaps")
    assert facts["save_annotation"][key]["kw"] == options
    path = save_annotation.save_annotation(arrays[source], tmp_path, "name", **options)
    assert path == str(tmp_path / "name.png")
    saved = _read(path)
    assert saved.dtype == np.uint8
    np.testing.assert_array_equal(saved, arrays[f"save_{key}"])


def test_unit_values_are_scaled_and_cut(tmp_path):
    path = save_annotation.save_annotation(
        np.array([[0.0, 0.5, 1.0]]), tmp_path, "x", add_colormap=False, scale_values=True
    )
    assert _read(path).tolist() == [[0, 127, 255]]


def test_equal_values_are_not_stretched(tmp_path):
    path = save_annotation.save_annotation(
        np.full((2, 2), 7), tmp_path, "x", add_colormap=False, normalize_to_unit_values=True
    )
    assert (_read(path) == 7).all()


def test_labels_above_255_keep_their_value(tmp_path):
    label = np.array([[0, 255, 256], [300, 65535, 1]])
    path = save_annotation.save_annotation(label, tmp_path, "x", add_colormap=False)
    assert _read(path).dtype == np.uint16
    np.testing.assert_array_equal(_read(path), label)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.int64, np.float32])
def test_any_type_that_fits(tmp_path, dtype):
    label = np.array([[0, 1], [1, 1]], dtype)
    path = save_annotation.save_annotation(label, tmp_path, "x", add_colormap=False)
    assert _read(path).tolist() == [[0, 1], [1, 1]]


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.array([[65536]]), {}, "0 to 65536, .* holds 0 to 65535"),
        (np.array([[-1, 3]]), {}, "-1 to 3, .* holds 0 to 65535"),
        (np.array([[256.0]]), {}, "0 to 256, .* holds 0 to 255"),
        (np.array([[0, 20]]), {"scale_values": True}, r"0 to 5100, .*normalize_to_unit_values"),
        (np.full((2, 2, 3), 300), {}, "0 to 300, .* holds 0 to 255"),
        (np.array([[np.nan]]), {}, "infinite or NaN values"),
        (np.array([[np.inf]]), {"normalize_to_unit_values": True}, "infinite or NaN values"),
        (np.zeros((2, 2, 4), np.uint8), {}, r"not uint8 \[2, 2, 4\]"),
        (np.zeros((0, 2), np.uint8), {}, r"not uint8 \[0, 2\]"),
        (np.array([[512]]), {"add_colormap": True}, "label value 512 has no color"),
    ],
)
def test_what_no_file_can_hold(tmp_path, values, options, message):
    options = {"add_colormap": False, **options}
    with pytest.raises(ValueError, match=rf"cannot save .*/0001_image\.png: .*{message}"):
        save_annotation.save_annotation(values, tmp_path, "0001_image", **options)
    assert os.listdir(tmp_path) == []


def test_makes_the_folder_and_leaves_nothing_else(tmp_path):
    save_annotation.save_annotation(np.zeros((3, 3), int), tmp_path / "a" / "b", "name")
    assert os.listdir(tmp_path / "a" / "b") == ["name.png"]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        save_annotation.write_png(tmp_path / "file" / "x.png", np.zeros((2, 2), np.uint8))
