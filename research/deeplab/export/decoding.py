"""Decodes image files within a graph, where a file that cannot be read fails alone.

TensorFlow's decoders fail the whole request. But a dataset can ignore the errors of its map, so
each file is decoded in a dataset of one element. Its header is checked first.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from deeplab.core.options import export_options

# The status of a file.
FINE, EMPTY, UNKNOWN_FORMAT, DAMAGED, TOO_LARGE = range(5)

# Bytes of a header that hold format and size; JPEG files have their size somewhere after these.
_HEADER = 32
_EXIF = b"Exif\0\0"
_ORIENTATION, _SHORT = 274, 3
_MOST_ENTRIES = 4096


@dataclasses.dataclass(frozen=True)
class _Side:
    """The position of the height or the width of an image in a header.

    Args:
        place: Position of the first byte.
        count: Number of bytes.
        big: Whether the first byte is the highest.
        signed: Whether a negative number stands for its absolute value.
        shift: Position of the lowest bit.
        bits: Number of bits.
        less: Number by which the stored one is smaller than the side.
    """

    place: int
    count: int
    big: bool = False
    signed: bool = False
    shift: int = 0
    bits: int = 32
    less: int = 0

    def factors(self) -> np.ndarray:
        """Return the factor of each byte of a header in the sum that is the number."""
        factors = np.zeros(_HEADER, np.int64)
        powers = 256 ** np.arange(self.count)
        factors[self.place : self.place + self.count] = powers[:: -1 if self.big else 1]
        return factors


@dataclasses.dataclass(frozen=True)
class _Format:
    """A format of image files.

    Args:
        least: Size in bytes of a file's header.
        beginning: Its first bytes. None: any byte.
        height: Position of the image's height. None: it is not at a fixed position.
        width: Position of the image's width.
    """

    least: int
    beginning: Sequence[int | None]
    height: _Side | None = None
    width: _Side | None = None


_WEBP = (*b"RIFF", *[None] * 4, *b"WEBP")
# TensorFlow 2.19 does not decode it.
_WEBP_FORMATS = (
    _Format(30, (*_WEBP, *b"VP8 "), _Side(28, 2, bits=14), _Side(26, 2, bits=14)),
    _Format(
        25,
        (*_WEBP, *b"VP8L"),
        _Side(21, 4, shift=14, bits=14, less=1),
        _Side(21, 4, bits=14, less=1),
    ),
    _Format(30, (*_WEBP, *b"VP8X"), _Side(27, 3, less=1), _Side(24, 3, less=1)),
)
_JPEG = _Format(3, b"\xff\xd8\xff")
_FORMATS = (
    _JPEG,
    _Format(24, b"\x89PNG\r\n\x1a\n", _Side(20, 4, big=True), _Side(16, 4, big=True)),
    _Format(10, b"GIF8", _Side(8, 2), _Side(6, 2)),
    _Format(26, b"BM", _Side(22, 4, signed=True), _Side(18, 4, signed=True)),
    *(_WEBP_FORMATS if hasattr(tf.io, "decode_webp") else ()),
)


def limited(size: Sequence[int], max_pixels: int | None) -> tuple[int, int]:
    """Return a size of the same shape, as nearly as possible, with no more pixels than a limit."""
    height, width = size
    if max_pixels and height * width > max_pixels:
        scale = (max_pixels / (height * width)) ** 0.5
        height = min(max(1, int(height * scale)), max_pixels)
        width = min(max(1, int(width * scale)), max_pixels // height)
    return height, width


def decode(
    data: tf.Tensor, max_pixels: int | None = None, exif_orientation: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the status and the image of a file.

    Args:
        data: string scalar, the content of a JPEG, PNG, GIF, BMP or WebP file.
        max_pixels: Largest number of pixels, height times width. None: the limit of TensorFlow.
        exif_orientation: Turn JPEG files as their EXIF data says.

    Returns:
        status: int32 scalar: 0 fine, 1 empty, 2 unknown format, 3 damaged, 4 too many pixels.
        image: uint8 [height, width, 3], RGB; [0, 0, 3] if the status is not 0.
    """
    most = float(min(max_pixels or export_options.MOST_PIXELS, export_options.MOST_PIXELS))
    nothing = tf.zeros([0, 0, 3], tf.uint8)

    def one(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        status = _status(data, most)

        def pixels() -> tuple[tf.Tensor, tf.Tensor]:
            image = tf.io.decode_image(data, channels=3, expand_animations=False)
            image = tf.ensure_shape(image, (None, None, 3))
            if exif_orientation:
                image = _upright(image, orientation(data))
            # A file may hold more than its header says.
            is_large = _pixels(*tf.unstack(tf.shape(image)[:2])) > most
            size = tf.where(is_large, [0, 0, 3], tf.shape(image))
            return tf.where(is_large, TOO_LARGE, FINE), tf.slice(image, [0, 0, 0], size)

        return tf.cond(tf.equal(status, FINE), pixels, lambda: (status, nothing))

    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    decoded = tf.data.Dataset.from_tensors(data).map(one).ignore_errors()
    fallback = tf.data.Dataset.from_tensors((DAMAGED, nothing))
    status, image = decoded.concatenate(fallback).take(1).with_options(options).get_single_element()
    return tf.ensure_shape(status, ()), tf.ensure_shape(image, (None, None, 3))


def _pixels(height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    return tf.cast(height, tf.float64) * tf.cast(width, tf.float64)


def _status(data: tf.Tensor, most: float) -> tf.Tensor:
    """Return the status that follows from the header; a damaged JPEG header is an error.

    The formats are rows of tables. A graph with a branch for each would take long to load, and
    longer to run than decoding a small image.
    """
    size = tf.strings.length(data)
    header = tf.io.decode_raw(tf.strings.substr(data, 0, _HEADER), tf.uint8)
    header = tf.cast(tf.pad(header, [[0, _HEADER - tf.size(header)]]), tf.int64)
    beginnings = np.full((len(_FORMATS), _HEADER), -1, np.int64)
    sides = [[each.height or _Side(0, 0), each.width or _Side(0, 0)] for each in _FORMATS]
    for row, each in zip(beginnings, _FORMATS, strict=True):
        row[: len(each.beginning)] = [-1 if byte is None else byte for byte in each.beginning]
    begun = tf.reduce_all((header == beginnings) | (beginnings < 0), axis=1)
    index = tf.argmax(tf.cast(begun, tf.int32))

    def of_format(values: Any) -> tf.Tensor:
        """Return the entry of the file's format."""
        return tf.gather(np.array(values, np.int64), index)

    def of_sides(value: Callable[[_Side], Any]) -> tf.Tensor:
        return of_format([[value(side) for side in pair] for pair in sides])

    def jpeg() -> tf.Tensor:
        return tf.cast(tf.image.extract_jpeg_shape(data)[:2], tf.int64)

    def others() -> tf.Tensor:
        number = tf.reduce_sum(header * of_sides(_Side.factors), axis=1)
        # The absolute value of a signed 32-bit number.
        is_negative = (of_sides(lambda side: int(side.signed)) > 0) & (number >= 2**31)
        number = tf.where(is_negative, 2**32 - number, number)
        number //= of_sides(lambda side: 2**side.shift)
        return number % of_sides(lambda side: 2**side.bits) + of_sides(lambda side: side.less)

    is_jpeg = begun[_FORMATS.index(_JPEG)]
    height, width = tf.unstack(tf.ensure_shape(tf.cond(is_jpeg, jpeg, others), (2,)))
    least = of_format([each.least for each in _FORMATS])
    damaged = (tf.cast(size, tf.int64) < least) | (height < 1) | (width < 1)
    status = tf.where(damaged, DAMAGED, tf.where(_pixels(height, width) > most, TOO_LARGE, FINE))
    unknown = tf.where(tf.equal(size, 0), EMPTY, UNKNOWN_FORMAT)
    return tf.where(tf.reduce_any(begun), status, unknown)


def orientation(data: tf.Tensor) -> tf.Tensor:
    """Return the EXIF orientation of a JPEG file, int32, from 1 (upright) to 8.

    Args:
        data: string scalar, the content of any file.
    """
    content = tf.cast(tf.io.decode_raw(data, tf.uint8), tf.int32)
    size = tf.size(content)
    # Positions after the end give the zero that is added here, or are masked.
    content = tf.concat([content, [0]], axis=0)

    def at(place: tf.Tensor) -> tf.Tensor:
        return tf.gather(content, tf.clip_by_value(place, 0, size))

    def number(place: tf.Tensor, count: int, is_little: tf.Tensor) -> tf.Tensor:
        values = [at(place + i) for i in range(count)]
        little = sum(value * 256**i for i, value in enumerate(values))
        big = sum(value * 256**i for i, value in enumerate(reversed(values)))
        return tf.where(is_little, little, big)

    def begins(place: tf.Tensor, expected: bytes) -> tf.Tensor:
        return tf.reduce_all(at(place + tf.range(len(expected))) == list(expected))

    def goes_on(place: tf.Tensor) -> tf.Tensor:
        """Return whether a segment starts here that is neither the EXIF data nor the first scan."""
        marker = at(place + 1)
        is_exif = tf.equal(marker, 0xE1) & begins(place + 4, _EXIF)
        is_last = tf.equal(marker, 0xD9) | tf.equal(marker, 0xDA)
        return (place + 4 <= size) & tf.equal(at(place), 0xFF) & ~is_last & ~is_exif

    def following(place: tf.Tensor) -> tf.Tensor:
        length = tf.maximum(number(place + 2, 2, tf.constant(False)), 2)
        return tf.where(tf.equal(at(place + 1), 0xFF), place + 1, place + 2 + length)

    (place,) = tf.while_loop(goes_on, lambda place: (following(place),), (tf.constant(2),))
    start = place + 4 + len(_EXIF)
    is_little = begins(start, b"II*\0")
    found = begins(tf.constant(0), b"\xff\xd8\xff") & begins(place + 4, _EXIF)
    found &= is_little | begins(start, b"MM\0*")
    directory = start + number(start + 4, 4, is_little)
    count = tf.minimum(number(directory, 2, is_little), _MOST_ENTRIES)
    entries = directory + 2 + 12 * tf.range(tf.where(found, count, 0))
    values = number(entries + 8, 2, is_little)
    fits = (entries >= start) & (entries + 10 <= size) & (values >= 1) & (values <= 8)
    is_orientation = tf.equal(number(entries, 2, is_little), _ORIENTATION)
    is_orientation &= tf.equal(number(entries + 2, 2, is_little), _SHORT) & fits
    return tf.concat([tf.boolean_mask(values, is_orientation), [1]], axis=0)[0]


def _upright(image: tf.Tensor, turned: tf.Tensor) -> tf.Tensor:
    """Turn an image as its EXIF orientation says; see `images.upright`."""
    image = tf.cond(turned >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    for axis, values in enumerate(((3, 4, 7, 8), (2, 3, 6, 7))):
        mirrored = tf.reduce_any(tf.equal(turned, values))
        image = tf.cond(
            mirrored,
            lambda image=image, axis=axis: tf.reverse(image, [axis]),
            lambda image=image: image,
        )
    return image
