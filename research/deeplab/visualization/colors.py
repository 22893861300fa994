"""Colors for label values: a palette for any number of classes, and labels drawn in colors."""

import cv2
import numpy as np

from deeplab.utils import get_dataset_colormap

_MAX_COLORS = 2048
# Levels of each channel in the grid that colors are taken from.
_LEVELS = 14
# Hatching of ignored pixels: period and width of the lines in pixels, gray on white.
_HATCH_PERIOD, _HATCH_WIDTH = 8, 2
_HATCH_LINE, _HATCH_PAPER = 160, 255


def distinct_colors(num_classes: int, *, background: bool = False) -> np.ndarray:
    """Return colors that are easy to tell apart.

    Each color is the one of a grid that is farthest in CIELAB from white, black and all colors
    before it. So a class keeps its color when classes are added after it.

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
    lab = cv2.cvtColor(grid[np.newaxis].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    # Black and white, the first and the last of the grid, are taken from the start.
    distance = np.minimum(*(np.linalg.norm(lab - lab[taken], axis=1) for taken in (0, -1)))
    colors = np.zeros((num_classes, 3), np.uint8)
    for index in range(int(background), num_classes):
        farthest = int(distance.argmax())
        colors[index] = grid[farthest]
        distance = np.minimum(distance, np.linalg.norm(lab - lab[farthest], axis=1))
    return colors


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
