import ast
import base64
import dataclasses
import importlib
import json
import os
import pathlib
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
import tensorflow as tf
from absl import flags

from deeplab.datasets import build_data, descriptors, image_formats, images, label_files
from deeplab.datasets.conftest import describe, jpeg, png, with_orientation
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


_FORMATS = (".jpg", ".png", ".webp", ".tiff")


def _file(extension, orientation, height=20, width=30):
    pixels = cv2.imdecode(np.frombuffer(jpeg(height, width), np.uint8), cv2.IMREAD_COLOR)
    parameters = [cv2.IMWRITE_WEBP_QUALITY, 101] if extension == ".webp" else []
    data = cv2.imencode(extension, pixels, parameters)[1].tobytes()
    return with_orientation(data, extension, orientation)


@pytest.mark.parametrize("extension", _FORMATS)
@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_half_turns_and_mirrors_are_stored_as_they_are_and_reported(
    tmp_path, extension, orientation
):
    data = _file(extension, orientation)
    sample = build_data.read_sample(_source(tmp_path, data, _label(20, 30)), _READER)
    (remark,) = sample.remarks
    assert f"photo.jpg is stored as it is, although EXIF turns it (orientation {orientation}" in (
        remark
    )
    expected = build_data.read_sample(_source(tmp_path, _file(extension, 1)), _READER)
    np.testing.assert_array_equal(_as_trained(sample.image), _as_trained(expected.image))


@pytest.mark.parametrize("extension", _FORMATS)
@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_quarter_turn_follows_the_label(tmp_path, extension, orientation):
    data = _file(extension, orientation)
    plain = build_data.read_sample(_source(tmp_path, _file(extension, 1)), _READER)
    stored = build_data.read_sample(_source(tmp_path, data, _label(20, 30)), _READER)
    turned = build_data.read_sample(_source(tmp_path, data, _label(30, 20)), _READER)
    assert not stored.remarks and not turned.remarks
    pixels = _as_trained(plain.image)
    np.testing.assert_array_equal(_as_trained(stored.image), pixels)
    difference = _as_trained(turned.image).astype(int) - images.upright(pixels, orientation)
    assert np.abs(difference).mean() < (3 if extension == ".jpg" else 1e-9)
    with pytest.raises(ValueError, match="has 30x20 pixels .* has 20x31"):
        build_data.read_sample(_source(tmp_path, data, _label(31, 20)), _READER)


def test_a_turned_image_without_a_label_or_square_is_reported(tmp_path):
    square = _source(tmp_path, _file(".png", 6, 20, 20), _label(20, 20))
    (remark,) = build_data.read_sample(square, _READER).remarks
    assert "orientation 6): its label must be that of the stored pixels" in remark
    (remark,) = build_data.read_sample(_source(tmp_path, _file(".jpg", 6)), _READER).remarks
    assert "orientation 6): it has no label" in remark


def test_a_fourth_band_of_tiff_is_left_out(tmp_path):
    bands = np.random.default_rng(0).integers(0, 256, (20, 30, 4), np.uint8)
    for dtype, factor in ((np.uint8, 1), (np.uint16, 257)):
        data = cv2.imencode(".tiff", bands.astype(dtype) * factor)[1].tobytes()
        # The fourth band is transparency that the colors are not multiplied by yet.
        order = "<" if data.startswith(b"II") else ">"
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        entries = data[start + 2 : start + 2 + 12 * count]
        tag = struct.pack(f"{order}HHIHH", 338, 3, 1, 2, 0)
        directory = struct.pack(f"{order}H", count + 1) + entries + tag + bytes(4)
        data = data[:4] + struct.pack(f"{order}I", len(data)) + data[8:] + directory
        sample = build_data.read_sample(_source(tmp_path, data, _label(20, 30)), _READER)
        np.testing.assert_array_equal(_as_trained(sample.image), bands[..., 2::-1])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_in_which_0_is_white_is_no_negative(tmp_path, dtype):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30), np.uint8)
    white = np.iinfo(dtype).max
    data = bytearray(cv2.imencode(".tiff", white - pixels.astype(dtype) * (white // 255))[1])
    place, meaning = image_formats._tiff_entry(bytes(data), 262)
    assert meaning == 1
    data[place : place + 2] = bytes(2)
    sample = build_data.read_sample(_source(tmp_path, bytes(data), _label(20, 30)), _READER)
    np.testing.assert_array_equal(_as_trained(sample.image), np.dstack([pixels] * 3))


@pytest.mark.parametrize("extension", [".png", ".tiff"])
def test_dark_16_bit_images_are_reported(tmp_path, extension):
    values = np.random.default_rng(0).integers(7, 4096, (20, 30, 3), np.uint16)
    values[0, 0] = 7, 100, 4095
    data = cv2.imencode(extension, values)[1].tobytes()
    (remark,) = build_data.read_sample(_source(tmp_path, data), _READER).remarks
    assert "photo.jpg has 16-bit values from 7 to 4095, but only the upper 8 bits" in remark
    assert "scale its values to 0..65535" in remark
    high = values % 201 + 30000
    high[0, 0] = 30000, 30100, 30200
    data = cv2.imencode(extension, high)[1].tobytes()
    (remark,) = build_data.read_sample(_source(tmp_path, data), _READER).remarks
    assert "photo.jpg has 16-bit values from 30000 to 30200, but only the upper 8 bits" in remark
    assert "almost one color: scale its values to 0..65535" in remark
    data = cv2.imencode(extension, np.full_like(values, 65535))[1].tobytes()
    assert not build_data.read_sample(_source(tmp_path, data), _READER).remarks
    data = cv2.imencode(extension, values * 16)[1].tobytes()
    sample = build_data.read_sample(_source(tmp_path, data), _READER)
    assert not sample.remarks
    np.testing.assert_array_equal(_as_trained(sample.image), (values * 16 >> 8)[..., ::-1])


def test_values_that_are_no_8_or_16_bits_are_refused(tmp_path):
    data = cv2.imencode(".tiff", np.zeros((20, 30, 3), np.float32))[1].tobytes()
    with pytest.raises(ValueError, match="photo.jpg has values of the type float32"):
        build_data.read_sample(_source(tmp_path, data), _READER)


def test_fill_bytes_are_no_fault(tmp_path):
    data = jpeg(20, 30)
    padded = data[:2] + b"\xff\xff" + data[2:-2] + b"\xff\xff\xff\xd9"
    assert build_data.read_sample(_source(tmp_path, padded), _READER).image == padded


def test_an_image_is_taken_if_and_only_if_training_decodes_it(tmp_path):
    """One damaged byte at a time, in JPEG and PNG."""
    random = np.random.default_rng(0)
    refused = 0
    for data in (jpeg(40, 60), png(random.integers(0, 256, (12, 14, 3)), 8, 2)):
        for position in random.integers(0, len(data), 60):
            damaged = bytearray(data)
            damaged[position] ^= 1 << random.integers(0, 8)
            try:
                tf.io.decode_jpeg(bytes(damaged), channels=3)
                fits = True
            except (tf.errors.InvalidArgumentError, UnicodeDecodeError):
                fits = False
            try:
                sample = build_data.read_sample(_source(tmp_path, bytes(damaged)), _READER)
                # A file whose signature is damaged is another format, if any.
                assert fits or sample.image != bytes(damaged)
            except ValueError as error:
                assert not fits or image_format(bytes(damaged)) is None
                assert "photo.jpg" in str(error) and str(len(data)) in str(error)
                refused += 1
    assert refused > 40


@pytest.mark.parametrize("size", [(60000, 60000), (20000, 9000), (2**31 - 1, 1)])
def test_an_image_beyond_the_limit_is_named_with_the_limit(tmp_path, size):
    data = bytearray(png(np.zeros((4, 4, 3), int), 8, 2))
    data[16:24] = struct.pack(">II", *size)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    message = f"photo.jpg is too large: {size[0]}x{size[1]} pixels .* at most 178956970 pixels"
    with pytest.raises(ValueError, match=message):
        build_data.read_sample(_source(tmp_path, bytes(data)), _READER)


def test_sizes_must_agree(tmp_path):
    message = r"photo.jpg has 30x20 pixels \(width x height\), but its label .*label.png has 30x21"
    with pytest.raises(ValueError, match=message):
        build_data.read_sample(_source(tmp_path, jpeg(20, 30), _label(21, 30)), _READER)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "not an image that can be read"),
        (b"no image", "not an image that can be read"),
        (jpeg(200, 300)[:-2], "a broken JPEG file"),
        (jpeg(200, 300)[:3000], "a broken JPEG file"),
        (jpeg(200, 300, orientation=1)[:3000], "a broken JPEG file"),
        (
            cv2.imencode(".png", np.zeros((20, 30, 3), np.uint8))[1].tobytes()[:-20],
            "a broken PNG file",
        ),
    ],
)
def test_broken_images_are_named(tmp_path, data, what):
    with pytest.raises(ValueError, match=rf"image .*photo.jpg is {what}.*\({len(data)} bytes\)"):
        build_data.read_sample(_source(tmp_path, data, _label(20, 30)), _READER)


def test_a_jpeg_without_its_end_is_broken_even_if_a_thumbnail_has_one(tmp_path):
    data = jpeg(200, 300)
    thumbnail = b"\xff\xe1\x00\x0a" + b"\xff\xd8 .. \xff\xd9"
    source = _source(tmp_path, data[:2] + thumbnail + data[2:-2])
    with pytest.raises(ValueError, match="photo.jpg is a broken JPEG"):
        build_data.read_sample(source, _READER)


def test_a_name_that_no_record_can_hold_is_named_with_its_path(tmp_path):
    source = dataclasses.replace(_source(tmp_path, jpeg(20, 30)), name="photo\udcff")
    with pytest.raises(ValueError, match="image .*photo.jpg has a name that is not UTF-8"):
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


@pytest.mark.parametrize(
    "script",
    [
        name if name == "build_custom_data" else pytest.param(name, marks=pytest.mark.slow)
        for name in _SCRIPTS
    ],
)
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
