"""Label files: PNG or TIFF files whose pixels are label values, or colors that stand for them."""

import dataclasses
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from deeplab.core.wording import counted
from deeplab.datasets import images, source_files, tiff_faults
from deeplab.datasets.descriptors import MAX_LABEL, DatasetDescriptor
from deeplab.datasets.image_formats import (
    BITMAP_SIGNATURE,
    PNG_SIGNATURE,
    image_format,
    is_bilevel,
    is_tiff,
    png_bit_depth,
    png_chunks,
    without_palette,
)
from deeplab.utils import files

# Extensions of label files, the most likely first.
EXTENSIONS = (".png", ".tif", ".tiff")

_GRAY, _RGB, _PALETTE, _RGBA = 0, 2, 3, 6
# How many wrong values an error message lists.
_LISTED = 8


class _Values(NamedTuple):
    """The label values of a file.

    Attributes:
        indices: uint8 or uint16 [height, width].
        plain: An 8-bit grayscale PNG file of them, if one is at hand.
    """

    indices: np.ndarray
    plain: bytes | None


def read_indices(data: bytes) -> np.ndarray:
    """Return the label values of a PNG, TIFF or BMP file.

    They are the palette's indices of a file with a palette, such as PASCAL VOC's
    `SegmentationClass`, where image decoders return colors; else the pixels of a grayscale file,
    or of a color file whose channels are all equal.

    Args:
        data: Content of the file.

    Returns:
        uint8 or uint16 [height, width].

    Raises:
        ValueError: The data is not a whole file of these formats, or has colors.
    """
    return _read_indices(data).indices


def _read_indices(data: bytes) -> _Values:
    if is_tiff(data) or data.startswith(BITMAP_SIGNATURE):
        return _Values(_with_opencv(data), None)
    if image_format(data) != "png":
        raise ValueError("is not a PNG file, nor TIFF or BMP")
    # Also of a file with a palette: the checksums of its chunks are verified here.
    pixels = images.decode_values(data)
    bit_depth, color_type = png_bit_depth(data), data[25]
    if color_type == _PALETTE:
        data = _without_palette(data)
        pixels = images.decode_values(data)
    if color_type in (_RGB, _RGBA):
        _refuse_colors(pixels)
    indices = np.ascontiguousarray(pixels[..., 0])
    if bit_depth < 8:
        # Decoders scale the values of files with fewer bits to 0..255.
        return _Values(indices // (255 // (2**bit_depth - 1)), None)
    plain = bit_depth == 8 and color_type in (_GRAY, _PALETTE)
    return _Values(indices, data if plain else None)


def only_alpha(data: bytes, indices: np.ndarray) -> bool:
    """Return whether all label values of a file are equal, while its alpha channel varies.

    Args:
        data: Content of the file.
        indices: Its label values.
    """
    if not indices.size or np.ptp(indices):
        return False
    pixels = images.decode_unchanged(without_palette(data))
    has_alpha = pixels is not None and pixels.ndim == 3 and pixels.shape[2] in (2, 4)
    return has_alpha and bool(np.ptp(pixels[..., -1]) > 0)


def only_alpha_remark(names: Sequence[str]) -> str:
    """Return the remark about the labels of these names, which are `only_alpha`."""
    return (
        f"every pixel of {counted(len(names), 'label')} has one value, such as in that of"
        f" {names[0]}, but"
        " their alpha channel varies: if the mask is the alpha channel, save it as gray values"
    )


def _with_opencv(data: bytes) -> np.ndarray:
    """Return the label values of a TIFF or BMP file, uint8 or uint16 [height, width]."""
    tiff_faults.check(data)
    pixels = images.decode_unchanged(without_palette(data))
    if pixels is None:
        raise ValueError(
            tiff_faults.describe(data)
            or f"is a broken or unknown image file ({counted(len(data), 'byte')})"
        )
    if pixels.ndim == 3:
        _refuse_colors(pixels)
        pixels = pixels[..., 0]
    if is_bilevel(data) and not (pixels % MAX_LABEL).any():
        # Decoders make it 0 and 255, unless a bitmap has other colors.
        pixels = pixels // MAX_LABEL
    if pixels.dtype.kind == "f" and np.array_equal(pixels, np.trunc(pixels)):
        pixels = pixels.astype(np.int64)
    if pixels.dtype.kind not in "ui":
        raise ValueError(f"has values of the type {pixels.dtype}, not whole numbers")
    if pixels.size and not 0 <= pixels.min() <= pixels.max() <= np.iinfo(np.uint16).max:
        raise ValueError(
            f"has values from {pixels.min()} to {pixels.max()}; labels are 0 to {MAX_LABEL}"
        )
    return np.ascontiguousarray(pixels, pixels.dtype if pixels.dtype == np.uint8 else np.uint16)


def _refuse_colors(pixels: np.ndarray) -> None:
    if np.ptp(pixels[..., :3].astype(np.int64), axis=2).any():
        kind = "RGBA" if pixels.shape[2] == 4 else "RGB"
        raise ValueError(
            f"is a color image ({kind}), not label values; build_custom_data converts colors"
            " to labels (--colormap)"
        )


def as_gray(data: bytes) -> bytes:
    """Return an 8-bit grayscale PNG file with the label values of a file (see `read_indices`).

    Raises:
        ValueError: The data is not a whole PNG file, has colors, or values that need 16 bits.
    """
    indices, plain = _read_indices(data)
    if plain is not None:
        return plain
    if indices.max(initial=0) > MAX_LABEL:
        raise ValueError(f"has values up to {indices.max()}; labels must be from 0 to {MAX_LABEL}")
    return encode(indices.astype(np.uint8))


def encode(indices: np.ndarray) -> bytes:
    """Return a grayscale PNG file of label values, uint8 or uint16 [height, width]."""
    encoded, data = cv2.imencode(".png", indices)
    if not encoded:
        raise ValueError(f"cannot encode labels of shape {indices.shape} and type {indices.dtype}")
    return data.tobytes()


def _without_palette(data: bytes) -> bytes:
    """Return the file as grayscale, with the same compressed pixels, without its palette."""
    return _with_color_type(data, _GRAY, {})


def with_palette(data: bytes, colormap: np.ndarray) -> bytes:
    """Return a file with a palette, in which viewers show each label in its color.

    Args:
        data: Content of an 8-bit grayscale PNG file.
        colormap: uint8 [up to 256, 3], RGB, a color for each label.

    Returns:
        Content of a PNG file whose indices are the pixels of `data`.
    """
    return _with_color_type(data, _PALETTE, {b"PLTE": colormap.astype(np.uint8).tobytes()})


def _with_color_type(data: bytes, color_type: int, extra: Mapping[bytes, bytes]) -> bytes:
    """Return a file with another color type, the same pixel bits and more chunks."""
    parts = [PNG_SIGNATURE]

    def add(kind: bytes, content: bytes) -> None:
        checksum = zlib.crc32(kind + content)
        parts.extend((struct.pack(">I", len(content)), kind, content, struct.pack(">I", checksum)))

    for kind, content in png_chunks(data):
        if kind == b"IHDR":
            add(kind, content[:9] + bytes([color_type]) + content[10:])
            for name, value in extra.items():
                add(name, value)
        elif kind in (b"IDAT", b"IEND"):
            add(kind, content)
    return b"".join(parts)


@dataclasses.dataclass(frozen=True)
class Label:
    """A checked label.

    Args:
        data: Content of an 8-bit grayscale PNG file; the source file itself if it is one.
        height: Height in pixels.
        width: Width in pixels.
        only_alpha: Whether all pixels have one value, while an alpha channel of the file varies.
    """

    data: bytes
    height: int
    width: int
    only_alpha: bool = False


@dataclasses.dataclass(frozen=True)
class LabelReader:
    """Reads label files and checks their values.

    Args:
        descriptor: The dataset, which defines the valid labels.
        label_map: Values to replace, with their replacements.
        colors: Label of each color (red, green, blue), for files that hold colors.
        nearest_color: How far a color that is not listed may be from one that is (Euclidean, in
            steps of 0 to 255), to count as the nearest; None: it is an error.
        threshold: Value above which a pixel has label 1, else 0, for masks of two classes; None:
            values are labels.
        remedy: End of the error message about an invalid value: what to change.

    Example:
        reader = LabelReader(descriptors.load("pascal_voc_seg"), remedy="correct the file")
        label = reader.read("SegmentationClass/2007_000032.png")
    """

    descriptor: DatasetDescriptor
    label_map: Mapping[int, int] = dataclasses.field(default_factory=dict)
    colors: Mapping[tuple[int, int, int], int] | None = None
    nearest_color: float | None = None
    threshold: int | None = None
    remedy: str = "another descriptor has other classes"

    def read(self, path: str) -> Label:
        """Read a label file.

        Raises:
            ValueError: The file is broken, has colors instead of values or values instead of
                colors, or has a value that is neither a class nor the ignore label.
            OSError: The file cannot be read.
        """
        data = files.read_bytes(path)
        try:
            return self.parse(data)
        except ValueError as error:
            raise ValueError(f"label {path} {error}") from None

    def parse(self, data: bytes) -> Label:
        """Return the label that the content of a file holds.

        Raises:
            ValueError: As for `read`; the message is the end of a sentence that begins with the
                label.
        """
        values = _read_indices(data) if self.colors is None else self._by_color(data)
        indices = values.indices
        if self.threshold is not None:
            # One bit is black or white for every viewer: any threshold lies between.
            is_one_bit = is_bilevel(data) and indices.max(initial=0) <= 1
            threshold = 0 if is_one_bit else self.threshold
            indices = (indices > threshold).astype(np.uint8)
        indices = self._mapped(indices)
        self.check(indices)
        plain = values.plain
        if plain is None or indices is not values.indices:
            plain = encode(indices.astype(np.uint8))
        height, width = indices.shape
        return Label(plain, height, width, only_alpha(data, values.indices))

    def labels_in(self, path: str) -> frozenset[int]:
        """Return the labels in a label file; see `read`."""
        return frozenset(np.unique(images.decode_values(self.read(path).data)).tolist())

    def drawn(self, label: source_files.DrawnLabel, size: tuple[int, int]) -> Label:
        """Return a label that is drawn.

        Args:
            label: The drawing.
            size: Height and width of the image.

        Raises:
            ValueError: It cannot be drawn; the message begins with the place of its description.
        """
        indices = label.draw(size)
        self.check(indices)
        return Label(encode(indices), *indices.shape)

    def check(self, indices: np.ndarray) -> np.ndarray:
        """Count label values, and reject wrong ones.

        Args:
            indices: Unsigned integers [height, width].

        Returns:
            int64 [256], the number of pixels with each value.

        Raises:
            ValueError: A value is neither a class nor the ignore label.
        """
        counts = np.bincount(indices.ravel(), minlength=MAX_LABEL + 1)
        values = np.flatnonzero(counts)
        wrong = [value for value in values if not self.descriptor.is_label(value)]
        if wrong:
            known = self.descriptor
            raise ValueError(
                f"has values that are neither a class (0 to {known.num_classes - 1}) nor the"
                f" ignore label ({known.ignore_label}):"
                f" {_listed([(str(value), counts[value]) for value in wrong])}; {self.remedy}"
            )
        return counts

    def _mapped(self, indices: np.ndarray) -> np.ndarray:
        if not self.label_map:
            return indices
        table = np.arange(np.iinfo(np.uint16).max + 1, dtype=np.uint16)
        for value, replacement in self.label_map.items():
            table[value] = replacement
        return table[indices]

    def _by_color(self, data: bytes) -> _Values:
        """Return the labels of a color image, which may have a palette."""
        pixels = images.decode(data).pixels.astype(np.uint32)
        red, green, blue = (pixels[..., channel] for channel in range(3))
        codes, inverse, counts = np.unique(
            red << 16 | green << 8 | blue, return_inverse=True, return_counts=True
        )
        found = [(int(code >> 16), int(code >> 8 & 255), int(code & 255)) for code in codes]
        found = [self._nearest(color) for color in found]
        unknown = [
            (str(list(color)), count)
            for color, count in zip(found, counts, strict=True)
            if color not in self.colors
        ]
        if unknown:
            raise ValueError(
                f"has colors that --colormap does not list: {_listed(unknown)} (red, green, blue);"
                " soft edges need --nearest_color"
            )
        labels = np.array([self.colors[color] for color in found], np.uint8)
        return _Values(labels[inverse.reshape(pixels.shape[:2])], None)

    def _nearest(self, color: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return the listed color that a color stands for; itself if there is none."""
        if self.nearest_color is None or color in self.colors:
            return color
        nearest = min(self.colors, key=lambda listed: math.dist(listed, color))
        return nearest if math.dist(nearest, color) <= self.nearest_color else color


def _listed(wrong: list[tuple[str, int]]) -> str:
    """Return a list of wrong values with their numbers of pixels, the most frequent first."""
    wrong = sorted(wrong, key=lambda item: -item[1])
    text = ", ".join(
        f"{value} ({count} {'pixel' if count == 1 else 'pixels'})"
        for value, count in wrong[:_LISTED]
    )
    return text + (f" and {len(wrong) - _LISTED} more" if len(wrong) > _LISTED else "")
