"""Why OpenCV cannot read a TIFF file, whose tags allow more than any decoder knows."""

from deeplab.datasets import image_formats

# Tags.
_BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 259, 262, 339
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
# Kinds of compression that the decoder knows, though it may have been built without some. Of a file
# with another one it returns zeros.
_KNOWN = {
    *(1, 2, 3, 4, 5, 6, 7, 8, 32766, 32771, 32773, 32809, 32946, 34661, 34676, 34677, 34887),
    *(34925, 50000, 50001),
}
_NAMES = {
    6: "old JPEG",
    **dict.fromkeys((33003, 33005, 34712), "JPEG 2000"),
    34661: "JBIG",
    34887: "LERC",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
    **dict.fromkeys((50002, 52546), "JPEG XL"),
}
# Kinds that are in every build.
_USUAL = {1, 2, 3, 4, 5, 7, 8, 32773, 32946}
_SAVE_UNCOMPRESSED = "save it with LZW or Deflate, or without compression"
# Number of pixels in a tile that OpenCV takes multiples of.
_TILE_UNIT = 1024
# Kinds of values.
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_TYPES = {_FLOAT: "floats", 5: "complex integers", 6: "complex floats"}
_READABLE_BITS = {
    _UNSIGNED: {1, 8, 10, 12, 14, 16, 32, 64},
    _SIGNED: {8, 16, 32, 64},
    _FLOAT: {32, 64},
}
# Meanings of the values. Those that are read: brightness, RGB, a palette, CMYK and YCbCr.
_CMYK, _CIELAB = 5, 8
_READABLE_MEANINGS = (0, 1, 2, 3, _CMYK, 6)
_MEANINGS = {
    4: "a mask",
    _CMYK: "CMYK",
    _CIELAB: "CIELab",
    32803: "raw pixels of a camera",
    34892: "raw pixels of a camera",
}


def check(data: bytes) -> None:
    """Reject a file that the decoder would read wrongly.

    It returns zeros for a compression that it does not know, and makes gray CIELab pixels yellow.

    Args:
        data: Content of an image file of any format.

    Raises:
        ValueError: It is such a file; the message is the end of a sentence that begins with its
            name.
    """
    if _compression(data) not in _KNOWN:
        raise ValueError(_of_compression(data))
    if _meaning(data) == _CIELAB:
        raise ValueError(_of_meaning(data))


def describe(data: bytes) -> str:
    """Return why a TIFF file cannot be read, to follow its name; "" if that cannot be told.

    Args:
        data: Content of an image file that OpenCV refuses.
    """
    if not image_formats.is_tiff(data):
        return ""
    if _compression(data) not in _USUAL:
        return _of_compression(data)
    bits = set(image_formats.tiff_values(data, _BITS))
    kind = _first(data, _SAMPLE_FORMAT, _UNSIGNED)
    if len(bits) > 1:
        return f"has bands of different types ({_listed(bits)} bits): save all with 8 or 16 bits"
    readable = _READABLE_BITS.get(kind, set())
    if image_formats.tiff_bands(data) > 1:
        readable = readable - {1}
    if bits - readable:
        (bit,) = bits
        name = _TYPES.get(kind, "values")
        return f"has {bit}-bit {name}, which cannot be read: save it with 8 or 16 bits"
    width, height = (_first(data, tag, 0) for tag in (_TILE_WIDTH, _TILE_HEIGHT))
    if width * height % _TILE_UNIT:
        return (
            f"has tiles of {width}x{height} pixels, which cannot be read: save it in strips, or in"
            " tiles of 256x256 pixels"
        )
    meaning = _meaning(data)
    bands = image_formats.tiff_bands(data)
    if meaning not in _READABLE_MEANINGS or (meaning == _CMYK and bands != 4):
        return _of_meaning(data)
    return ""


def _first(data: bytes, tag: int, default: int) -> int:
    """Return the first value of a tag."""
    return (*image_formats.tiff_values(data, tag), default)[0]


def _compression(data: bytes) -> int:
    return _first(data, _COMPRESSION, 1)


def _of_compression(data: bytes) -> str:
    kind = _compression(data)
    name = _NAMES.get(kind, f"method {kind}")
    return f"is compressed with {name}, which cannot be read: {_SAVE_UNCOMPRESSED}"


def _meaning(data: bytes) -> int:
    return _first(data, _PHOTOMETRIC, 1)


def _of_meaning(data: bytes) -> str:
    meaning = _meaning(data)
    name = _MEANINGS.get(meaning, f"PhotometricInterpretation {meaning}")
    return f"has pixels of a kind that cannot be read ({name}): save it as RGB or grayscale"


def _listed(numbers: set[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
