"""Image files decoded within a graph, where a file that cannot be read fails alone.

TensorFlow's decoders fail the whole request. A dataset of one element can ignore the errors of its
map, so each file is decoded in one. What its header tells is checked before.
"""

from collections.abc import Callable

import tensorflow as tf

from deeplab.core.options import export_options

# The status of a file.
FINE, EMPTY, UNKNOWN_FORMAT, DAMAGED, TOO_LARGE = range(5)

# Bytes of a header that tell format and size; JPEG files have the size somewhere behind.
_HEADER = 32
_EXIF = b"Exif\0\0"
_ORIENTATION, _SHORT = 274, 3
_MOST_ENTRIES = 4096


def decode(
    data: tf.Tensor, max_pixels: int | None = None, exif_orientation: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the status and the image of a file.

    Args:
        data: string scalar, the content of a JPEG, PNG, GIF, BMP or WebP file.
        max_pixels: most pixels of an image, height times width. None: what TensorFlow decodes.
        exif_orientation: turn JPEG files as their EXIF data say.

    Returns:
        status: int32 scalar: 0 fine, 1 empty, 2 unknown format, 3 damaged, 4 more pixels.
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
            return tf.cond(is_large, lambda: (TOO_LARGE, nothing), lambda: (FINE, image))

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
    """Return what the header of a file tells; reading a damaged JPEG header is an error."""
    size = tf.strings.length(data)
    header = tf.io.decode_raw(tf.strings.substr(data, 0, _HEADER), tf.uint8)
    header = tf.cast(tf.pad(header, [[0, _HEADER - tf.size(header)]]), tf.int64)

    def begins(*parts: bytes | None) -> tf.Tensor:
        """Whether the header begins with these bytes; None: any byte."""
        places = [place for place, part in enumerate(parts) if part is not None]
        values = [parts[place] for place in places]
        return tf.reduce_all(tf.gather(header, places) == tf.constant(values, tf.int64))

    def number(place: int, count: int, *, big: bool = False) -> tf.Tensor:
        """The unsigned number in these bytes."""
        powers = range(count)[:: -1 if big else 1]
        return sum(header[place + i] * 256**power for i, power in enumerate(powers))

    def signed(place: int) -> tf.Tensor:
        value = number(place, 4)
        return tf.abs(tf.where(value < 2**31, value, value - 2**32))

    def jpeg() -> tuple[tf.Tensor, tf.Tensor]:
        shape = tf.image.extract_jpeg_shape(data)
        return tf.cast(shape[0], tf.int64), tf.cast(shape[1], tf.int64)

    webp = (*b"RIFF", *[None] * 4, *b"WEBP")
    # Least size, beginning, and height and width.
    formats: list[tuple[int, tf.Tensor, Callable[[], tuple[tf.Tensor, tf.Tensor]]]] = [
        (3, begins(*b"\xff\xd8\xff"), jpeg),
        (
            24,
            begins(*b"\x89PNG\r\n\x1a\n"),
            lambda: (number(20, 4, big=True), number(16, 4, big=True)),
        ),
        (10, begins(*b"GIF8"), lambda: (number(8, 2), number(6, 2))),
        (26, begins(*b"BM"), lambda: (signed(22), signed(18))),
        (30, begins(*webp, *b"VP8 "), lambda: (number(28, 2) % 2**14, number(26, 2) % 2**14)),
        (
            25,
            begins(*webp, *b"VP8L"),
            lambda: (number(21, 4) // 2**14 % 2**14 + 1, number(21, 4) % 2**14 + 1),
        ),
        (30, begins(*webp, *b"VP8X"), lambda: (number(27, 3) + 1, number(24, 3) + 1)),
    ]

    def of_size(least: int, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        damaged = (size < least) | (height < 1) | (width < 1)
        large = _pixels(height, width) > most
        return tf.where(damaged, DAMAGED, tf.where(large, TOO_LARGE, FINE))

    return tf.case(
        [
            (tf.equal(size, 0), lambda: tf.constant(EMPTY)),
            *(
                (begun, lambda least=least, sides=sides: of_size(least, *sides()))
                for least, begun, sides in formats
            ),
        ],
        default=lambda: tf.constant(UNKNOWN_FORMAT),
    )


def orientation(data: tf.Tensor) -> tf.Tensor:
    """Return how a viewer turns a JPEG file: its EXIF orientation, int32, 1 (not at all) to 8.

    Args:
        data: string scalar, the content of any file.
    """
    content = tf.cast(tf.io.decode_raw(data, tf.uint8), tf.int32)
    size = tf.size(content)
    # Positions behind the end give the zero there, or are masked.
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
        """Whether another segment before the first scan lies there, and it is not the EXIF data."""
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
