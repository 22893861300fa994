"""Shapes of regions, stored in the form of their format until they are drawn into an image."""

import base64
import binascii
import dataclasses
from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

from deeplab.annotations import rasterizer, run_lengths
from deeplab.core.wording import counted


class Shape(Protocol):
    """The pixels of a region."""

    def draw(self, height: int, width: int) -> np.ndarray:
        """Return the pixels of an image of this size that belong to the region.

        Returns:
            bool [height, width].

        Raises:
            ValueError: The stored form is broken, or does not fit this size; the message is the
                end of a sentence that begins with its place.
        """


@dataclasses.dataclass(frozen=True, eq=False)
class Polygons:
    """Polygons; a pixel of any of them belongs to the region.

    Args:
        parts: The vertices of each, float64 [count, 2], x and y.
        relative: Whether 1 is the width or the height of the image; else coordinates are pixels.
    """

    parts: tuple[np.ndarray, ...]
    relative: bool = False

    def draw(self, height: int, width: int) -> np.ndarray:
        """See `Shape`."""
        mask = np.zeros((height, width), bool)
        for part in self.parts:
            vertices = part * (width, height) if self.relative else part
            mask |= rasterizer.polygon(vertices, height, width)
        return mask


def box(left: float, top: float, right: float, bottom: float) -> Polygons:
    """Return a rectangle as a shape, in pixels."""
    corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
    return Polygons((np.array(corners, np.float64),))


@dataclasses.dataclass(frozen=True)
class Ellipse:
    """An ellipse, or a circle.

    Args:
        center: X and y in pixels.
        radii: Half the width and half the height in pixels.
        degrees: How far it is turned clockwise.
    """

    center: tuple[float, float]
    radii: tuple[float, float]
    degrees: float = 0.0

    def draw(self, height: int, width: int) -> np.ndarray:
        """See `Shape`."""
        return rasterizer.ellipse(self.center, self.radii, height, width, self.degrees)


@dataclasses.dataclass(frozen=True, eq=False)
class Strip:
    """A line through points.

    Args:
        points: float64 [count, 2], x and y in pixels.
        line_width: Its width in pixels.
    """

    points: np.ndarray
    line_width: float

    def draw(self, height: int, width: int) -> np.ndarray:
        """See `Shape`."""
        return rasterizer.strip(self.points, self.line_width, height, width)


@dataclasses.dataclass(frozen=True)
class RunLengths:
    """COCO's run-length encoding.

    Args:
        counts: The lengths, or their compressed form.
    """

    counts: Sequence[int] | str

    def draw(self, height: int, width: int) -> np.ndarray:
        """See `Shape`."""
        counts = self.counts
        if isinstance(counts, str):
            counts = run_lengths.coco_counts(counts)
        return run_lengths.coco_mask(counts, height, width)


@dataclasses.dataclass(frozen=True)
class Brush:
    """A brush of Label Studio.

    Args:
        data: Its run-length encoding, of four channels.
    """

    data: bytes

    def draw(self, height: int, width: int) -> np.ndarray:
        """See `Shape`."""
        values = run_lengths.brush_values(self.data)
        if len(values) != 4 * height * width:
            raise ValueError(
                f"has {len(values)} values; four channels of {width}x{height} pixels (width x"
                f" height) are {4 * height * width}"
            )
        return values.reshape(height, width, 4)[..., 3] > 0


def _decode(png: bytes) -> np.ndarray:
    """Return which pixels of a PNG file are not 0, bool [height, width]."""
    try:
        pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise ValueError(f"has a mask that is a broken PNG file ({counted(len(png), 'byte')})")
    # A fourth channel is how opaque the pixel is.
    return pixels[..., :3].any(axis=2) if pixels.ndim == 3 else pixels > 0


@dataclasses.dataclass(frozen=True)
class PlacedMask:
    """A small mask that lies somewhere in the image.

    Args:
        png: Its PNG file, in base64; any value but 0 belongs to the region.
        left: Column of its first pixel, which may be outside of the image.
        top: Row of its first pixel.
        height: Its height.
        width: Its width.
    """

    png: str
    left: int
    top: int
    height: int
    width: int

    def draw(self, height: int, width: int) -> np.ndarray:
        """See `Shape`."""
        try:
            data = base64.b64decode(self.png, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("has a mask that is not base64") from None
        pixels = _decode(data)
        if pixels.shape != (self.height, self.width):
            raise ValueError(
                f"has a mask of {pixels.shape[1]}x{pixels.shape[0]} pixels (width x height), but"
                f" its points, which are inclusive, span {self.width}x{self.height}"
            )
        mask = np.zeros((height, width), bool)
        top, left = max(self.top, 0), max(self.left, 0)
        bottom, right = self.top + self.height, self.left + self.width
        if top < min(bottom, height) and left < min(right, width):
            part = pixels[top - self.top :, left - self.left :]
            part = part[: height - top, : width - left]
            mask[top : top + part.shape[0], left : left + part.shape[1]] = part
        return mask
