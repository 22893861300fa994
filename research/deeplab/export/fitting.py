"""Fits images of any size to a network whose input has a fixed size.

An image that is small enough is padded below and on the right with the mean pixel, as every export
pads to the crop size, so it gets the same labels as from a SavedModel. A larger one is first shrunk
with its aspect ratio, and its labels are enlarged again, as in the demo of the official code.
"""

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
    """An image at the size of a network's input.

    Attributes:
        pixels: float32 [height, width, 3], 0..255.
        size: Height and width of the image within them, which is at the top left.
    """

    pixels: np.ndarray
    size: tuple[int, int]


def fit(image: np.ndarray, size: Sequence[int], mean_pixel: Sequence[float]) -> Fitted:
    """Bring an image to the size of a network's input.

    Args:
        image: uint8 [height, width, 3], RGB.
        size: Height and width of the input.
        mean_pixel: Color of the padding, 0..255.
    """
    scale = min(1.0, *(side / own for side, own in zip(size, image.shape[:2], strict=True)))
    if scale < 1:
        height, width = (max(1, round(own * scale)) for own in image.shape[:2])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    height, width = image.shape[:2]
    pixels = np.empty((*size, 3), np.float32)
    pixels[:] = mean_pixel
    pixels[:height, :width] = image
    return Fitted(pixels, (height, width))


def restore(labels: np.ndarray, fitted: Fitted, size: Sequence[int]) -> np.ndarray:
    """Return the labels of an image at its own size.

    Args:
        labels: Integers [height, width], of the fitted image.
        fitted: The fitted image.
        size: Height and width of the original image.

    Returns:
        int32 [height, width].
    """
    height, width = fitted.size
    return resize(labels[:height, :width].astype(np.int32), size)


def resize(labels: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resize labels [height, width] by the nearest pixel."""
    if labels.shape == tuple(size):
        return labels
    rows, columns = (
        np.minimum((np.arange(side) + 0.5) * own // side, own - 1).astype(np.intp)
        for side, own in zip(size, labels.shape, strict=True)
    )
    return labels[rows[:, np.newaxis], columns]
