"""Formats of encoded images: what their bytes tell before they are decoded."""

import contextlib
import itertools
import struct
from collections.abc import Collection, Iterator
from typing import NamedTuple

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8\xff"
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_EXIF = b"Exif\0\0"
# Tags of TIFF, and of EXIF, which is TIFF without pixels.
_BITS_PER_SAMPLE, _PHOTOMETRIC, _ORIENTATION, _SAMPLES_PER_PIXEL = 258, 262, 274, 277
_PLANAR_CONFIGURATION, _EXTRA_SAMPLES, _SUBFILE_TYPE = 284, 338, 254
# Bits of the type: a smaller copy of another picture, or its mask.
_COPY_OR_MASK = 1 | 4
_MOST_DIRECTORIES = 1000
# Raised for a place that a file does not have; the second one for places that no file has.
_BEYOND_THE_END = (struct.error, OverflowError)
# The flag of an animation in a WebP file.
_ANIMATION = 2
_SHORT, _LONG = 3, 4
_SEPARATE_PLANES = 2
# Kinds of a fourth band. Decoders multiply colors by the first one.
_UNASSOCIATED_ALPHA, _ASSOCIATED_ALPHA = 2, 1
# Meanings of the values of a TIFF file: darkness, brightness, or entries of its palette.
_DARKNESS, _BRIGHTNESS, _COLORS, _PALETTE_ENTRIES = 0, 1, 2, 3
# The number of a tag that decoders do not know.
_NO_TAG = 65535
BITMAP_SIGNATURE = b"BM"


def image_format(data: bytes) -> str | None:
    """Return `jpeg` or `png`, the formats that records hold; None for any other content."""
    if data.startswith(_JPEG_SIGNATURE):
        return "jpeg"
    return "png" if data.startswith(PNG_SIGNATURE) else None


def orientation(data: bytes) -> int:
    """Return the EXIF orientation of an image, 1 (not turned) to 8.

    Args:
        data: Content of an image file. JPEG, PNG, TIFF and WebP can have an orientation.
    """
    exif = data if data.startswith(_TIFF_SIGNATURES) else _exif(data)
    entry = _tiff_entry(exif, _ORIENTATION)
    return entry[1] if entry and 1 <= entry[1] <= 8 else 1


def header_size(data: bytes) -> tuple[int, int] | None:
    """Return the height and the width that a JPEG or PNG header states; None if there is none."""
    if image_format(data) == "png":
        if len(data) < 24:
            return None
        width, height = struct.unpack_from(">II", data, 16)
        return height, width
    for marker, content in _jpeg_segments(data):
        # Start of frame, of any kind. The other markers in this range are tables.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and len(content) >= 5:
            height, width = struct.unpack_from(">HH", content, 1)
            return height, width
    return None


def png_bit_depth(data: bytes) -> int:
    """Return the number of bits per channel of a PNG file."""
    return data[24] if len(data) > 24 else 8


def is_bilevel(data: bytes) -> bool:
    """Return whether the pixels of a PNG, TIFF or BMP file have one bit."""
    if is_tiff(data):
        entry = _tiff_entry(data, _BITS_PER_SAMPLE)
        return tiff_bands(data) == 1 and (entry is None or entry[1] == 1)
    if data.startswith(BITMAP_SIGNATURE):
        return data[28:30] == b"\1\0"
    return image_format(data) == "png" and png_bit_depth(data) == 1


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type and the content of each whole chunk of a PNG file."""
    position = len(PNG_SIGNATURE)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        yield kind, data[position + 8 : position + 8 + length]
        position += 12 + length


def tiff_bands(data: bytes) -> int:
    """Return the number of bands of a TIFF file; 1 for other content."""
    entry = _tiff_entry(data, _SAMPLES_PER_PIXEL)
    return entry[1] if entry else 1


def has_separate_planes(data: bytes) -> bool:
    """Return whether a TIFF file stores its bands one after the other, not pixel by pixel."""
    entry = _tiff_entry(data, _PLANAR_CONFIGURATION)
    return entry is not None and entry[1] == _SEPARATE_PLANES and tiff_bands(data) > 1


def has_darkness(data: bytes) -> bool:
    """Return whether 0 is white in a TIFF file."""
    entry = _tiff_entry(data, _PHOTOMETRIC)
    return entry is not None and entry[1] == _DARKNESS


def as_stored(data: bytes) -> bytes:
    """Return a file whose pixels decoders do not turn, nor multiply by a fourth band.

    They also read its first three bands as colors, if it says that these are three brightnesses.

    Args:
        data: Content of a TIFF file; others are returned as they are.
    """
    return _with_entries(
        _with_colors(data),
        (_ORIENTATION, range(2, 9), 1),
        (_EXTRA_SAMPLES, (_UNASSOCIATED_ALPHA,), _ASSOCIATED_ALPHA),
    )


def has_more_pictures(data: bytes) -> bool:
    """Return whether a file has pages or frames after the first: PNG, GIF, WebP or TIFF.

    Smaller copies and masks of a picture, which TIFF files may have, are none.
    """
    if image_format(data) == "png":
        frames = (content[:4] for kind, content in png_chunks(data) if kind == b"acTL")
        return int.from_bytes(next(frames, b"")) > 1
    if data.startswith(b"GIF8"):
        return len(list(itertools.islice(_gif_frames(data), 2))) == 2
    if data.startswith(b"RIFF") and data[8:16] == b"WEBPVP8X":
        return data[20:21] != b"" and bool(data[20] & _ANIMATION)
    kinds = [_tiff_entry(data, _SUBFILE_TYPE, start) for start in _tiff_directories(data)]
    return any(kind is None or not kind[1] & _COPY_OR_MASK for kind in kinds[1:])


def _gif_frames(data: bytes) -> Iterator[int]:
    """Yield where each frame of a GIF file begins."""

    def after_colors(position: int) -> int:
        flags = data[position]
        return 3 * 2 ** (flags % 8 + 1) if flags & 128 else 0

    with contextlib.suppress(IndexError):  # The file ends before.
        position = 13 + after_colors(10)
        while data[position] in b"!,":
            if data[position] == ord(","):
                yield position
                position += 11 + after_colors(position + 9)
            else:
                position += 2
            while data[position]:  # Blocks, each after its size.
                position += 1 + data[position]
            position += 1


def is_tiff(data: bytes) -> bool:
    """Return whether this is the content of a TIFF file."""
    return data.startswith(_TIFF_SIGNATURES)


def without_palette(data: bytes) -> bytes:
    """Return a TIFF file whose pixels decoders read as values, not as colors of a palette."""
    return _with_entries(as_stored(data), (_PHOTOMETRIC, (_PALETTE_ENTRIES,), _BRIGHTNESS))


def _with_entries(data: bytes, *changes: tuple[int, Collection[int], int]) -> bytes:
    """Return a TIFF file with other values of tags; other files as they are.

    Args:
        data: Content of the file.
        changes: For each change the tag, the values to replace, and the new value.
    """
    if not is_tiff(data):
        return data
    changed = bytearray(data)
    order = "<" if data.startswith(b"II") else ">"
    for tag, values, replacement in changes:
        entry = _tiff_entry(data, tag)
        if entry and entry[1] in values:
            struct.pack_into(f"{order}H", changed, entry[0], replacement)
    return bytes(changed)


def _with_colors(data: bytes) -> bytes:
    """Return a TIFF file of three or four bands that are colors, as programs for maps write it."""
    bands = tiff_bands(data)
    if bands not in (3, 4) or tiff_values(data, _PHOTOMETRIC) != (_BRIGHTNESS,):
        return data
    changed = bytearray(_with_entries(data, (_PHOTOMETRIC, (_BRIGHTNESS,), _COLORS)))
    extra = _tiff_field(data, _EXTRA_SAMPLES)
    if extra and extra.count > bands - 3:
        order = "<" if data.startswith(b"II") else ">"
        if bands == 3:
            struct.pack_into(f"{order}H", changed, extra.position, _NO_TAG)
        else:
            size = "Q" if b"+" in data[:4] else "I"
            # One value, 0: the fourth band is none that is known. It lies beside its count.
            struct.pack_into(f"{order}{size}I", changed, extra.position + 4, 1, 0)
    return bytes(changed)


def _exif(data: bytes) -> bytes:
    """Return the EXIF data of a JPEG, PNG or WebP file; b"" if there are none."""
    if image_format(data) == "jpeg":
        for marker, content in _jpeg_segments(data):
            if marker == 0xE1 and content.startswith(_EXIF):
                return content.removeprefix(_EXIF)
    elif image_format(data) == "png":
        for kind, content in png_chunks(data):
            if kind == b"eXIf":
                return content.removeprefix(_EXIF)
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        position = 12
        while position + 8 <= len(data):
            kind, length = struct.unpack_from("<4sI", data, position)
            if kind == b"EXIF":
                return data[position + 8 : position + 8 + length].removeprefix(_EXIF)
            position += 8 + length + length % 2
    return b""


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the marker and the content of each segment of a JPEG file before its first scan."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # A fill byte.
            position += 1
            continue
        if marker in (0xD9, 0xDA):  # The end, or a scan.
            return
        length = int.from_bytes(data[position + 2 : position + 4])
        yield marker, data[position + 4 : position + 2 + length]
        position += 2 + max(length, 2)


def _tiff_directories(data: bytes) -> Iterator[int]:
    """Yield where each directory of tags of a TIFF file begins, one for each picture."""
    if not data.startswith(_TIFF_SIGNATURES):
        return
    order = "<" if data.startswith(b"II") else ">"
    is_big = b"+" in data[:4]
    place = 8 if is_big else 4
    with contextlib.suppress(*_BEYOND_THE_END):
        for _ in range(_MOST_DIRECTORIES):
            (start,) = struct.unpack_from(f"{order}{'Q' if is_big else 'I'}", data, place)
            if not start:
                return
            yield start
            (count,) = struct.unpack_from(f"{order}{'Q' if is_big else 'H'}", data, start)
            place = start + (8 + 20 * count if is_big else 2 + 12 * count)


class _Field(NamedTuple):
    """A tag of a TIFF file that holds small integers.

    Attributes:
        position: Where it is.
        place: Where its values are.
        kind: The type of its values, short or long.
        count: Their number.
    """

    position: int
    place: int
    kind: int
    count: int


def _tiff_field(data: bytes, tag: int, start: int | None = None) -> _Field | None:
    """Return a tag that holds small integers; None if it is missing.

    Args:
        data: Content of a file.
        tag: The tag.
        start: Where its directory begins. None: the first one.
    """
    start = next(_tiff_directories(data), None) if start is None else start
    if start is None:
        return None
    order = "<" if data.startswith(b"II") else ">"
    is_big = b"+" in data[:4]
    try:
        number, first, size = ("Q", start + 8, 20) if is_big else ("H", start + 2, 12)
        (fields,) = struct.unpack_from(f"{order}{number}", data, start)
        for index in range(min(fields, 4096)):
            position = first + index * size
            found, kind = struct.unpack_from(f"{order}HH", data, position)
            if found != tag or kind not in (_SHORT, _LONG):
                continue
            (count,) = struct.unpack_from(f"{order}{'Q' if is_big else 'I'}", data, position + 4)
            place = position + (12 if is_big else 8)
            if count * (2 if kind == _SHORT else 4) > (8 if is_big else 4):
                (place,) = struct.unpack_from(f"{order}{'Q' if is_big else 'I'}", data, place)
            return _Field(position, place, kind, count)
    except _BEYOND_THE_END:
        pass
    return None


def _tiff_entry(data: bytes, tag: int, start: int | None = None) -> tuple[int, int] | None:
    """Return the place and the first value, modulo 65536, of a tag; see `_tiff_field`."""
    field = _tiff_field(data, tag, start)
    if field is None:
        return None
    # The lower half of a long integer comes last in big-endian files.
    is_big_endian = not data.startswith(b"II")
    place = field.place + (2 if field.kind == _LONG and is_big_endian else 0)
    try:
        return place, struct.unpack_from(">H" if is_big_endian else "<H", data, place)[0]
    except _BEYOND_THE_END:
        return None


def tiff_values(data: bytes, tag: int) -> tuple[int, ...]:
    """Return the values of a tag of a TIFF file that holds small integers, at most eight."""
    field = _tiff_field(data, tag)
    if field is None:
        return ()
    order = "<" if data.startswith(b"II") else ">"
    kind = "H" if field.kind == _SHORT else "I"
    try:
        return struct.unpack_from(f"{order}{min(field.count, 8)}{kind}", data, field.place)
    except _BEYOND_THE_END:
        return ()
