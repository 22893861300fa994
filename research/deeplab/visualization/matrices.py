"""Confusion matrices as pictures."""

import math
from collections.abc import Sequence

import numpy as np

from deeplab.visualization import drawing
from deeplab.visualization.drawing import GAP, LINE

# Pixels of a cell.
_CELL = 44
# Colors of a full cell on the diagonal and beside it: light enough for dark numbers.
_HIT, _MISS = (90, 160, 220), (238, 125, 87)


def draw(shares: np.ndarray, names: Sequence[str], caption: str = "") -> np.ndarray:
    """Draw a confusion matrix in percent: the diagonal is blue, errors are red.

    Args:
        shares: Values of the cells, [labels, predictions]: 0 to 1, or NaN for an empty cell.
        names: Names of rows and columns.
        caption: The text above it.

    Returns:
        uint8 [height, width, 3], RGB.
    """
    side = len(names) * _CELL
    margin = max((drawing.text_width(name) for name in names), default=0) + 2 * GAP
    width = max(margin + side, drawing.text_width(caption) + GAP) + GAP
    canvas = drawing.paper(LINE + GAP + margin + side + GAP, width)
    drawing.text(canvas, caption, GAP, LINE)
    top = LINE + GAP + margin
    for index, name in enumerate(names):
        middle = index * _CELL + _CELL // 2 + 5
        drawing.text(canvas, name, margin - GAP - drawing.text_width(name), top + middle)
        upwards = drawing.paper(LINE, margin - GAP)
        drawing.text(upwards, name, 0, LINE - 7)
        left = margin + middle - LINE // 2 - 5
        canvas[top - GAP - upwards.shape[1] : top - GAP, left : left + LINE] = np.rot90(upwards)
    for row, column in np.ndindex(*shares.shape):
        if not math.isnan(shares[row, column]):
            corner = (top + row * _CELL, margin + column * _CELL)
            _cell(canvas, corner, float(shares[row, column]), row == column)
    return canvas


def _cell(canvas: np.ndarray, corner: tuple[int, int], value: float, hit: bool) -> None:
    (top, left), inner = corner, _CELL - 1
    color = np.array(_HIT if hit else _MISS)
    fill = 255 + (color - 255) * value
    canvas[top : top + inner, left : left + inner] = fill.round().astype(np.uint8)
    # Smaller shares than a tenth of a percent stay without a number.
    if value < 0.0005:
        return
    words = f"{100 * value:.0f}" if value >= 0.0995 else f"{100 * value:.1f}"
    drawing.text(
        canvas, words, left + (inner - drawing.text_width(words)) // 2, top + inner // 2 + 5
    )
