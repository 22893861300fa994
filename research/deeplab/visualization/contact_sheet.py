"""Contact sheets: many small images, each with its label beside it, on one picture."""

from collections.abc import Sequence

import cv2
import numpy as np

from deeplab.visualization import drawing
from deeplab.visualization.colors import colorize
from deeplab.visualization.drawing import GAP, LINE

# How many images are side by side, each with its label.
_COLUMNS = 6

Sample = tuple[np.ndarray, np.ndarray | None]


def draw(
    groups: Sequence[tuple[str, Sequence[Sample]]],
    colors: np.ndarray,
    *,
    class_names: Sequence[str] | None = None,
    ignore_label: int | None = None,
    size: int = 128,
) -> np.ndarray:
    """Draw images and labels in groups with captions, above a legend.

    Args:
        groups: Caption and samples of each group. A sample is an image, RGB uint8
            [height, width, 3], and its label, integers [height, width], or None.
        colors: A color for each class, [entries, 3], RGB 0..255.
        class_names: A name for each class. Without names the legend shows only numbers.
        ignore_label: Value of the ignored pixels of the labels; they are hatched.
        size: Pixels of the longer side of an image on the sheet.

    Returns:
        uint8 [height, width, 3], RGB.

    Raises:
        ValueError: A class has no color.
    """
    width = GAP + _COLUMNS * (2 * size + GAP)
    parts, seen = [], set()
    for caption, samples in groups:
        title = drawing.paper(LINE + GAP, width)
        drawing.text(title, caption, GAP, LINE)
        parts.append(title)
        for first in range(0, len(samples), _COLUMNS):
            row = samples[first : first + _COLUMNS]
            parts.append(_row(row, colors, ignore_label, size, width))
            seen.update(*(np.unique(label).tolist() for _, label in row if label is not None))
    if seen:
        nothing = np.zeros((0,), int)
        entries = drawing.legend_entries(
            nothing, np.array(sorted(seen)), colors, class_names, ignore_label
        )
        legend = drawing.legend(entries, width - 2 * GAP)
        under = drawing.paper(legend.shape[0] + 2 * GAP, max(width, legend.shape[1] + 2 * GAP))
        under[GAP : GAP + legend.shape[0], GAP : GAP + legend.shape[1]] = legend
        parts.append(under)
    widest = max(part.shape[1] for part in parts)
    sheet = drawing.paper(sum(part.shape[0] for part in parts), widest)
    top = 0
    for part in parts:
        sheet[top : top + part.shape[0], : part.shape[1]] = part
        top += part.shape[0]
    return sheet


def _row(
    samples: Sequence[Sample], colors: np.ndarray, ignore_label: int | None, size: int, width: int
) -> np.ndarray:
    pictures = []
    for image, label in samples:
        height, across = (
            max(1, round(side * size / max(image.shape[:2]))) for side in image.shape[:2]
        )
        small = cv2.resize(image, (across, height), interpolation=cv2.INTER_AREA)
        colored = drawing.paper(height, across)
        if label is not None:
            resized = drawing.resize_label(label, height, across)
            colored = colorize(resized, colors, ignore_label)
        pictures.append(np.concatenate([small, colored], axis=1))
    row = drawing.paper(max(picture.shape[0] for picture in pictures) + GAP, width)
    for index, picture in enumerate(pictures):
        left = GAP + index * (2 * size + GAP)
        row[: picture.shape[0], left : left + picture.shape[1]] = picture
    return row
