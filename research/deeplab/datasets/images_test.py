"""TIFF images of every layout are read right or refused; EXIF is found in every form."""

import struct
from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from deeplab.datasets import images

_HEIGHT, _WIDTH = 5, 7
_SHORT, _LONG = 3, 4


def _tiff(pixels: np.ndarray, order: str, planes: bool, extra: Sequence[int]) -> bytes:
    """Return an uncompressed TIFF file.

    Args:
        pixels: [height, width, bands] of unsigned integers.
        order: Of the bytes, "<" or ">".
        planes: Whether each band is stored by itself.
        extra: Kinds of the bands after the third: 0, or 2 for transparency.
    """
    height, width, bands = pixels.shape
    stored = pixels.transpose(2, 0, 1) if planes else pixels
    data = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
    strips = bands if planes else 1
    size = len(data) // strips
    tags = {
        256: (_SHORT, [width]),
        257: (_SHORT, [height]),
        258: (_SHORT, [8 * pixels.itemsize] * bands),
        262: (_SHORT, [2]),
        273: (_LONG, [8 + i * size for i in range(strips)]),
        277: (_SHORT, [bands]),
        278: (_SHORT, [height]),
        279: (_LONG, [size] * strips),
        284: (_SHORT, [2 if planes else 1]),
        **({338: (_SHORT, list(extra))} if extra else {}),
    }
    entries, long_values = b"", b""
    start = 8 + len(data)
    for tag, (kind, values) in tags.items():
        content = struct.pack(f"{order}{len(values)}{'HI'[kind == _LONG]}", *values)
        if len(content) > 4:
            content, long_values = (
                struct.pack(f"{order}I", start + len(long_values)),
                long_values + content,
            )
        entries += struct.pack(f"{order}HHI", tag, kind, len(values)) + content.ljust(4, b"\0")
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(f"{order}HI", 42, start + len(long_values))
    return head + data + long_values + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


def _bands(number: int, dtype: type) -> np.ndarray:
    values = np.random.default_rng(0).integers(0, 256, (_HEIGHT, _WIDTH, number))
    return (values * (257 if dtype == np.uint16 else 1)).astype(dtype)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planes", [False, True], ids=["pixels", "planes"])
@pytest.mark.parametrize("extra", [(), (0,), (1,), (2,)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_first_three_bands_are_the_colors(order, planes, extra, dtype):
    pixels = _bands(3 + len(extra), dtype)
    data = _tiff(pixels, order, planes, extra)
    if planes and dtype == np.uint16:
        with pytest.raises(ValueError, match="has 16-bit bands in separate planes, which cannot"):
            images.decode(data)
        return
    found = images.decode(data).pixels
    np.testing.assert_array_equal(found, _bands(3 + len(extra), np.uint8)[..., :3])


@pytest.mark.parametrize("bands", [5, 8])
def test_more_bands_are_counted_in_one_line(bands, capfd):
    data = _tiff(_bands(bands, np.uint8), "<", False, [2] + [0] * (bands - 4))
    with pytest.raises(ValueError, match=f"has {bands} bands; TIFF images have at most 4: save"):
        images.decode(data)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int16])
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_values_of_another_type_are_named(dtype, shape, capfd):
    data = cv2.imencode(".tiff", np.ones(shape, dtype))[1].tobytes()
    message = f"has values of the type {np.dtype(dtype)}; images have 8 or 16 bits"
    with pytest.raises(ValueError, match=message):
        images.decode(data)
    assert capfd.readouterr().err == ""


def test_a_truncated_tiff_is_one_line(capfd):
    data = _tiff(_bands(3, np.uint8), "<", False, ())
    # The last four bytes tell whether another image follows.
    for length in range(4, len(data) - 4, 9):
        with pytest.raises(ValueError, match="is not an image that can be read"):
            images.decode(data[:length])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [_SHORT, _LONG])
def test_the_orientation_may_be_a_long_integer(order, kind):
    mark = b"II" if order == "<" else b"MM"
    value = struct.pack(f"{order}{'HI'[kind == _LONG]}", 6).ljust(4, b"\0")
    entry = struct.pack(f"{order}HHI", 274, kind, 1) + value
    exif = mark + struct.pack(f"{order}HIH", 42, 8, 1) + entry + bytes(4)
    webp = b"EXIF" + struct.pack("<I", len(exif)) + exif
    data = b"RIFF" + struct.pack("<I", len(webp) + 4) + b"WEBP" + webp
    assert images.image_formats.orientation(data) == 6
