"""Small pictures for a page: an image with its labels and errors, and crops with an outline."""

import base64
import dataclasses

import cv2
import numpy as np

from deeplab.visualization import drawing
from deeplab.visualization.colors import Legend, colorize

# The pictures of `layers`, from the bottom to the top.
LAYERS = ("image", "label", "prediction", "errors")
# Pixels of the longer side, tried in this order until the pictures are small enough.
_SIDES = (480, 400, 320, 256, 200, 160, 128, 96, 64, 48, 32)
_PHOTO_QUALITY = 62
# Above 100 WebP is lossless.
_LOSSLESS = 101
# Marks wrong and ignored pixels, RGBA.
_WRONG = (230, 40, 30, 255)
_IGNORED = (128, 128, 128, 150)
_OUTLINES = (((0, 0, 0), 4), ((255, 225, 0), 2))


@dataclasses.dataclass(frozen=True)
class Layers:
    """Pictures of the same size that lie over each other.

    Args:
        uris: The `data:` URI of each of `LAYERS`.
        width: Pixels.
        height: Pixels.
    """

    uris: tuple[str, ...]
    width: int
    height: int


def layers(
    image: np.ndarray,
    label: np.ndarray,
    prediction: np.ndarray,
    legend: Legend,
    max_bytes: int = 40_000,
) -> Layers:
    """Draw image, label, prediction and errors as small as needed.

    In the errors, wrong pixels are red, ignored ones gray, and right ones transparent.

    Args:
        image: RGB [height, width, 3], 0..255.
        label: Integers [height, width].
        prediction: Integers [height, width].
        legend: The classes.
        max_bytes: Bytes of all URIs together, if a side of 32 pixels can do with it.
    """
    image = np.clip(image, 0, 255).astype(np.uint8)
    longest = max(image.shape[:2])
    for side in _SIDES:
        if side > longest and side != _SIDES[-1]:
            continue
        scale = min(1, side / longest)
        height, width = (max(1, round(scale * length)) for length in image.shape[:2])
        small = _resize(image, height, width)
        truth, predicted = (
            drawing.resize_label(each, height, width) for each in (label, prediction)
        )
        uris = (
            _uri(small, _PHOTO_QUALITY),
            _uri(colorize(truth, legend.colors, legend.ignore_label), _LOSSLESS),
            _uri(colorize(predicted, legend.colors), _LOSSLESS),
            _uri(errors(truth, predicted, legend.ignore_label), _LOSSLESS),
        )
        if sum(map(len, uris)) <= max_bytes:
            break
    return Layers(uris, width, height)


def errors(
    label: np.ndarray, prediction: np.ndarray, ignore_label: int | None = None
) -> np.ndarray:
    """Return uint8 [height, width, 4], RGBA: wrong pixels red, ignored gray, right transparent."""
    picture = np.zeros((*label.shape, 4), np.uint8)
    picture[label != prediction] = _WRONG
    if ignore_label is not None:
        picture[label == ignore_label] = _IGNORED
    return picture


def outlined(image: np.ndarray, mask: np.ndarray, side: int = 200) -> str:
    """Cut out a region of an image with what surrounds it, and outline it.

    Args:
        image: RGB [height, width, 3], 0..255.
        mask: The region, bool [height, width], not empty.
        side: Pixels of the longer side of the picture, at most.

    Returns:
        A `data:` URI.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    margin = max(len(rows), len(columns), 64) // 3
    crop = _around(rows, margin, mask.shape[0]), _around(columns, margin, mask.shape[1])
    picture = np.clip(image[crop], 0, 255).astype(np.uint8)
    scale = side / max(picture.shape[:2])
    height, width = (max(1, round(scale * length)) for length in picture.shape[:2])
    picture = np.ascontiguousarray(_resize(picture, height, width))
    inside = drawing.resize_label(mask[crop].astype(np.uint8), height, width)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    for color, thickness in _OUTLINES:
        cv2.drawContours(picture, contours, -1, color, thickness, cv2.LINE_AA)
    return _uri(picture, _PHOTO_QUALITY)


def _around(places: np.ndarray, margin: int, length: int) -> slice:
    """Return the part of an axis from the first to the last place, and a margin on either side."""
    return slice(max(0, int(places[0]) - margin), min(length, int(places[-1]) + 1 + margin))


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    smaller = height < image.shape[0]
    return cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    )


def _uri(picture: np.ndarray, quality: int) -> str:
    """Encode RGB or RGBA pixels as WebP."""
    swap = cv2.COLOR_RGBA2BGRA if picture.shape[2] == 4 else cv2.COLOR_RGB2BGR
    settings = [cv2.IMWRITE_WEBP_QUALITY, quality]
    _, data = cv2.imencode(".webp", cv2.cvtColor(picture, swap), settings)
    return "data:image/webp;base64," + base64.b64encode(data.tobytes()).decode()
