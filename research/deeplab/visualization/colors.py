"""Colors for label values: a palette for any number of classes, and labels drawn in colors."""

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from deeplab.utils import get_dataset_colormap

_MAX_COLORS = 2048
# Levels of each channel in the grid that colors are taken from.
_LEVELS = 14
# What a dichromat sees of linear RGB (Machado, Oliveira and Fernandes 2009, severity 1): without
# the cones for long, middle and short waves.
_DEFICIENCIES = (
    (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
)
# Weight of the distances that dichromats see, who see fewer colors that lie closer together. With
# it, common color vision loses little.
_DEFICIENCY_WEIGHT = 2.0
# Colors that differ for common color vision alone still count as different.
_TIE_BREAKER = 1e-3
# Hatching of ignored pixels: period and width of the lines in pixels, gray on white.
_HATCH_PERIOD, _HATCH_WIDTH = 8, 2
_HATCH_LINE, _HATCH_PAPER = 160, 255


@dataclasses.dataclass(frozen=True, eq=False)
class Legend:
    """The meaning of label values, and the way pictures show them.

    Args:
        colors: A color for each class, [entries, 3], RGB 0..255.
        class_names: A name for each class. None: pictures show only numbers.
        ignore_label: Value of the ignored pixels of a true label; they are hatched. None: no pixel
            is ignored.
    """

    colors: np.ndarray
    class_names: Sequence[str] | None = None
    ignore_label: int | None = None


def distinct_colors(num_classes: int, *, background: bool = False) -> np.ndarray:
    """Return colors that are easy to tell apart, with any kind of color vision.

    Each color is the color of a grid that is farthest from white, black and all earlier colors. So
    a class keeps its color when classes are added after it. The distance of two colors is the
    smallest that anyone sees in CIELAB, with common color vision or without one kind of cones.

    Args:
        num_classes: Number of colors.
        background: Class 0 is a background and becomes black.

    Returns:
        uint8 [num_classes, 3], RGB, all different. None is white; only a background is black.

    Raises:
        ValueError: There are more than 2048 classes.
    """
    if not 0 <= num_classes <= _MAX_COLORS:
        raise ValueError(f"can make 0 to {_MAX_COLORS} colors, not {num_classes}")
    levels = np.linspace(0, 255, _LEVELS).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    seen = _as_seen(grid)
    # Black and white, the first and the last of the grid, are taken from the start.
    distance = np.minimum(_distances(seen, 0), _distances(seen, -1))
    colors = np.zeros((num_classes, 3), np.uint8)
    for index in range(int(background), num_classes):
        farthest = int(distance.argmax())
        colors[index] = grid[farthest]
        distance = np.minimum(distance, _distances(seen, farthest))
    return colors


def _as_seen(colors: np.ndarray) -> np.ndarray:
    """Return colors as each kind of color vision sees them, common color vision first.

    Args:
        colors: uint8 [count, 3], RGB.

    Returns:
        float32 [kinds, count, 3]: CIELAB, multiplied by the weight of its distances.
    """
    values = colors / 255.0
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    kinds = [values]
    for deficiency in _DEFICIENCIES:
        light = np.clip(linear @ np.transpose(deficiency), 0, 1)
        kinds.append(
            np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
        )
    lab = cv2.cvtColor(np.stack(kinds).astype(np.float32), cv2.COLOR_RGB2LAB)
    lab[1:] *= _DEFICIENCY_WEIGHT
    return lab


def _distances(seen: np.ndarray, index: int) -> np.ndarray:
    """Return the distances of all colors from one of them, float32 [count]."""
    each = np.linalg.norm(seen - seen[:, [index]], axis=-1)
    return each.min(axis=0) + _TIE_BREAKER * each[0]


def colorize(label: np.ndarray, colors: np.ndarray, ignore_label: int | None = None) -> np.ndarray:
    """Give every pixel the color of its label, and hatch ignored pixels in white and gray.

    Args:
        label: Integers [height, width].
        colors: A color for each label, [entries, 3], RGB 0..255.
        ignore_label: Label of the ignored pixels.

    Returns:
        uint8 [height, width, 3], RGB.

    Raises:
        ValueError: A label has no color.
    """
    label = np.asarray(label)
    ignored = np.zeros(label.shape, bool) if ignore_label is None else label == ignore_label
    picture = get_dataset_colormap.label_to_color_image(np.where(ignored, 0, label), colors)
    if ignored.any():
        rows, columns = np.indices(label.shape, sparse=True)
        lines = (rows + columns) % _HATCH_PERIOD < _HATCH_WIDTH
        hatch = np.where(lines, _HATCH_LINE, _HATCH_PAPER).astype(np.uint8)
        picture[ignored] = hatch[ignored][:, np.newaxis]
    return picture
