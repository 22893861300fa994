"""Tiles: an image with its label, its prediction and the errors side by side, as one picture."""

import base64
import dataclasses
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from deeplab.visualization import drawing, thumbnails
from deeplab.visualization.colors import Legend, colorize

# Pixels between the pictures of a tile.
SEAM = 3
# Under the errors, the image is gray, and so much lighter.
_FADED = 0.65


@dataclasses.dataclass(frozen=True, eq=False)
class Tile:
    """An image and what goes with it.

    Args:
        picture: RGB uint8 [height, width, 3].
        parts: The pictures from left to right: `image`, `label`, `prediction`, `errors`.
        values: The values of label and prediction, sorted.
        name: The text below it on a sheet.
    """

    picture: np.ndarray
    parts: tuple[str, ...]
    values: tuple[int, ...] = ()
    name: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the tile as JSON values; see `of_json`."""
        _, data = cv2.imencode(".png", cv2.cvtColor(self.picture, cv2.COLOR_RGB2BGR))
        picture = base64.b64encode(data.tobytes()).decode()
        return {**dataclasses.asdict(self), "picture": picture}

    @classmethod
    def of_json(cls, json: Mapping[str, Any]) -> "Tile":
        """Return the tile that `as_json` was called for."""
        data = np.frombuffer(base64.b64decode(json["picture"]), np.uint8)
        picture = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        return cls(picture, tuple(json["parts"]), tuple(json["values"]), json["name"])


def draw(
    image: np.ndarray,
    label: np.ndarray | None,
    prediction: np.ndarray | None,
    legend: Legend,
    *,
    size: int = 128,
    name: str = "",
) -> Tile:
    """Draw an image beside its label, its prediction and the errors, as far as they are known.

    In the errors, wrong pixels are red and ignored ones gray, over the faded image.

    Args:
        image: RGB [height, width, 3], 0..255.
        label: Integers [height, width].
        prediction: Integers [height, width].
        legend: The classes.
        size: Pixels of the longer side of the image in the tile.
        name: See `Tile`.

    Raises:
        ValueError: A class has no color.
    """
    image = np.clip(image, 0, 255).astype(np.uint8)
    height, width = (max(1, round(side * size / max(image.shape[:2]))) for side in image.shape[:2])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    pictures, values = {"image": small}, set()
    if label is not None:
        label = drawing.resize_label(label, height, width)
        pictures["label"] = colorize(label, legend.colors, legend.ignore_label)
        values.update(np.unique(label).tolist())
    if prediction is not None:
        prediction = drawing.resize_label(prediction, height, width)
        pictures["prediction"] = colorize(prediction, legend.colors)
        values.update(np.unique(prediction).tolist())
    if label is not None and prediction is not None:
        pictures["errors"] = _errors(small, label, prediction, legend.ignore_label)
    first, *others = pictures.values()
    strip = drawing.paper(height, SEAM)
    picture = np.concatenate([first, *(x for each in others for x in (strip, each))], axis=1)
    return Tile(picture, tuple(pictures), tuple(sorted(values)), name)


def _errors(
    image: np.ndarray, label: np.ndarray, prediction: np.ndarray, ignore_label: int | None
) -> np.ndarray:
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., np.newaxis]
    faded = 255 * _FADED + gray * (1 - _FADED)
    marks = thumbnails.errors(label, prediction, ignore_label)
    weight = marks[..., 3:] / 255
    return (faded * (1 - weight) + marks[..., :3] * weight).round().astype(np.uint8)
