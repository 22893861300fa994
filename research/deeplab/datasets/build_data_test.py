import ast
import base64
import importlib
import json
import os
import pathlib
import subprocess
import sys
from unittest import mock

import cv2
import numpy as np
import pytest
import tensorflow as tf
from absl import flags

from deeplab.datasets import build_data, descriptors, label_files
from deeplab.datasets.conftest import describe, jpeg, png, read_records
from deeplab.datasets.image_formats import image_format
from deeplab.datasets.source_files import Source
from deeplab.testing import golden

_SCRIPTS = (
    "build_voc2012_data",
    "build_cityscapes_data",
    "build_ade20k_data",
    "remove_gt_colormap",
    "build_custom_data",
    "check_data",
    "make_sample_data",
)
_READER = label_files.LabelReader(descriptors.DatasetDescriptor("test", 3, 255))
# 16x16 pixels of (200, 60, 30) as inks, the way Photoshop stores them.
_CMYK = base64.b64decode(
    "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwACAQEBAQECAQEBAgICAgIEAwICAgIFBAQDBAYFBgYGBQYGBgcJCAYHCQcGBg"
    "gLCAkKCgoKCgYICwwLCgwJCgoK/8AAFAgAEAAQBEMRAE0RAFkRAEsRAP/EAB8AAAEFAQEBAQEBAAAAAAAAAAABAgME"
    "BQYHCAkKC//EALUQAAIBAwMCBAMFBQQEAAABfQECAwAEEQUSITFBBhNRYQcicRQygZGhCCNCscEVUtHwJDNicoIJCh"
    "YXGBkaJSYnKCkqNDU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6g4SFhoeIiYqSk5SVlpeYmZqi"
    "o6Slpqeoqaqys7S1tre4ubrCw8TFxsfIycrS09TV1tfY2drh4uPk5ebn6Onq8fLz9PX29/j5+v/aAA4EQwBNAFkASw"
    "AAPwD9IK/O+vx3r9/KKKKKKKKKKKKK/9k="
)


def _source(folder, image, label=None, name="photo.jpg"):
    (folder / name).write_bytes(image)
    if label is not None:
        (folder / "label.png").write_bytes(label)
    return Source(
        "photo", str(folder / name), str(folder / "label.png") if label is not None else None
    )


def _as_trained(data):
    """The pixels that training decodes."""
    return tf.io.decode_image(data, channels=3, expand_animations=False).numpy()


def _label(height, width):
    return png(np.zeros((height, width), int))


def test_a_pair_is_stored_as_it_is(tmp_path):
    image, label = jpeg(20, 30), png(np.full((20, 30), 2))
    sample = build_data.read_sample(_source(tmp_path, image, label), _READER)
    assert (sample.height, sample.width) == (20, 30)
    assert (sample.image, sample.label.data) == (image, label)


def test_an_image_may_have_no_label(tmp_path):
    assert build_data.read_sample(_source(tmp_path, jpeg(20, 30)), _READER).label is None


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (jpeg(20, 30), "jpeg"),
        (jpeg(20, 30)[:-2] + b"\xff\xd9 trailing bytes \xff\xda", "jpeg"),
        (cv2.imencode(".jpg", np.zeros((20, 30), np.uint8))[1].tobytes(), "jpeg"),
        (cv2.imencode(".png", np.zeros((20, 30, 4), np.uint8))[1].tobytes(), "png"),
        (cv2.imencode(".png", np.zeros((20, 30), np.uint16))[1].tobytes(), "png"),
        (png(np.zeros((20, 30), int), 4, 3, bytes(48)), "png"),
    ],
)
def test_jpeg_and_png_of_any_kind_are_stored_as_they_are(tmp_path, data, expected):
    sample = build_data.read_sample(_source(tmp_path, data, _label(20, 30)), _READER)
    assert sample.image == data
    assert image_format(sample.image) == expected
    assert _as_trained(sample.image).shape == (20, 30, 3)


@pytest.mark.parametrize("extension", [".bmp", ".tiff", ".webp", ".ppm"])
def test_other_formats_are_stored_as_png(tmp_path, extension):
    pixels = cv2.imdecode(np.frombuffer(jpeg(20, 30), np.uint8), cv2.IMREAD_COLOR)
    parameters = [cv2.IMWRITE_WEBP_QUALITY, 101] if extension == ".webp" else []
    data = cv2.imencode(extension, pixels, parameters)[1].tobytes()
    sample = build_data.read_sample(_source(tmp_path, data, _label(20, 30)), _READER)
    assert image_format(sample.image) == "png"
    np.testing.assert_array_equal(_as_trained(sample.image), pixels[..., ::-1])


def test_images_of_inks_are_stored_as_they_are_and_decode_to_their_colors(tmp_path):
    sample = build_data.read_sample(_source(tmp_path, _CMYK, _label(16, 16)), _READER)
    assert sample.image == _CMYK
    np.testing.assert_allclose(_as_trained(sample.image)[8, 8], [200, 60, 30], atol=3)


def test_an_image_turned_by_exif_follows_its_label(tmp_path):
    image = jpeg(20, 30, orientation=6)
    as_stored = build_data.read_sample(_source(tmp_path, image, _label(20, 30)), _READER)
    assert as_stored.image == image
    turned = build_data.read_sample(_source(tmp_path, image, _label(30, 20)), _READER)
    assert (turned.height, turned.width) == (30, 20)
    upright = np.rot90(_as_trained(image), -1)
    assert np.abs(_as_trained(turned.image).astype(int) - upright).mean() < 3


def test_an_upside_down_image_is_reported(tmp_path, caplog):
    image = jpeg(20, 30, orientation=3)
    assert build_data.read_sample(_source(tmp_path, image, _label(20, 30)), _READER).image == image
    assert "photo.jpg: its EXIF orientation is ignored" in caplog.text


def test_sizes_must_agree(tmp_path):
    message = r"photo.jpg has 30x20 pixels \(width x height\), but its label .*label.png has 30x21"
    with pytest.raises(ValueError, match=message):
        build_data.read_sample(_source(tmp_path, jpeg(20, 30), _label(21, 30)), _READER)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no image",
        jpeg(200, 300)[:-2],
        jpeg(200, 300)[:3000],
        jpeg(200, 300, orientation=1)[:3000],
        cv2.imencode(".png", np.zeros((20, 30, 3), np.uint8))[1].tobytes()[:-20],
    ],
)
def test_broken_images_are_named(tmp_path, data):
    with pytest.raises(ValueError, match=rf"image .*photo.jpg is broken.*\({len(data)} bytes\)"):
        build_data.read_sample(_source(tmp_path, data, _label(20, 30)), _READER)


def test_a_jpeg_without_its_end_is_broken_even_where_the_decoder_takes_it(tmp_path):
    data = jpeg(200, 300)
    thumbnail = b"\xff\xe1\x00\x0a" + b"\xff\xd8 .. \xff\xd9"
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    source = _source(tmp_path, data[:2] + thumbnail + data[2:-2])
    with (
        mock.patch.object(build_data, "decode", return_value=pixels),
        pytest.raises(ValueError, match="photo.jpg is broken"),
    ):
        build_data.read_sample(source, _READER)


def test_a_missing_file_is_named_with_the_one_that_may_be_meant(tmp_path):
    source = _source(tmp_path, jpeg(20, 30))
    missing = Source("photo", source.image.replace(".jpg", ".png"), None)
    message = r"image .*photo.png not found, but there is .*photo.jpg \(--image_format=jpg\)"
    with pytest.raises(FileNotFoundError, match=message):
        build_data.read_sample(missing, _READER)
    missing = Source("photo", source.image, str(tmp_path / "nowhere.png"))
    with pytest.raises(FileNotFoundError, match=r"label .*nowhere.png not found$"):
        build_data.read_sample(missing, _READER)


def _folder_of(tmp_path, count):
    sources = []
    for index in range(count):
        folder = tmp_path / f"{index:02d}"
        folder.mkdir()
        source = _source(folder, jpeg(8, 9, seed=index), _label(8, 9))
        sources.append(Source(folder.name, source.image, source.label))
    return sources


def _read_all(folder):
    paths = sorted(folder.glob("*.tfrecord"))
    return [record for path in paths for record in read_records(path)]


def test_several_processes_write_the_same_records(tmp_path):
    sources = _folder_of(tmp_path, 9)
    build_data.convert("train", sources, _READER, str(tmp_path / "one"), 2, 1)
    build_data.convert("train", sources, _READER, str(tmp_path / "two"), 2, 2)
    one, two = _read_all(tmp_path / "one"), _read_all(tmp_path / "two")
    assert [record["image/filename"] for record in one] == [
        [source.name.encode()] for source in sources
    ]
    assert one == two


def test_one_bad_file_is_the_error_and_nothing_is_written(tmp_path):
    sources = _folder_of(tmp_path, 4)
    pathlib.Path(sources[2].label).write_bytes(png(np.full((8, 9), 3)))
    with pytest.raises(ValueError, match=r"02/label.png has values.* 3 \(72 pixels\)"):
        build_data.convert("train", sources, _READER, str(tmp_path / "out"), 2)
    assert not list((tmp_path / "out").iterdir())


def test_several_bad_files_are_all_logged(tmp_path, caplog):
    sources = _folder_of(tmp_path, 4)
    pathlib.Path(sources[1].label).write_bytes(png(np.full((8, 9), 3)))
    os.remove(sources[3].image)
    with pytest.raises(ValueError, match=r"2 of 4 images are bad.*01/label.png"):
        build_data.convert("train", sources, _READER, str(tmp_path / "out"), 2)
    assert "01/label.png has values" in caplog.text
    assert "03/photo.jpg not found" in caplog.text


def test_only_labels_of_test_splits_may_be_missing(tmp_path):
    sources = _folder_of(tmp_path, 2)
    os.remove(sources[1].label)
    with pytest.raises(FileNotFoundError, match="01/label.png"):
        build_data.convert("val", sources, _READER, str(tmp_path / "out"), 1)
    build_data.convert("test_fine", sources, _READER, str(tmp_path / "out"), 1)
    with_label, without = _read_all(tmp_path / "out")
    label = "image/segmentation/class/encoded"
    assert label in with_label and label not in without


def test_a_split_without_images_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="split val has no images"):
        build_data.convert("val", [], _READER, str(tmp_path), 4)


def test_features_are_official():
    official, _ = golden.misc("tfrecords")
    expected = official["voc"]["train-00000-of-00004.tfrecord"][0]
    folder = golden.DATA / "misc" / "tfrecords_voc"
    example = build_data.image_seg_to_tfexample(
        (folder / "JPEGImages" / "2007_000000.jpg").read_bytes(),
        "2007_000000",
        13,
        17,
        (folder / "SegmentationClassRaw" / "2007_000000.png").read_bytes(),
    )
    assert describe(example) == expected


def test_an_image_that_is_neither_jpeg_nor_png_makes_no_record():
    with pytest.raises(ValueError, match="roof.gif is neither JPEG nor PNG"):
        build_data.image_seg_to_tfexample(b"GIF89a", "roof.gif", 1, 1, b"")


@pytest.mark.parametrize("script", _SCRIPTS[:4])
def test_flags_are_official(script):
    module = importlib.import_module(f"deeplab.datasets.{script}")
    values = flags.FlagValues()
    module.define_flags(values)
    official = json.loads((golden.DATA / "flags.json").read_text())
    expected = list(official[f"deeplab/datasets/{script}.py"])
    if script.startswith("build"):
        expected += official["deeplab/datasets/build_data.py"]
    for flag in expected:
        ours = values[flag["name"]]
        assert f"{type(ours).__name__}/{ours.flag_type()}" == flag["type"]
        assert str(ours.default) == flag["default"]
        if flag["choices"]:
            assert list(ours.parser.enum_values) == ast.literal_eval(flag["choices"])


@pytest.mark.parametrize("script", _SCRIPTS)
def test_help_needs_no_tensorflow_and_no_installation(script):
    research = pathlib.Path(build_data.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", f"deeplab/datasets/{script}.py", "--help"],
        cwd=research,
        env=os.environ | {"PYTHONPATH": str(research)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert "--output_dir" in done.stdout or "--dataset_dir" in done.stdout
    assert "tensorflow" not in done.stderr
