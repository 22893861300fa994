"""The reader of images: one rule for each format, for converters, checks and inference.

JPEG and PNG, which records hold as they are, are decoded as in training: what training cannot
decode is broken. Other formats are decoded by OpenCV. Pixels are those that are stored: EXIF
orientation turns nothing here, and a fourth band is left out.
"""

import contextlib
import dataclasses
from collections.abc import Iterator

import cv2
import numpy as np
import tensorflow as tf

from deeplab.core.wording import counted
from deeplab.datasets import image_formats, tiff_faults

# TensorFlow's decoders of JPEG and PNG refuse an image of this many values (pixels x channels).
MAX_VALUES = 2**29
# Channels of a TIFF image: colors and one more, which is left out.
_MAX_BANDS = 4
# The upper 8 bits of 16-bit images are used. Below this value they look black.
_DARK = 2**14
# Values of an image that vary, but over fewer steps of the upper 8 bits than this, look like one.
_FEW_STEPS = 8


@dataclasses.dataclass(frozen=True, eq=False)
class StoredImage:
    """An image as it is stored in a file.

    Args:
        pixels: uint8 [height, width, 3], RGB.
        orientation: EXIF orientation, 1 to 8; see `upright`.
        narrow_range: Smallest and largest value of a 16-bit image whose upper 8 bits are almost
            black, or almost the same everywhere; None for other images.
        has_more: Whether it is the first of several pages or frames.
    """

    pixels: np.ndarray
    orientation: int = 1
    narrow_range: tuple[int, int] | None = None
    has_more: bool = False

    def upright(self) -> np.ndarray:
        """Return the pixels as viewers show them."""
        return upright(self.pixels, self.orientation)

    def remark(self) -> str:
        """Return a suspicious property of the image; "" if there is none."""
        if self.has_more:
            return "has several pages or frames, of which the first is used"
        if self.narrow_range is None:
            return ""
        low, high = self.narrow_range
        look = "almost black" if high < _DARK else "almost one color"
        return (
            f"has 16-bit values from {low} to {high}, but only the upper 8 bits are used, so that"
            f" it is {look}: scale its values to 0..65535, or convert it to 8 bits"
        )


def decode(data: bytes) -> StoredImage:
    """Decode an image file.

    Args:
        data: Content of a JPEG or PNG file, or of another format that OpenCV reads.

    Returns:
        The image.

    Raises:
        ValueError: The file is broken, too large or not an image; the message is the end of a
            sentence that begins with its name.
    """
    kind = image_formats.image_format(data)
    if kind is not None:
        pixels = _decode_with_tensorflow(data, kind)
        values = _sixteen_bits(data) if kind == "png" else None
    else:
        pixels = _decode_with_opencv(data)
        values = pixels if pixels.dtype == np.uint16 else None
        if values is not None:
            pixels = (pixels >> 8).astype(np.uint8)
    has_more = image_formats.has_more_pictures(data)
    return StoredImage(pixels, image_formats.orientation(data), _narrow_range(values), has_more)


def decode_values(data: bytes) -> np.ndarray:
    """Decode a PNG file to its values, uint8 or uint16 [height, width, channels].

    Raises:
        ValueError: The file is broken or too large.
    """
    _check_size(data)
    dtype = tf.uint16 if image_formats.png_bit_depth(data) == 16 else tf.uint8
    try:
        with tf.device("CPU"):
            return tf.io.decode_png(data, dtype=dtype).numpy()
    except (tf.errors.InvalidArgumentError, UnicodeDecodeError):
        raise ValueError(f"is a broken PNG file ({counted(len(data), 'byte')})") from None


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn an image upright, according to its EXIF orientation.

    Args:
        pixels: [height, width, ...].
        orientation: 1 to 8: mirrored left to right (2), turned by 180 degrees (3), mirrored top to
            bottom (4), transposed (5), turned by 90 degrees clockwise (6), transposed along the
            other diagonal (7), turned by 90 degrees counterclockwise (8).
    """
    if orientation >= 5:
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _decode_with_tensorflow(data: bytes, kind: str) -> np.ndarray:
    _check_size(data)
    try:
        with tf.device("CPU"):
            # Despite its name this operation decodes PNG as well; the input pipeline uses it.
            return tf.io.decode_jpeg(data, channels=3).numpy()
    except (tf.errors.InvalidArgumentError, UnicodeDecodeError):
        raise ValueError(
            f"is a broken {kind.upper()} file, which TensorFlow cannot decode"
            f" ({counted(len(data), 'byte')})"
        ) from None


def _check_size(data: bytes) -> None:
    height, width = image_formats.header_size(data) or (0, 0)
    _check_values(height, width)


def _check_values(height: int, width: int) -> None:
    if height * width * 3 >= MAX_VALUES:
        raise ValueError(
            f"is too large: {width}x{height} pixels (width x height); TensorFlow decodes at most"
            f" {(MAX_VALUES - 1) // 3} pixels"
        )


def _decode_with_opencv(data: bytes) -> np.ndarray:
    """Return uint8 or uint16 [height, width, 3], RGB."""
    if (bands := image_formats.tiff_bands(data)) > _MAX_BANDS:
        raise ValueError(
            f"has {bands} bands; TIFF images have at most {_MAX_BANDS}: save the three that are"
            " red, green and blue"
        )
    tiff_faults.check(data)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        with without_remarks():
            pixels = cv2.imdecode(np.frombuffer(image_formats.as_stored(data), np.uint8), flags)
    except cv2.error as error:
        if "CV_IO_MAX_IMAGE" in str(error):
            raise ValueError(
                "is too large: OpenCV decodes at most 2^30 pixels, and 2^20 per side"
            ) from None
        pixels = None
    if pixels is None:
        _refuse_type(decode_unchanged(data))
        raise ValueError(
            tiff_faults.describe(data)
            or f"is not an image that can be read ({counted(len(data), 'byte')})"
        )
    _refuse_type(pixels)
    if pixels.dtype == np.uint16 and image_formats.has_separate_planes(data):
        # OpenCV mixes the bands up.
        raise ValueError(
            "has 16-bit bands in separate planes, which cannot be read: save it with 8 bits, or"
            " pixel by pixel (PlanarConfiguration 1)"
        )
    _check_values(*pixels.shape[:2])
    if pixels.dtype == np.uint16 and image_formats.has_darkness(data):
        pixels = ~pixels  # OpenCV does so with 8 bits only.
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _refuse_type(pixels: np.ndarray | None) -> None:
    if pixels is not None and pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"has values of the type {pixels.dtype}; images have 8 or 16 bits: convert it"
        )


def decode_unchanged(data: bytes) -> np.ndarray | None:
    """Return the values of a file as OpenCV reads them, of any type and number of channels."""
    try:
        with without_remarks():
            return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None


@contextlib.contextmanager
def without_remarks() -> Iterator[None]:
    """Keep OpenCV from printing several lines about a file: there is one error, which names it."""
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)


def _sixteen_bits(data: bytes) -> np.ndarray | None:
    """Return the colors of a 16-bit PNG file; None for fewer bits."""
    if image_formats.png_bit_depth(data) != 16:
        return None
    with tf.device("CPU"):
        return tf.io.decode_png(data, channels=3, dtype=tf.uint16).numpy()


def _narrow_range(values: np.ndarray | None) -> tuple[int, int] | None:
    if values is None or not values.size:
        return None
    low, high = int(values.min()), int(values.max())
    is_lost = low < high and (high >> 8) - (low >> 8) < _FEW_STEPS
    return (low, high) if high < _DARK or is_lost else None
