"""Pictures of predictions: coloured labels, overlays and panels with a legend."""

from collections.abc import Sequence

import cv2
import numpy as np

from deeplab.utils import get_dataset_colormap

_PAPER = (250, 250, 250)
_INK = (40, 40, 40)
_FAINT = (150, 150, 150)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_SCALE = 0.5
# Pixels: between the parts of a panel, a line of text, a swatch of the legend.
_GAP = 12
_LINE = 24
_SWATCH = 16


def colorize(
    label: np.ndarray, colormap: str | np.ndarray, ignore_label: int | None = None
) -> np.ndarray:
    """Gives every pixel the colour of its label; ignored pixels are hatched in white and grey.

    Args:
        label: integers [height, width].
        colormap: an official map's name, or colours [entries, 3], RGB 0..255.
        ignore_label: label of the pixels that do not count.

    Returns:
        uint8 [height, width, 3], RGB.

    Raises:
        ValueError: a label has no colour.
    """
    label = np.asarray(label)
    ignored = np.zeros(label.shape, bool) if ignore_label is None else label == ignore_label
    colors = get_dataset_colormap.label_to_color_image(np.where(ignored, 0, label), colormap)
    if ignored.any():
        rows, columns = np.indices(label.shape, sparse=True)
        hatch = np.where((rows + columns) % 8 < 2, 160, 255).astype(np.uint8)
        colors[ignored] = hatch[ignored][:, np.newaxis]
    return colors


def overlay(
    image: np.ndarray,
    prediction: np.ndarray,
    colormap: str | np.ndarray,
    alpha: float = 0.5,
) -> np.ndarray:
    """Lays the colours of a prediction over the image, with the full colour along its borders.

    Args:
        image: RGB [height, width, 3], values 0..255 of any type.
        prediction: integers [height, width].
        colormap: an official map's name, or colours [entries, 3], RGB 0..255. A class whose colour
            is black (a background) leaves the image as it is.
        alpha: weight of the colours, 0 (the image alone) to 1 (the colours alone).

    Returns:
        uint8 [height, width, 3], RGB.

    Raises:
        ValueError: the sizes differ, alpha is not in [0, 1], or a label has no colour.
    """
    image = _as_image(image)
    _check_size("prediction", prediction, image)
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; it is at least 0 and at most 1")
    colors = colorize(prediction, colormap)
    weight = np.where(colors.any(axis=-1), np.float32(alpha), np.float32(0))
    if alpha > 0:
        weight[_borders(prediction) & (weight > 0)] = 1
    weight = weight[..., np.newaxis]
    return (image * (1 - weight) + colors * weight).round().astype(np.uint8)


def panel(
    image: np.ndarray,
    prediction: np.ndarray,
    colormap: str | np.ndarray,
    *,
    label: np.ndarray | None = None,
    unrefined: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
    ignore_label: int | None = None,
    alpha: float = 0.5,
    size: int = 480,
) -> np.ndarray:
    """Image, label, prediction and overlay side by side, over a legend of the classes that occur.

    Args:
        image: RGB [height, width, 3], values 0..255 of any type.
        prediction: integers [height, width].
        colormap: an official map's name, or colours [entries, 3], RGB 0..255.
        label: the true label, integers [height, width], if there is one.
        unrefined: the prediction before it was refined, likewise; its overlay is added.
        class_names: a name for each class; without them the legend has the numbers alone.
        ignore_label: value of the label's pixels that do not count; they are hatched.
        alpha: weight of the colours in the overlay, 0 to 1.
        size: pixels of the longer side of each of the pictures.

    Returns:
        uint8 [panel height, panel width, 3], RGB.

    Raises:
        ValueError: the sizes differ, or a label has no colour.
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
        pictures["label"] = colorize(resized, colormap, ignore_label)
    pictures["prediction"] = colorize(predicted, colormap)
    if unrefined is not None:
        _check_size("prediction before it", unrefined, image)
        before = _resize_label(unrefined, height, width)
        pictures["overlay before the CRF"] = overlay(small, before, colormap, alpha)
    pictures["overlay"] = overlay(small, predicted, colormap, alpha)

    entries = _legend_entries(shown, label, colormap, class_names, ignore_label)
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
    """Where a pixel's right or lower neighbour, or the pixel it is that of, is of another class."""
    borders = np.zeros(label.shape, bool)
    down, right = label[1:] != label[:-1], label[:, 1:] != label[:, :-1]
    borders[1:] |= down
    borders[:-1] |= down
    borders[:, 1:] |= right
    borders[:, :-1] |= right
    return borders


def _resize_label(label: np.ndarray, height: int, width: int) -> np.ndarray:
    """Takes the nearest pixel; works for every integer type."""
    label = np.asarray(label)
    rows = ((np.arange(height) + 0.5) * label.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * label.shape[1] / width).astype(int)
    return label[rows[:, np.newaxis], columns]


def _legend_entries(
    prediction: np.ndarray,
    label: np.ndarray | None,
    colormap: str | np.ndarray,
    class_names: Sequence[str] | None,
    ignore_label: int | None,
) -> list[tuple[str, np.ndarray]]:
    """Name and swatch of each class that occurs, in the order of the classes; ignored last."""
    ignores = label is not None and ignore_label is not None and (label == ignore_label).any()
    seen = set(np.unique(prediction).tolist())
    if label is not None:
        seen |= set(np.unique(label).tolist()) - ({ignore_label} if ignores else set())
    entries = []
    for value in sorted(seen):
        named = class_names is not None and value < len(class_names)
        swatch = colorize(np.full((_SWATCH, _SWATCH), value), colormap)
        entries.append((f"{value} {class_names[value]}" if named else str(value), swatch))
    if ignores:
        hatched = np.full((_SWATCH, _SWATCH), ignore_label)
        entries.append(("ignored", colorize(hatched, colormap, ignore_label)))
    return entries


def _legend(entries: list[tuple[str, np.ndarray]], width: int) -> np.ndarray:
    """Lays the entries out in columns, as many as the width takes."""
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
