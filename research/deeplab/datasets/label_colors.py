"""The file of colors that stand for classes (flag `--colormap` of build_custom_data)."""

import dataclasses
from typing import Any

from deeplab.core.options import fields
from deeplab.utils import files

IGNORE = "ignore"


@dataclasses.dataclass(frozen=True)
class Colors:
    """The colors of a dataset's label images.

    Args:
        labels: Label of each color (red, green, blue).
        colormap: First color of each class.
        names: Name of each class; None if the file has no names.
    """

    labels: dict[tuple[int, int, int], int]
    colormap: tuple[tuple[int, int, int], ...]
    names: tuple[str, ...] | None


def read_colors(path: str, ignore_label: int) -> Colors:
    """Read a file of colors (flag `--colormap`).

    Raises:
        ValueError: The file is malformed, or two classes have the same color.
        OSError: The file cannot be read.
    """
    entries = files.read_json(path)
    named = isinstance(entries, dict)
    if not named and not isinstance(entries, list):
        raise ValueError(
            f"{path} holds {fields.quoted(entries)}; it must be an object or a list of colors"
        )
    items = list(entries.items()) if named else [(str(i), color) for i, color in enumerate(entries)]
    labels: dict[tuple[int, int, int], int] = {}
    colormap, names = [], []
    for name, value in items:
        colors = _colors(value, f"{path}: the color of {name}")
        label = ignore_label if name == IGNORE else len(names)
        for color in colors:
            if labels.setdefault(color, label) != label:
                raise ValueError(f"{path}: the color {list(color)} of {name} is also another's")
        if name != IGNORE:
            names.append(name)
            colormap.append(colors[0])
    return Colors(labels, tuple(colormap), tuple(names) if named else None)


def _colors(value: Any, what: str) -> list[tuple[int, int, int]]:
    """Return the colors of a class, which has one or a list of several."""
    several = isinstance(value, list) and value and all(isinstance(c, list) for c in value)
    colors = [tuple(c) if isinstance(c, list) else () for c in (value if several else [value])]
    for color in colors:
        if len(color) != 3 or not all(type(v) is int and 0 <= v <= 255 for v in color):
            raise ValueError(
                f"{what} is {fields.quoted(value)}; it must be [red, green, blue], 0 to 255"
            )
    return colors
