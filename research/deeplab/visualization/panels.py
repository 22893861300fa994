"""Pictures of predictions: overlays, and panels with a legend."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from deeplab.visualization.colors import colorize

_PAPER = (250, 250, 250)
_INK = (40, 40, 40)
_FAINT = (150, 150, 150)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_SCALE = 0.5
# Pixels: between the parts of a panel, a line of text, a swatch of the legend.
_GAP = 12
_LINE = 24
_SWATCH = 16


def overlay(
    image: np.ndarray,
    prediction: np.ndarray,
    colors: np.ndarray,
    alpha: float = 0.5,
) -> np.ndarray:
    """Blend the colors of a prediction with the image; draw its borders in the full color.

    Args:
        image: RGB [height, width, 3], values 0..255 of any type.
        prediction: Integers [height, width].
        colors: A color for each class, [entries, 3], RGB 0..255. A class whose color is black (a
            background) leaves the image as it is.
        alpha: Weight of the colors, from 0 (only the image) to 1 (only the colors).

    Returns:
        uint8 [height, width, 3], RGB.

    Raises:
        ValueError: The sizes differ, alpha is not in [0, 1], or a class has no color.
    """
    image = _as_image(image)
    _check_size("prediction", prediction, image)
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; it is at least 0 and at most 1")
    colored = colorize(prediction, colors)
    weight = np.where(colored.any(axis=-1), np.float32(alpha), np.float32(0))
    if alpha > 0:
        weight[_borders(prediction) & (weight > 0)] = 1
    weight = weight[..., np.newaxis]
    return (image * (1 - weight) + colored * weight).round().astype(np.uint8)


def panel(
    image: np.ndarray,
    prediction: np.ndarray,
    colors: np.ndarray,
    *,
    label: np.ndarray | None = None,
    unrefined: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
    ignore_label: int | None = None,
    alpha: float = 0.5,
    size: int = 480,
) -> np.ndarray:
    """Draw image, label, prediction and overlay side by side, above a legend.

    The legend has the classes that occur in the label or the prediction.

    Args:
        image: RGB [height, width, 3], values 0..255 of any type.
        prediction: Integers [height, width].
        colors: A color for each class, [entries, 3], RGB 0..255.
        label: The true label, integers [height, width]; None leaves it out.
        unrefined: The prediction before it was refined, integers [height, width]; None leaves its
            overlay out.
        class_names: A name for each class. Without names the legend shows only numbers.
        ignore_label: Value of the ignored pixels of the label; they are hatched.
        alpha: Weight of the colors in the overlay, 0 to 1.
        size: Pixels of the longer side of each picture.

    Returns:
        uint8 [panel height, panel width, 3], RGB.

    Raises:
        ValueError: The sizes differ, or a class has no color.
    """
    image = _as_image(image)
    _check_size("prediction", prediction, image)
    height, width = (max(1, round(side * size / max(image.shape[:2]))) for side in image.shape[:2])
    small = cv2.resize(
        image,
        (width, height),
        interpolation=cv2.INTER_AREA if size < max(image.shape[:2]) else cv2.INTER_CUBIC,
    )
    predicted = _resize_label(prediction, height, width)
    shown = prediction if unrefined is None else np.stack([prediction, unrefined])
    pictures = {"image": small}
    if label is not None:
        _check_size("label", label, image)
        resized = _resize_label(label, height, width)
        pictures["label"] = colorize(resized, colors, ignore_label)
    pictures["prediction"] = colorize(predicted, colors)
    if unrefined is not None:
        _check_size("prediction before the CRF", unrefined, image)
        before = _resize_label(unrefined, height, width)
        pictures["overlay before the CRF"] = overlay(small, before, colors, alpha)
    pictures["overlay"] = overlay(small, predicted, colors, alpha)

    entries = _legend_entries(shown, label, colors, class_names, ignore_label)
    pitch = max(width, *map(_text_width, pictures)) + _GAP
    panel_width = len(pictures) * pitch + _GAP
    legend = _legend(entries, panel_width - 2 * _GAP)
    panel_width = max(panel_width, legend.shape[1] + 2 * _GAP)
    canvas = _paper(_LINE + height + _GAP + legend.shape[0] + _GAP, panel_width)
    for index, (caption, picture) in enumerate(pictures.items()):
        left = _GAP + index * pitch
        _text(canvas, caption, left, _LINE - 8)
        canvas[_LINE : _LINE + height, left : left + width] = picture
    top = _LINE + height + _GAP
    canvas[top : top + legend.shape[0], _GAP : _GAP + legend.shape[1]] = legend
    return canvas


# The titles of the pictures of `pictures`.
TITLES = ("prediction", "overlay", "panel")


def pictures(
    image: np.ndarray, prediction: np.ndarray, colors: np.ndarray, **options: Any
) -> dict[str, np.ndarray]:
    """Draw everything that shows a prediction.

    Args:
        image: RGB uint8 [height, width, 3].
        prediction: Integers [height, width].
        colors: A color for each class, [entries, 3], RGB 0..255.
        **options: Further arguments of `panel`.

    Returns:
        `prediction` (in colors), `overlay` and `panel`: uint8 [.., .., 3], RGB.

    Raises:
        ValueError: The sizes differ, or a class has no color.
    """
    return {
        "prediction": colorize(prediction, colors),
        "overlay": overlay(image, prediction, colors),
        "panel": panel(image, prediction, colors, **options),
    }


def _as_image(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image is RGB [height, width, 3], not {list(image.shape)}")
    return np.clip(image, 0, 255).astype(np.uint8)


def _check_size(name: str, label: np.ndarray, image: np.ndarray) -> None:
    if np.shape(label) != image.shape[:2]:
        raise ValueError(
            f"the {name} has the shape {list(np.shape(label))}, the image {list(image.shape[:2])}"
        )


def _borders(label: np.ndarray) -> np.ndarray:
    """Return which pixels have a neighbor of another class: bool [height, width]."""
    borders = np.zeros(label.shape, bool)
    down, right = label[1:] != label[:-1], label[:, 1:] != label[:, :-1]
    borders[1:] |= down
    borders[:-1] |= down
    borders[:, 1:] |= right
    borders[:, :-1] |= right
    return borders


def _resize_label(label: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize by taking the nearest pixel, for every integer type."""
    label = np.asarray(label)
    rows = ((np.arange(height) + 0.5) * label.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * label.shape[1] / width).astype(int)
    return label[rows[:, np.newaxis], columns]


def _legend_entries(
    prediction: np.ndarray,
    label: np.ndarray | None,
    colors: np.ndarray,
    class_names: Sequence[str] | None,
    ignore_label: int | None,
) -> list[tuple[str, np.ndarray]]:
    """Return name and swatch of each class that occurs, by number; ignored pixels come last."""
    ignores = label is not None and ignore_label is not None and (label == ignore_label).any()
    seen = set(np.unique(prediction).tolist())
    if label is not None:
        seen |= set(np.unique(label).tolist()) - ({ignore_label} if ignores else set())
    entries = []
    for value in sorted(seen):
        named = class_names is not None and value < len(class_names)
        swatch = colorize(np.full((_SWATCH, _SWATCH), value), colors)
        entries.append((f"{value} {class_names[value]}" if named else str(value), swatch))
    if ignores:
        hatched = np.full((_SWATCH, _SWATCH), ignore_label)
        entries.append(("ignored", colorize(hatched, colors, ignore_label)))
    return entries


def _legend(entries: list[tuple[str, np.ndarray]], width: int) -> np.ndarray:
    """Draw the entries in as many columns as fit into the width."""
    column = max(_text_width(name) for name, _ in entries) + _SWATCH + 8 + 2 * _GAP
    columns = min(max(1, width // column), len(entries))
    rows = -(-len(entries) // columns)
    canvas = _paper(rows * _LINE, columns * column)
    for index, (name, swatch) in enumerate(entries):
        top, left = index // columns * _LINE, index % columns * column
        inset = (_LINE - _SWATCH) // 2
        canvas[top + inset : top + inset + _SWATCH, left : left + _SWATCH] = swatch
        cv2.rectangle(
            canvas,
            (left, top + inset),
            (left + _SWATCH - 1, top + inset + _SWATCH - 1),
            _FAINT,
        )
        _text(canvas, name, left + _SWATCH + 8, top + _LINE - 7)
    return canvas


def _paper(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), _PAPER, np.uint8)


def _text(canvas: np.ndarray, text: str, left: int, baseline: int) -> None:
    cv2.putText(canvas, text, (left, baseline), _FONT, _FONT_SCALE, _INK, 1, cv2.LINE_AA)


def _text_width(text: str) -> int:
    return cv2.getTextSize(text, _FONT, _FONT_SCALE, 1)[0][0]
