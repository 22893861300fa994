"""Files in a graph: the good ones are decoded, and a bad one gets its status."""

import struct

import cv2
import numpy as np
import pytest
import tensorflow as tf

from deeplab.datasets import image_formats, images
from deeplab.export import decoding
from deeplab.testing import tiny

_IMAGE = tiny.picture(20, 30)


def _encoded(extension):
    return cv2.imencode(extension, _IMAGE[..., ::-1])[1].tobytes()


_JPEG, _PNG, _BMP, _GIF, _WEBP = (
    _encoded(extension) for extension in (".jpg", ".png", ".bmp", ".gif", ".webp")
)


# TensorFlow 2.19 does not.
_READS_WEBP = hasattr(tf.io, "decode_webp")


def _with_png_size(height, width):
    return _PNG[:16] + struct.pack(">II", width, height) + _PNG[24:]


def _with_orientation(value, order="<", before=b""):
    """The JPEG file with EXIF data of two entries."""
    signature = b"II*\0" if order == "<" else b"MM\0*"
    entries = [(271, 2, 4, 0), (274, 3, 1, value if order == "<" else value << 16)]
    exif = signature + struct.pack(f"{order}IH", 8, len(entries))
    exif += b"".join(struct.pack(f"{order}HHII", *entry) for entry in entries)
    exif = b"Exif\0\0" + exif
    return _JPEG[:2] + before + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + _JPEG[2:]


@tf.function(input_signature=[tf.TensorSpec((), tf.string)])
def _decode(data):
    return decoding.decode(data, max_pixels=1000)


@tf.function(input_signature=[tf.TensorSpec((), tf.string)])
def _orientation(data):
    return decoding.orientation(data)


@pytest.mark.parametrize(
    "data",
    [_JPEG, _PNG, _BMP, _GIF, *([_WEBP] if _READS_WEBP else [])],
    ids=["jpeg", "png", "bmp", "gif", *(["webp"] if _READS_WEBP else [])],
)
def test_good_files_are_decoded(data):
    status, image = _decode(data)
    assert status == decoding.FINE
    expected = tf.io.decode_image(data, channels=3, expand_animations=False)
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", decoding.EMPTY),
        (b"\0" * 100, decoding.UNKNOWN_FORMAT),
        (b"GI", decoding.UNKNOWN_FORMAT),
        (b"<svg/>", decoding.UNKNOWN_FORMAT),
        (_JPEG[:-20], decoding.DAMAGED),
        (_JPEG[:100], decoding.DAMAGED),
        (_JPEG[:3], decoding.DAMAGED),
        (_PNG[:-30], decoding.DAMAGED),
        (_PNG[:8], decoding.DAMAGED),
        (_PNG[:40] + b"\0" * 20 + _PNG[60:], decoding.DAMAGED),
        (_with_png_size(0, 30), decoding.DAMAGED),
        (_BMP[:20], decoding.DAMAGED),
        (_BMP[:-100], decoding.DAMAGED),
        (_GIF[:30], decoding.DAMAGED),
        (_WEBP[:-40], decoding.DAMAGED if _READS_WEBP else decoding.UNKNOWN_FORMAT),
        (_with_png_size(40, 30), decoding.TOO_LARGE),
        (_with_png_size(2**31, 2**31), decoding.TOO_LARGE),
        (_with_png_size(2**32 - 1, 2**32 - 1), decoding.TOO_LARGE),
        (_BMP[:22] + struct.pack("<i", -(2**30)) + _BMP[26:], decoding.TOO_LARGE),
        (cv2.imencode(".jpg", np.zeros((50, 50, 3)))[1].tobytes(), decoding.TOO_LARGE),
        (
            cv2.imencode(".webp", np.zeros((50, 50, 3)))[1].tobytes(),
            decoding.TOO_LARGE if _READS_WEBP else decoding.UNKNOWN_FORMAT,
        ),
        (cv2.imencode(".gif", np.zeros((50, 50, 3), np.uint8))[1].tobytes(), decoding.TOO_LARGE),
    ],
)
def test_a_bad_file_gets_its_status(data, status):
    found, image = _decode(data)
    assert found == status
    assert image.shape == (0, 0, 3)


@pytest.mark.parametrize("before", [b"", b"\xff\xff\xfe\0\4ab"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("value", [0, 1, 2, 6, 9])
def test_the_orientation_is_that_of_the_reader(value, order, before):
    data = _with_orientation(value, order, before)
    assert _orientation(data) == image_formats.orientation(data)


@pytest.mark.parametrize("length", [2, 5, 12, 16, 24, 30, 40, 60])
def test_exif_data_that_end_early_turn_nothing(length):
    data = _with_orientation(6)[:length]
    assert _orientation(data) == image_formats.orientation(data)


def test_files_are_turned_on_demand():
    @tf.function(input_signature=[tf.TensorSpec((), tf.string)])
    def upright(data):
        return decoding.decode(data, exif_orientation=True)

    for value in range(1, 9):
        data = _with_orientation(value)
        np.testing.assert_array_equal(upright(data)[1], images.decode(data).upright())
        assert _decode(data)[1].shape == (20, 30, 3)


@pytest.mark.parametrize("size", [(1, 1), (33, 33), (20, 500), (1000, 1), (1, 1000)])
@pytest.mark.parametrize("most", [None, 1, 2, 700, 10**6])
def test_a_size_is_limited_and_keeps_its_shape(size, most):
    height, width = decoding.limited(size, most)
    assert height >= 1 and width >= 1
    if most is None or size[0] * size[1] <= most:
        assert (height, width) == size
    else:
        assert height * width <= most
        # Whole pixels are what is lost.
        assert (height + 1) * (width + 1) > most or 1 in (height, width)
