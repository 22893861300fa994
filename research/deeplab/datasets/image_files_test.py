"""Plain images: which ones, how they are read, and how they are padded."""

import struct

import cv2
import numpy as np
import pytest
import tensorflow as tf

from deeplab.datasets import image_files
from deeplab.datasets.data_generator import Dataset
from deeplab.input_preprocess import Preprocessing
from deeplab.testing import tiny

_MEAN_PIXEL = (127.5, 127.5, 127.5)


def _write(folder, *names, size=(8, 9)):
    paths = []
    for index, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        extension = path.suffix.lower() if path.suffix else ".png"
        picture = tiny.picture(*size, seed=index)[..., ::-1]
        path.write_bytes(cv2.imencode(extension, picture)[1].tobytes())
        paths.append(str(path))
    return paths


# --- Which images ---


def test_a_folder_is_its_images_sorted(tmp_path):
    paths = _write(tmp_path, "b.jpg", "a.PNG", "c.webp", "below/d.jpg")
    (tmp_path / "notes.txt").write_text("no image")
    assert image_files.find(str(tmp_path)) == [paths[1], paths[0], paths[2]]


def test_a_pattern_is_what_it_matches_sorted(tmp_path):
    paths = _write(tmp_path, "x/b.jpg", "x/a.jpg", "y/c.jpg", "x/d.png")
    assert image_files.find(f"{tmp_path}/*/*.jpg") == [paths[1], paths[0], paths[2]]


def test_a_list_keeps_its_order(tmp_path):
    paths = _write(tmp_path, "b.jpg", "a.jpg", "more/c.jpg")
    assert image_files.find(", ".join([*paths[:2], str(tmp_path / "more")])) == paths


def test_a_text_file_has_one_path_a_line(tmp_path):
    paths = _write(tmp_path, "b, with a comma.jpg", "a.jpg")
    (tmp_path / "list.txt").write_text(f"{paths[0]}\n\n  {paths[1]}\r\n")
    assert image_files.find(str(tmp_path / "list.txt")) == paths


@pytest.mark.parametrize("name", ["a,b.jpg", "[1].jpg", "no extension"])
def test_a_path_with_odd_characters_is_a_path(tmp_path, name):
    paths = _write(tmp_path, name)
    assert image_files.find(paths[0]) == paths


@pytest.mark.parametrize(
    "images, message",
    [
        ("{}/none.jpg", "there is no file .*/none.jpg .*working directory: /"),
        ("{}/*.png", r"there is no file .*/\*.png"),
        ("{}/empty", r"the folder .*/empty holds no image .*such as .*/empty/\*/\*.jpg"),
        ("{}/list.txt", "list.txt, line 2: there is no file gone.jpg"),
        ("{}/blank.txt", "--images names no image"),
        (",", "--images names no image"),
    ],
)
def test_what_is_not_there_is_an_error(tmp_path, images, message):
    paths = _write(tmp_path, "a.jpg")
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_text(f"{paths[0]}\ngone.jpg\n")
    (tmp_path / "blank.txt").write_text("\n\n")
    with pytest.raises(FileNotFoundError, match=message):
        image_files.find(images.format(tmp_path))


@pytest.mark.parametrize("second", ["y/a.jpg", "x/a.png"])
def test_two_images_of_one_base_name_are_an_error(tmp_path, second):
    paths = _write(tmp_path, "x/a.jpg", second)
    with pytest.raises(ValueError, match=f"names both {paths[0]} and {paths[1]}: .* name, a"):
        image_files.find(",".join(paths))


# --- How they are read ---


@pytest.mark.parametrize("extension", [".png", ".bmp", ".tiff"])
def test_lossless_formats_are_read_exactly(tmp_path, extension):
    (path,) = _write(tmp_path, f"a{extension}")
    np.testing.assert_array_equal(image_files.read(path), tiny.picture(8, 9))


def test_gray_images_have_three_equal_channels(tmp_path):
    gray = tiny.picture(8, 9)[..., 0]
    (tmp_path / "a.png").write_bytes(tiny.png(gray))
    expected = np.repeat(gray[..., np.newaxis], 3, axis=2)
    np.testing.assert_array_equal(image_files.read(str(tmp_path / "a.png")), expected)


def test_jpegs_are_read_as_in_records(tmp_path):
    (path,) = _write(tmp_path, "a.jpg", size=(65, 50))
    expected = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
    np.testing.assert_array_equal(image_files.read(path), expected)


@pytest.mark.parametrize(
    "orientation, turn",
    [
        (1, lambda image: image),
        (2, lambda image: image[:, ::-1]),
        (3, lambda image: image[::-1, ::-1]),
        (6, lambda image: np.rot90(image, -1)),
        (8, np.rot90),
    ],
)
def test_photographs_are_turned_as_their_exif_data_say(tmp_path, orientation, turn):
    (path,) = _write(tmp_path, "a.jpg", size=(48, 64))
    data = (tmp_path / "a.jpg").read_bytes()
    upright = image_files.read(path).astype(int)
    tag = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + tag + b"\0\0\0\0"
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    (tmp_path / "a.jpg").write_bytes(data[:2] + segment + data[2:])
    turned = image_files.read(path)
    assert turned.shape == turn(upright).shape
    # Two decoders of JPEG differ by a few gray levels.
    assert np.abs(turned - turn(upright)).max() < 12


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", r"a.jpg is no image that can be read \(0 bytes\)"),
        (b"<svg></svg>", "a.jpg is no image that can be read"),
        (b"\xff\xd8\xff\xe0 and no more", "a.jpg is no intact JPEG or PNG file"),
    ],
)
def test_what_is_no_image_is_an_error_that_names_the_file(tmp_path, data, message):
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        image_files.read(str(tmp_path / "a.jpg"))


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_half_an_image_is_an_error_that_names_the_file(tmp_path, extension):
    (path,) = _write(tmp_path, f"a{extension}", size=(64, 64))
    data = (tmp_path / f"a{extension}").read_bytes()
    (tmp_path / f"a{extension}").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=f"a{extension} is no intact"):
        image_files.read(path)


def test_an_image_that_is_gone_is_an_error_that_names_it(tmp_path):
    files = image_files.ImageFiles(
        [str(tmp_path / "a.png")], Preprocessing(crop_size=(9, 9), mean_pixel=_MEAN_PIXEL)
    )
    with pytest.raises(FileNotFoundError, match="there is no image .*/a.png"):
        list(files.evaluation(1))


# --- What the network gets ---


@pytest.mark.parametrize("resize", [{}, {"min_resize_value": 17, "max_resize_value": 40}])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_batches_are_those_of_records(tmp_path, batch_size, resize):
    samples, paths = {}, []
    for index, size in enumerate([(20, 30), (41, 12), (33, 33), (50, 40)]):
        image = tiny.picture(*size)
        samples[f"{index}"] = (image, None)
        path = tmp_path / f"{index}.png"
        path.write_bytes(tiny.png(image))
        paths.append(str(path))
    preprocessing = Preprocessing(crop_size=(33, 33), mean_pixel=(123.15, 115.9, 103.06), **resize)
    records = Dataset(
        tiny.DATASET, "val", tiny.write_records(tmp_path / "records", samples), preprocessing
    )
    expected = list(records.evaluation(batch_size, labels_required=False))
    found = list(image_files.ImageFiles(paths, preprocessing).evaluation(batch_size))
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert set(ours) == set(theirs) - {"label"}
        for key, value in ours.items():
            assert value.dtype == theirs[key].dtype, key
            if value.dtype.is_floating:
                np.testing.assert_allclose(value, theirs[key], rtol=0, atol=1e-4, err_msg=key)
            else:
                np.testing.assert_array_equal(value, theirs[key], err_msg=key)
