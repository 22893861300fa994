"""TIFF images of every layout are read right or refused; EXIF is found in every form."""

import struct
from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from deeplab.datasets import images, label_files

_HEIGHT, _WIDTH = 5, 7
_SHORT, _LONG = 3, 4
_TAGS = {"bits": 258, "compression": 259, "meaning": 262, "tile": 322, "kind": 339}


def _tiff(
    pixels: np.ndarray,
    order: str = "<",
    planes: bool = False,
    extra: Sequence[int] = (),
    **more: int | Sequence[int],
) -> bytes:
    """Return an uncompressed TIFF file.

    Args:
        pixels: [height, width, bands] of unsigned integers.
        order: Of the bytes, "<" or ">".
        planes: Whether each band is stored by itself.
        extra: Kinds of the bands after the third: 0, or 2 for transparency.
        **more: Values of other tags, or in the place of those of the pixels.
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
    for name, values in more.items():
        tags[_TAGS[name]] = (_SHORT, [values] if isinstance(values, int) else list(values))
    if "tile" in more:
        tags |= {324: tags.pop(273), 325: tags.pop(279)}
        tags |= {322: (_SHORT, tags[322][1][:1]), 323: (_SHORT, tags[322][1][1:])}
    tags = dict(sorted(tags.items()))
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


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planes", [False, True], ids=["pixels", "planes"])
@pytest.mark.parametrize(("bands", "extra"), [(3, ()), (3, (0, 0)), (4, ()), (4, (0, 0, 0))])
def test_bands_that_are_not_marked_as_colors_are_colors(order, planes, bands, extra):
    """Programs for maps write brightnesses, of which OpenCV would read the first one only."""
    pixels = _bands(bands, np.uint8)
    data = _tiff(pixels, order, planes, extra, meaning=1)
    np.testing.assert_array_equal(images.decode(data).pixels, pixels[..., :3])


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"tile": (16, 16)}, "has tiles of 16x16 pixels, which cannot be read: save it in strips"),
        ({"tile": (48, 48)}, "has tiles of 48x48 pixels"),
        ({"bits": [16] * 3, "kind": [3] * 3}, "has 16-bit floats, which cannot be read: save it"),
        ({"bits": [32] * 3, "kind": [6] * 3}, "has 32-bit complex floats"),
        ({"bits": [4] * 3}, "has 4-bit values, which cannot be read"),
        ({"bits": [1] * 3}, "has 1-bit values"),
        ({"bits": [8, 8, 16]}, r"has bands of different types \(8, 16 bits\)"),
        ({"compression": 34712}, "is compressed with JPEG 2000, which cannot be read: save it wit"),
        ({"compression": 50001}, "is compressed with WebP, which cannot be read"),
        ({"compression": 65000}, "is compressed with method 65000, which cannot be read"),
        ({"meaning": 32803}, r"has pixels of a kind that cannot be read \(raw pixels of a camera"),
        ({"meaning": 8}, r"has pixels of a kind that cannot be read \(CIELab\): save it as RGB"),
        ({"meaning": 5}, r"has pixels of a kind that cannot be read \(CMYK\): save it as RGB"),
    ],
)
def test_tiff_files_that_cannot_be_read_say_why(tags, message, capfd):
    """OpenCV returns zeros where it does not know the compression, and other colors for CIELab."""
    data = _tiff(np.ones((64, 64, 3), np.uint8), **tags)
    for read in (images.decode, label_files.read_indices):
        with pytest.raises(ValueError, match=message):
            read(data)
    assert capfd.readouterr().err == ""


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


def _pages(kinds: Sequence[int | None]) -> bytes:
    """Return a TIFF file with pictures of these kinds, of which one may not say its kind."""
    data, places = b"", []
    for kind in kinds:
        page = _tiff(_bands(3, np.uint8), "<", False, ())
        (start,) = struct.unpack_from("<I", page, 4)
        (count,) = struct.unpack_from("<H", page, start)
        entries = page[start + 2 : start + 2 + 12 * count]
        if kind is not None:
            entries, count = struct.pack("<HHII", 254, _LONG, 1, kind) + entries, count + 1
        places.append(len(data) + len(page))
        # Values that are stored elsewhere are those of the first page.
        data += page + struct.pack("<H", count) + entries + bytes(4)
    linked = bytearray(data)
    for place, following in zip(places, [*places[1:], 0], strict=True):
        (count,) = struct.unpack_from("<H", data, place)
        struct.pack_into("<I", linked, place + 2 + 12 * count, following)
    struct.pack_into("<I", linked, 4, places[0])
    return bytes(linked)


@pytest.mark.parametrize(
    ("kinds", "remarked"),
    [([None], False), ([0, 1, 4, 5], False), ([None, None], True), ([0, 1, 2], True)],
)
def test_pages_of_a_tiff_are_remarked_on_but_copies_and_masks_are_not(kinds, remarked):
    image = images.decode(_pages(kinds))
    np.testing.assert_array_equal(image.pixels, _bands(3, np.uint8))
    assert ("several pages or frames, of which the first" in image.remark()) == remarked


def _frames(extension: str, count: int) -> bytes:
    animation = cv2.Animation()
    animation.frames = [np.full((9, 11, 3), 80 * n, np.uint8) for n in range(count)]
    animation.durations = [100] * count
    return cv2.imencodeanimation(extension, animation)[1].tobytes()


@pytest.mark.skipif(not hasattr(cv2, "Animation"), reason="OpenCV 4.11 writes animations")
@pytest.mark.parametrize("extension", [".gif", ".webp", ".png"])
def test_frames_of_an_animation_are_remarked_on(extension):
    still = np.full((9, 11, 3), 7, np.uint8)
    assert not images.decode(cv2.imencode(extension, still)[1].tobytes()).remark()
    data = _frames(extension, 3)
    assert "several pages or frames, of which the first" in images.decode(data).remark()
    for length in range(30, len(data), 7):
        images.image_formats.has_more_pictures(data[:length])


def test_directories_that_lead_nowhere_or_in_a_circle_are_no_traceback():
    for mark, form in ((b"II*\0", "<I"), (b"II+\0" + struct.pack("<HH", 8, 0), "<Q")):
        for start in (0, len(mark), 2**31, 2 ** (8 * struct.calcsize(form)) - 1):
            data = mark + struct.pack(form, start) + bytes(40)
            assert images.image_formats.orientation(data) == 1
            images.image_formats.has_more_pictures(data)
