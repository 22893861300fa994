"""Contact sheets: many small images, each with what goes with it, on one picture."""

from collections.abc import Sequence

import numpy as np

from deeplab.visualization import drawing
from deeplab.visualization.colors import Legend
from deeplab.visualization.drawing import GAP, LINE
from deeplab.visualization.tiles import Tile

# About how many pixels wide a sheet is.
_WIDTH = 1640


def draw(groups: Sequence[tuple[str, Sequence[Tile]]], legend: Legend) -> np.ndarray:
    """Draw tiles in groups with captions, above a legend.

    Args:
        groups: Caption and tiles of each group.
        legend: The classes.

    Returns:
        uint8 [height, width, 3], RGB.

    Raises:
        ValueError: A class has no color.
    """
    tiles = [tile for _, members in groups for tile in members]
    pitch = max((tile.picture.shape[1] for tile in tiles), default=0) + GAP
    columns = max(1, (_WIDTH - GAP) // pitch)
    width = GAP + columns * pitch
    parts = []
    for caption, members in groups:
        title = drawing.paper(LINE + GAP, width)
        drawing.text(title, caption, GAP, LINE)
        parts.append(title)
        parts += [
            _row(members[first : first + columns], pitch, width)
            for first in range(0, len(members), columns)
        ]
    if seen := sorted({value for tile in tiles for value in tile.values}):
        nothing = np.zeros((0,), int)
        entries = drawing.legend_entries(nothing, np.array(seen), legend)
        drawn = drawing.draw_legend(entries, width - 2 * GAP)
        under = drawing.paper(drawn.shape[0] + 2 * GAP, max(width, drawn.shape[1] + 2 * GAP))
        under[GAP : GAP + drawn.shape[0], GAP : GAP + drawn.shape[1]] = drawn
        parts.append(under)
    widest = max(part.shape[1] for part in parts)
    sheet = drawing.paper(sum(part.shape[0] for part in parts), widest)
    top = 0
    for part in parts:
        sheet[top : top + part.shape[0], : part.shape[1]] = part
        top += part.shape[0]
    return sheet


def _row(tiles: Sequence[Tile], pitch: int, width: int) -> np.ndarray:
    tallest = max(tile.picture.shape[0] for tile in tiles)
    named = any(tile.name for tile in tiles)
    row = drawing.paper(tallest + (LINE if named else 0) + GAP, width)
    for index, tile in enumerate(tiles):
        height, across = tile.picture.shape[:2]
        left = GAP + index * pitch
        row[:height, left : left + across] = tile.picture
        drawing.text(row, _shortened(tile.name, across), left, height + LINE - 8)
    return row


def _shortened(name: str, width: int) -> str:
    """Return the end of a name that fits into a width."""
    shown = name
    while len(shown) > 1 and drawing.text_width(shown) > width:
        name = name[1:]
        shown = f"...{name}"
    return shown
