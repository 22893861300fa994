"""MATLAB files of version 5: the arrays of small integers that label files hold."""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from deeplab.core.wording import counted

_HEADER = 128
# Types of elements, and classes of arrays.
_UINT8, _MATRIX, _COMPRESSED = 2, 14, 15
_STRUCT, _UINT8_ARRAY = 2, 9
# How deep structures may be nested.
_DEEPEST = 8


class _Element(NamedTuple):
    """An element of a file: its type and its content."""

    kind: int
    data: bytes


def find_labels(data: bytes, field: str) -> np.ndarray:
    """Return an array of a MATLAB file, from whatever structure it lies in.

    Args:
        data: Content of the file.
        field: Name of the array.

    Returns:
        uint8 [rows, columns].

    Raises:
        ValueError: The file is broken or of another version, or has no such array; the message is
            the end of a sentence that begins with its name.
    """
    if len(data) < _HEADER or data[126:128] not in (b"IM", b"MI"):
        raise ValueError("is not a MATLAB file of version 5")
    order = "<" if data[126:128] == b"IM" else ">"
    try:
        for element in _elements(data[_HEADER:], order):
            found = _find(element, field, order, "", 0)
            if found is not None:
                return found
    except (struct.error, zlib.error, IndexError, ValueError):
        raise ValueError(f"is a broken MATLAB file ({counted(len(data), 'byte')})") from None
    raise ValueError(f"has no array {field!r} of 8-bit integers")


def _elements(data: bytes, order: str) -> Iterator[_Element]:
    """Yield the elements that follow one another."""
    position = 0
    while position + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, position)
        start = position + 8
        if kind >> 16:
            # A small one: type and size share four bytes, and the content has the other four.
            kind, size, start = kind & 0xFFFF, kind >> 16, position + 4
            position += 8
        else:
            # The next begins at a multiple of 8, but not after compressed ones.
            position = start + size + (0 if kind == _COMPRESSED else -size % 8)
        if start + size > len(data):
            raise struct.error("an element is longer than what is left")
        yield _Element(kind, data[start : start + size])


def _find(element: _Element, field: str, order: str, name: str, depth: int) -> np.ndarray | None:
    """Return an array from an element, or from the structure that it is; None if it has none."""
    if element.kind == _COMPRESSED and depth < _DEEPEST:
        for inner in _elements(zlib.decompress(element.data), order):
            if (found := _find(inner, field, order, name, depth + 1)) is not None:
                return found
        return None
    # An empty array may have no content at all.
    if element.kind != _MATRIX or not element.data or depth >= _DEEPEST:
        return None
    flags, shape, own_name, *rest = _elements(element.data, order)
    kind = struct.unpack_from(f"{order}I", flags.data)[0] & 0xFF
    name = own_name.data.decode() or name
    if kind == _UINT8_ARRAY and name == field:
        dimensions = struct.unpack(f"{order}{len(shape.data) // 4}i", shape.data)
        if rest[0].kind != _UINT8 or len(dimensions) != 2 or min(dimensions) < 0:
            return None
        values = np.frombuffer(rest[0].data, np.uint8)
        if len(values) != dimensions[0] * dimensions[1]:
            raise struct.error("an array has another size than it says")
        return np.ascontiguousarray(values.reshape(dimensions, order="F"))
    if kind == _STRUCT:
        (length,) = struct.unpack_from(f"{order}i", rest[0].data)
        if length <= 0:
            raise struct.error("names of fields have no characters")
        names = [
            rest[1].data[start : start + length].split(b"\0")[0].decode()
            for start in range(0, len(rest[1].data), length)
        ]
        for inner_name, inner in zip(names, rest[2:], strict=False):
            if (found := _find(inner, field, order, inner_name, depth + 1)) is not None:
                return found
    return None
