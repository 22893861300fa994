"""Label images on disk: PNG files whose pixels are label values, never colours."""

import dataclasses
import struct
import zlib
from collections.abc import Iterator, Mapping

import cv2
import numpy as np

from deeplab.datasets.descriptors import MAX_LABEL, DatasetDescriptor

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6
# How many wrong values an error lists.
_LISTED = 8


def read_indices(data: bytes) -> np.ndarray:
    """The label values of a PNG file.

    Of a palette file they are the palette's indices, as in PASCAL VOC's `SegmentationClass`. Image
    decoders give its colours instead. A grey-scale file has them as pixels; so has a colour file
    whose channels are all equal.

    Args:
        data: the file's content.

    Returns:
        uint8 or uint16 [height, width].

    Raises:
        ValueError: the data is no whole PNG file, or has colours.
    """
    return _read_indices(data)[0]


def _read_indices(data: bytes) -> tuple[np.ndarray, bytes | None]:
    """`read_indices`, and an 8-bit grey-scale file with the same pixels where one is at hand."""
    if not data.startswith(PNG_SIGNATURE):
        raise ValueError("is no PNG file")
    bit_depth, color_type = struct.unpack_from(">BB", data, 24) if len(data) > 25 else (0, _GREY)
    if color_type == _PALETTE:
        data = _without_palette(data)
    pixels = decode(data, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise ValueError(f"is a broken PNG file ({len(data)} bytes)")
    if pixels.ndim == 3:
        if color_type != _GREY_ALPHA and np.ptp(pixels[..., :3], axis=2).any():
            kind = "RGBA" if color_type == _RGBA else "RGB"
            raise ValueError(
                f"is a colour image ({kind}), not label values; build_custom_data turns colours"
                " into labels (--colormap)"
            )
        pixels = np.ascontiguousarray(pixels[..., 0])
    if bit_depth < 8:
        # Decoders stretch the values of files with fewer bits over 0..255.
        return pixels // (255 // (2**bit_depth - 1)), None
    plain = bit_depth == 8 and color_type in (_GREY, _PALETTE)
    return pixels, data if plain else None


def as_grey(data: bytes) -> bytes:
    """The 8-bit grey-scale PNG file with the label values of a PNG file (see `read_indices`).

    Raises:
        ValueError: the data is no whole PNG file, has colours, or values that need 16 bits.
    """
    indices, plain = _read_indices(data)
    if plain is not None:
        return plain
    if indices.max(initial=0) > MAX_LABEL:
        raise ValueError(f"has values up to {indices.max()}; labels are from 0 to {MAX_LABEL}")
    return encode(indices.astype(np.uint8))


def decode(data: bytes, flags: int) -> np.ndarray | None:
    """`cv2.imdecode` of a file's content; None where it cannot be decoded."""
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None


def encode(indices: np.ndarray) -> bytes:
    """An 8-bit grey-scale PNG file of label values uint8 [height, width]."""
    encoded, data = cv2.imencode(".png", indices)
    if not encoded:
        raise ValueError(f"cannot encode labels of shape {indices.shape} and type {indices.dtype}")
    return data.tobytes()


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each chunk of a PNG file, as far as it is whole."""
    position = len(PNG_SIGNATURE)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        yield kind, data[position + 8 : position + 8 + length]
        position += 12 + length


def _without_palette(data: bytes) -> bytes:
    """The same file as grey-scale: the compressed pixels are untouched, the palette is dropped."""
    return _with_color_type(data, _GREY, {})


def with_palette(data: bytes, colormap: np.ndarray) -> bytes:
    """The same file with a palette, which shows each label in its colour.

    Args:
        data: content of an 8-bit grey-scale PNG file.
        colormap: uint8 [up to 256, 3], RGB, a colour for each label.

    Returns:
        Content of a PNG file whose indices are the pixels of `data`.
    """
    return _with_color_type(data, _PALETTE, {b"PLTE": colormap.astype(np.uint8).tobytes()})


def _with_color_type(data: bytes, color_type: int, extra: Mapping[bytes, bytes]) -> bytes:
    """A PNG file with another colour type and its pixels' bits, with chunks after the header."""
    parts = [PNG_SIGNATURE]

    def add(kind: bytes, content: bytes) -> None:
        checksum = zlib.crc32(kind + content)
        parts.extend((struct.pack(">I", len(content)), kind, content, struct.pack(">I", checksum)))

    for kind, content in _chunks(data):
        if kind == b"IHDR":
            add(kind, content[:9] + bytes([color_type]) + content[10:])
            for name, value in extra.items():
                add(name, value)
        elif kind in (b"IDAT", b"IEND"):
            add(kind, content)
    return b"".join(parts)


@dataclasses.dataclass(frozen=True)
class Label:
    """A label that was read and checked.

    Attributes:
        data: content of an 8-bit grey-scale PNG file; that of the source, where it is one.
        height: its height in pixels.
        width: its width in pixels.
    """

    data: bytes
    height: int
    width: int


@dataclasses.dataclass(frozen=True)
class LabelReader:
    """Reads label files and checks their values.

    Attributes:
        descriptor: tells which values are labels.
        label_map: values to replace, and by what.
        colors: label of each colour (red, green, blue); files then hold colours, not values.
        remedy: which flags change what is a label; ends the error about a value that is none.
    """

    descriptor: DatasetDescriptor
    label_map: Mapping[int, int] = dataclasses.field(default_factory=dict)
    colors: Mapping[tuple[int, int, int], int] | None = None
    remedy: str = "another descriptor has other classes"

    def read(self, path: str) -> Label:
        """Reads a label file.

        Raises:
            ValueError: the file is broken, has colours where values are wanted or the other way
                round, or has a value that is neither a class nor the ignore label.
            OSError: it cannot be read.
        """
        with open(path, "rb") as file:
            data = file.read()
        try:
            source, plain = (_read_indices(data)) if self.colors is None else self._by_color(data)
            indices = self._mapped(source)
            self.check(indices)
        except ValueError as error:
            raise ValueError(f"label {path} {error}") from None
        if plain is None or indices is not source:
            plain = encode(indices.astype(np.uint8))
        height, width = indices.shape
        return Label(plain, height, width)

    def check(self, indices: np.ndarray) -> np.ndarray:
        """Counts label values.

        Args:
            indices: unsigned integers [height, width].

        Returns:
            int64 [256], the number of pixels with each value.

        Raises:
            ValueError: a value is neither a class nor the ignore label.
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

    def _by_color(self, data: bytes) -> tuple[np.ndarray, None]:
        """The labels of a colour image; a palette file counts as one."""
        pixels = decode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if pixels is None:
            raise ValueError(f"is a broken image ({len(data)} bytes)")
        blue, green, red = (pixels[..., channel].astype(np.uint32) for channel in range(3))
        codes, inverse, counts = np.unique(
            red << 16 | green << 8 | blue, return_inverse=True, return_counts=True
        )
        found = [(int(code >> 16), int(code >> 8 & 255), int(code & 255)) for code in codes]
        unknown = [
            (str(list(color)), count)
            for color, count in zip(found, counts, strict=True)
            if color not in self.colors
        ]
        if unknown:
            raise ValueError(
                f"has colours that --colormap does not list: {_listed(unknown)} (red, green, blue)"
            )
        labels = np.array([self.colors[color] for color in found], np.uint8)
        return labels[inverse.reshape(pixels.shape[:2])], None


def _listed(wrong: list[tuple[str, int]]) -> str:
    """Wrong values with their numbers of pixels, the most frequent first."""
    wrong = sorted(wrong, key=lambda item: -item[1])
    text = ", ".join(
        f"{value} ({count} {'pixel' if count == 1 else 'pixels'})"
        for value, count in wrong[:_LISTED]
    )
    return text + (f" and {len(wrong) - _LISTED} more" if len(wrong) > _LISTED else "")
