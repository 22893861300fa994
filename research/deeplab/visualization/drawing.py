"""The parts of pictures: paper, text, resized labels and legends."""

import cv2
import numpy as np

from deeplab.visualization.colors import Legend, colorize

# Pixels: between the parts of a picture, a line of text, a swatch of the legend.
GAP = 12
LINE = 24
_SWATCH = 16
_PAPER = (250, 250, 250)
_INK = (40, 40, 40)
_FAINT = (150, 150, 150)
FONT = cv2.FONT_HERSHEY_SIMPLEX
FONT_SCALE = 0.5


def resize_label(label: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize by taking the nearest pixel, for every integer type."""
    label = np.asarray(label)
    rows = ((np.arange(height) + 0.5) * label.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * label.shape[1] / width).astype(int)
    return label[rows[:, np.newaxis], columns]


def legend_entries(
    prediction: np.ndarray, label: np.ndarray | None, legend: Legend
) -> list[tuple[str, np.ndarray]]:
    """Return name and swatch of each class that occurs, by number; ignored pixels come last."""
    names, ignored = legend.class_names, legend.ignore_label
    ignores = label is not None and ignored is not None and (label == ignored).any()
    seen = set(np.unique(prediction).tolist())
    if label is not None:
        seen |= set(np.unique(label).tolist()) - ({ignored} if ignores else set())
    entries = []
    for value in sorted(seen):
        named = names is not None and value < len(names)
        swatch = colorize(np.full((_SWATCH, _SWATCH), value), legend.colors)
        entries.append((f"{value} {names[value]}" if named else str(value), swatch))
    if ignores:
        hatched = np.full((_SWATCH, _SWATCH), ignored)
        entries.append(("ignored", colorize(hatched, legend.colors, ignored)))
    return entries


def draw_legend(entries: list[tuple[str, np.ndarray]], width: int) -> np.ndarray:
    """Draw the entries in as many columns as fit into the width."""
    column = max(text_width(name) for name, _ in entries) + _SWATCH + 8 + 2 * GAP
    columns = min(max(1, width // column), len(entries))
    rows = -(-len(entries) // columns)
    canvas = paper(rows * LINE, columns * column)
    for index, (name, swatch) in enumerate(entries):
        top, left = index // columns * LINE, index % columns * column
        inset = (LINE - _SWATCH) // 2
        canvas[top + inset : top + inset + _SWATCH, left : left + _SWATCH] = swatch
        cv2.rectangle(
            canvas,
            (left, top + inset),
            (left + _SWATCH - 1, top + inset + _SWATCH - 1),
            _FAINT,
        )
        text(canvas, name, left + _SWATCH + 8, top + LINE - 7)
    return canvas


def paper(height: int, width: int) -> np.ndarray:
    """Return an empty canvas, uint8 [height, width, 3]."""
    return np.full((height, width, 3), _PAPER, np.uint8)


def text(canvas: np.ndarray, words: str, left: int, baseline: int) -> None:
    """Write words onto a canvas."""
    cv2.putText(canvas, words, (left, baseline), FONT, FONT_SCALE, _INK, 1, cv2.LINE_AA)


def text_width(words: str) -> int:
    """Return the width of words in pixels."""
    return cv2.getTextSize(words, FONT, FONT_SCALE, 1)[0][0]
