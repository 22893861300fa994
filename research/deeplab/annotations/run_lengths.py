"""Masks as run lengths: COCO's, uncompressed and compressed, and brushes of Label Studio."""

from collections.abc import Sequence

import numpy as np

from deeplab.core.wording import counted

# COCO's compressed form is text with six bits per character; this one is 0.
_FIRST_CHARACTER = 48
_MORE, _SIGN, _BITS = 0x20, 0x10, 5


def coco_counts(text: str) -> list[int]:
    """Return the lengths that a compressed run-length encoding of COCO holds.

    Each is written in groups of five bits, the lowest first. From the fourth on, the difference to
    the length two before it is written.

    Raises:
        ValueError: The text has a character that cannot be in it, or ends too early.
    """
    counts: list[int] = []
    value = shift = 0
    for position, character in enumerate(text):
        code = ord(character) - _FIRST_CHARACTER
        if not 0 <= code < 64:
            raise ValueError(f"has the character {character!r} at position {position}")
        value |= (code & 0x1F) << shift
        shift += _BITS
        if code & _MORE:
            continue
        if code & _SIGN:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("ends within a number")
    return counts


def coco_mask(counts: Sequence[int], height: int, width: int) -> np.ndarray:
    """Return the mask of COCO's lengths: column by column, the first run is outside.

    Returns:
        bool [height, width].

    Raises:
        ValueError: A length is negative, or their sum is not that of the pixels.
    """
    lengths = np.array(counts, np.int64)
    if lengths.min(initial=0) < 0:
        raise ValueError(f"has the negative length {lengths.min()}")
    if lengths.sum() != height * width:
        raise ValueError(
            f"has {lengths.sum()} pixels; {width}x{height} (width x height) are {height * width}"
        )
    values = np.arange(len(lengths)) % 2 == 1
    return np.ascontiguousarray(np.repeat(values, lengths).reshape(width, height).T)


def brush_values(data: bytes) -> np.ndarray:
    """Return the values of a brush of Label Studio.

    The header has 32 bits for the number of values, 5 for the bits per value minus 1, and four
    times 4 for the bits per length minus 1. Each run has 1 bit that tells whether all its values
    are the same, 2 that choose one of the four sizes, the length minus 1, and the value or values.

    Returns:
        uint8 [values].

    Raises:
        ValueError: The data ends too early, or values do not have 8 bits.
    """
    bits = _Bits(data)
    count, word = bits.read(32), bits.read(5) + 1
    sizes = [bits.read(4) + 1 for _ in range(4)]
    if word != 8:
        raise ValueError(f"has values of {word} bits; a brush has 8")
    if count > 2**31:
        raise ValueError(f"has {count} values, more than an image can have")
    values = np.empty(count, np.uint8)
    position = 0
    while position < count:
        same = bits.read(1)
        end = min(position + bits.read(sizes[bits.read(2)]) + 1, count)
        values[position:end] = bits.read(word) if same else bits.read_bytes(end - position)
        position = end
    return values


class _Bits:
    """Reads numbers from bits, the highest first."""

    def __init__(self, data: bytes):
        self._bits = np.unpackbits(np.frombuffer(data, np.uint8))
        self._position = 0

    def _take(self, count: int) -> np.ndarray:
        end = self._position + count
        if end > len(self._bits):
            raise ValueError(f"ends too early: {counted(len(self._bits) // 8, 'byte')}")
        bits = self._bits[self._position : end]
        self._position = end
        return bits

    def read(self, count: int) -> int:
        """Return a number of this many bits."""
        data = np.packbits(self._take(count)).tobytes()
        return int.from_bytes(data) >> (-count % 8)

    def read_bytes(self, count: int) -> np.ndarray:
        """Return numbers of 8 bits."""
        return np.packbits(self._take(8 * count))
