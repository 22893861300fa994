"""Plain images: which ones, how they are read, and how they are padded."""

import os
import struct

import cv2
import numpy as np
import pytest
import tensorflow as tf

from deeplab.datasets import image_files
from deeplab.datasets.data_generator import Dataset
from deeplab.input_preprocess import Preprocessing
from deeplab.sharing.teams import Share
from deeplab.testing import tiny
from deeplab.utils import temporary_files
from deeplab.utils.files import write_bytes

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
        ("{}/blank.txt", "--images=.* names no image"),
        (",", "--images=, names no image"),
    ],
)
def test_what_is_not_there_is_an_error(tmp_path, images, message):
    paths = _write(tmp_path, "a.jpg")
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_text(f"{paths[0]}\ngone.jpg\n")
    (tmp_path / "blank.txt").write_text("\n\n")
    with pytest.raises(FileNotFoundError, match=message):
        image_files.find(images.format(tmp_path))


def test_hidden_files_are_passed_over(tmp_path):
    (path,) = _write(tmp_path, "a.jpg")
    for name in ("._a.jpg", ".DS_Store", ".thumbnail.png"):
        (tmp_path / name).write_bytes(b"no image")
    assert image_files.find(str(tmp_path)) == [path]
    assert image_files.find(f"{tmp_path}/*.*g") == [path]


@pytest.mark.parametrize("folder", ["[1]", "a*", "b?", "c,d", "e, f", "g ", "h\n"])
def test_a_folder_with_odd_characters_is_a_folder(tmp_path, folder):
    paths = _write(tmp_path / folder, "a.jpg", "b.jpg")
    _write(tmp_path / "1", "no.jpg")
    _write(tmp_path / "ab", "no.jpg")
    assert image_files.find(str(tmp_path / folder)) == paths
    assert image_files.find(f"{tmp_path}/{folder}/*.jpg") == paths
    pair = f"{tmp_path}/{folder}/b.*,{tmp_path}/{folder}/a.jpg"
    assert image_files.find(pair) == paths[::-1]
    assert image_files.find(f"{paths[1]},{paths[0]}") == paths[::-1]


def test_images_of_any_file_system_are_found():
    for name in ("a.png", ".hidden.png"):
        with tf.io.gfile.GFile(f"ram://image_files_test/{name}", "wb") as file:
            file.write(tiny.png(tiny.picture(3, 4)))
    (path,) = image_files.find("ram://image_files_test/*.png")
    assert path == "ram://image_files_test/a.png"
    np.testing.assert_array_equal(image_files.read(path), tiny.picture(3, 4))


def test_a_name_that_is_not_utf_8_is_read_like_others(tmp_path):
    pixels = tiny.picture(4, 5)
    for name in (b"a.png", b"b\xff.png"):
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            file.write(tiny.png(pixels))
    paths = image_files.find(str(tmp_path))
    assert [os.fsencode(os.path.basename(path)) for path in paths] == [b"a.png", b"b\xff.png"]
    assert image_files.find(",".join(paths)) == paths
    batches = image_files.ImageFiles(
        paths, Preprocessing(crop_size=(4, 5), mean_pixel=_MEAN_PIXEL)
    ).evaluation(2)
    assert [len(batch["image"]) for batch in batches] == [2]


def test_an_image_is_found_once(tmp_path):
    paths = _write(tmp_path, "a.jpg", "b.jpg")
    assert image_files.find(f"{paths[1]},{tmp_path}") == paths[::-1]
    assert image_files.find(f"{paths[1]},{tmp_path}/./b.jpg") == paths[1:]


def test_folders_in_a_folder_are_passed_over_whatever_their_names(tmp_path):
    paths = _write(tmp_path, "a.jpg", "thumbs.jpg/b.jpg")
    assert image_files.find(str(tmp_path)) == paths[:1]
    assert image_files.find(f"{tmp_path}/*.jpg") == paths[:1]
    with pytest.raises(FileNotFoundError, match="holds no image"):
        (tmp_path / "a.jpg").unlink()
        image_files.find(str(tmp_path))


def test_a_list_in_another_encoding_is_named(tmp_path):
    (tmp_path / "list.txt").write_text("a.jpg\n", encoding="utf-16")
    with pytest.raises(ValueError, match="list.txt, line 1: the file is UTF-16"):
        image_files.find(str(tmp_path / "list.txt"))


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["x/a.jpg", "y/b.png", "c"], ["a", "b", "c"]),
        (["x/a.jpg", "y/a.jpg", "y/z/b.jpg"], ["x/a", "y/a", "y/z/b"]),
        (["/p/x/a.jpg", "/p/x/y/a.jpg"], ["a", "y/a"]),
        (["x/a.jpg", "x/a.png", "x/b.jpg"], ["a.jpg", "a.png", "b"]),
        (
            ["x/a.jpg", "x/a.png", "x/a.jpg.png", "x/b.jpg"],
            ["a.jpg", "a.png", "a.jpg.png", "b.jpg"],
        ),
        (["gs://p/x/a.jpg", "gs://p/y/a.jpg"], ["x/a", "y/a"]),
        (["../x/a.jpg", "a.jpg"], None),
        ([], []),
    ],
)
def test_results_are_named_after_images_and_folders_where_these_are_needed(paths, names):
    found = image_files.result_names(paths)
    assert found == names or (names is None and len(set(found)) == 2)
    assert not any(name.startswith(("/", "..")) for name in found)


def test_no_two_images_have_one_name():
    names = ["a", "b", *(f"a{end}" for end in (".jpg", ".png", ".jpg.png", ".png.jpg", ".jpg.jpg"))]
    paths = [f"{folder}{name}" for folder in ("x/", "x/y/", "x/a.jpg/") for name in names]
    random = np.random.default_rng(0)
    for _ in range(300):
        chosen = random.choice(paths, random.integers(1, 9), replace=False).tolist()
        assert len(set(image_files.result_names(chosen))) == len(chosen), chosen


def test_results_must_not_replace_images(tmp_path, monkeypatch):
    paths = _write(tmp_path, "a.png", "a_labels.png")
    monkeypatch.chdir(tmp_path)
    image_files.refuse_overwriting("output_dir", paths, [str(tmp_path / "b.png")])
    message = r"--output_dir: ./a_labels.png would replace the image .*/a_labels.png, which"
    with pytest.raises(ValueError, match=message):
        image_files.refuse_overwriting("output_dir", paths, ["./c.png", "./a_labels.png"])
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="would replace the image"):
        image_files.refuse_overwriting("output_dir", paths, ["link/a.png"])


def test_results_whose_names_are_too_long_are_named_before_the_work(tmp_path):
    with pytest.raises(ValueError, match="--output_dir: .*n_labels.png has a name that is too lo"):
        image_files.refuse_overwriting("output_dir", [], ["n" * 240 + "_labels.png"])
    longest = max(length for length in range(240) if temporary_files.has_room("n" * length))
    image_files.refuse_overwriting("output_dir", [], ["n" * longest])
    write_bytes(tmp_path / ("n" * longest), b"")


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
    upright = image_files.read(path)
    tag = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + tag + b"\0\0\0\0"
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    (tmp_path / "a.jpg").write_bytes(data[:2] + segment + data[2:])
    np.testing.assert_array_equal(image_files.read(path), turn(upright))
    np.testing.assert_array_equal(image_files.read(path, exif_orientation=False), upright)


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", r"a.jpg is not an image that can be read \(0 bytes\)"),
        (b"<svg></svg>", "a.jpg is not an image that can be read"),
        (b"\xff\xd8\xff\xe0 and no more", "a.jpg is a broken JPEG file"),
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
    with pytest.raises(ValueError, match=f"a{extension} is a broken (JPEG|PNG) file"):
        image_files.read(path)


@pytest.mark.parametrize("size", [(1, 1), (4, 300), (300, 7)])
@pytest.mark.parametrize("extension", [".png", ".jpg", ".tiff"])
def test_tiny_images_are_read(tmp_path, size, extension):
    (path,) = _write(tmp_path, f"a{extension}", size=size)
    assert image_files.read(path).shape == (*size, 3)


def test_a_dark_16_bit_image_is_logged(tmp_path, caplog):
    (tmp_path / "a.png").write_bytes(cv2.imencode(".png", np.full((3, 4), 900, np.uint16))[1])
    assert image_files.read(str(tmp_path / "a.png")).max() == 3
    assert "a.png has 16-bit values from 900 to 900" in caplog.text


def test_images_that_cannot_be_read_are_passed_over_and_named(tmp_path, caplog):
    paths = _write(tmp_path, "a.png", "b.png", "c.png", "d.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    (tmp_path / "c.png").unlink()
    files = image_files.ImageFiles(paths, Preprocessing(crop_size=(9, 9), mean_pixel=_MEAN_PIXEL))
    for _ in range(2):
        names = [batch["image_name"].numpy().tolist() for batch in files.evaluation(2)]
        assert names == [[b"a"], [b"d"]]
        message = r"2 of 4 images could not be read \(the others are done\): image .*/b.png is not"
        with pytest.raises(ValueError, match=message):
            files.failures.raise_any(len(files))
    assert "image" in caplog.text and "c.png not found" in caplog.text
    (files,) = (image_files.ImageFiles(paths[:1], files._preprocessing),)
    assert len(list(files.evaluation(2))) == 1
    files.failures.raise_any(1)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_hosts_have_the_batches_of_one_whatever_cannot_be_read(tmp_path, batch_size):
    paths = _write(tmp_path, *(f"{number}.png" for number in range(7)))
    for bad in (1, 2, 5):
        (tmp_path / f"{bad}.png").write_bytes(b"no image")
    files = image_files.ImageFiles(paths, Preprocessing(crop_size=(9, 9), mean_pixel=_MEAN_PIXEL))

    def batches(share=None):
        return [batch["number"].numpy().tolist() for batch in files.evaluation(batch_size, share)]

    shared = batches(Share(0, 2)) + batches(Share(1, 2))
    assert sorted(shared) == batches()
    assert sum(batches(), []) == [0, 3, 4, 6]


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
