"""Perceptual hashes of images: 64 bits that copies, crops and neighboring frames share.

The hash is that of the low frequencies of an image: changes of size, format, compression and
brightness, small crops and small motions change few of its bits.
"""

from collections.abc import Sequence

import cv2
import numpy as np

# Images are near-duplicates if at most this many of the 64 bits differ. Measured on CamVid: new
# sizes, JPEG at quality 10, noise, brighter images and crops by 2 % change 0 to 4 bits, crops by
# 5 % up to 6, and so do video frames of a slow second. Street scenes of different places differ in
# 10 or more bits, unrelated photographs in about 32.
MAX_DISTANCE = 6
# The hash of every image without contrast. Such images do not count as alike.
NO_HASH = 0

_BITS = 64
# The image is reduced to this many pixels per side.
_SIDE = 32
# Standard deviation in gray levels below which there is nothing to compare.
_LEAST_CONTRAST = 2.0
# How many pairs are compared at once, which bounds the memory.
_PAIRS = 2**21


def _lowest_frequencies() -> np.ndarray:
    """Return the positions of the 64 lowest frequencies but the constant one, in a flat DCT."""
    rows, columns = (axis.ravel() for axis in np.indices((_SIDE, _SIDE)))
    return np.lexsort((rows, rows + columns))[1 : _BITS + 1]


_FREQUENCIES = _lowest_frequencies()


def of_image(pixels: np.ndarray) -> int:
    """Return the hash of an image.

    Args:
        pixels: uint8 [height, width, 3], RGB.

    Returns:
        64 bits, half of them 1; `NO_HASH` if the image has no contrast.
    """
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    if small.std() < _LEAST_CONTRAST:
        return NO_HASH
    coefficients = cv2.dct(small).ravel()[_FREQUENCIES]
    bits = coefficients > np.median(coefficients)
    return int.from_bytes(np.packbits(bits).tobytes())


def nearest(
    hashes: Sequence[int], others: Sequence[int], max_distance: int = MAX_DISTANCE
) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest of other hashes for each hash.

    Two hashes that differ in at most n bits are equal in at least one of n + 1 bands of bits. So
    only those that share a band are compared.

    Args:
        hashes: N hashes.
        others: M hashes.
        max_distance: Number of bits that may differ.

    Returns:
        The positions in `others`, int64 [n], -1 where none is near, and the numbers of bits that
        differ, int64 [n]. If several are equally near, the first one counts.
    """
    own, inverse = np.unique(np.asarray(hashes, np.uint64), return_inverse=True)
    theirs, positions = np.unique(np.asarray(others, np.uint64), return_index=True)
    # Distance and position in one number, so that the smallest is the nearest and the first.
    best = np.full(len(own), np.iinfo(np.int64).max)
    edges = np.linspace(0, _BITS, max_distance + 2).astype(int)
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        mask = np.uint64((1 << int(high - low)) - 1)
        bands = (theirs >> np.uint64(low)) & mask
        order = np.argsort(bands, kind="stable")
        wanted = (own >> np.uint64(low)) & mask
        first = np.searchsorted(bands[order], wanted, "left")
        counts = np.searchsorted(bands[order], wanted, "right") - first
        for rows in _chunks(counts):
            repeated = np.repeat(rows, counts[rows])
            starts = np.cumsum(counts[rows]) - counts[rows]
            within = np.arange(len(repeated)) - np.repeat(starts, counts[rows])
            found = order[first[repeated] + within]
            distances = np.bitwise_count(own[repeated] ^ theirs[found]).astype(np.int64)
            np.minimum.at(best, repeated, distances << 32 | positions[found])
    distances = best >> 32
    is_near = (distances <= max_distance) & (own != NO_HASH)
    places = np.where(is_near, best & 0xFFFFFFFF, -1)
    return places[inverse], np.where(is_near, distances, -1)[inverse]


def _chunks(counts: np.ndarray) -> list[np.ndarray]:
    """Divide rows into runs that have few pairs together, but at least one row each."""
    rows = np.flatnonzero(counts)
    if not len(rows):
        return []
    return np.split(rows, np.flatnonzero(np.diff(np.cumsum(counts[rows]) // _PAIRS)) + 1)
