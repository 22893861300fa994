"""Pictures of predictions: overlays, and panels with a legend."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from deeplab.visualization import drawing
from deeplab.visualization.colors import Legend, colorize
from deeplab.visualization.drawing import GAP, LINE


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
    legend: Legend,
    *,
    label: np.ndarray | None = None,
    unrefined: np.ndarray | None = None,
    size: int = 480,
) -> np.ndarray:
    """Draw image, label, prediction and overlay side by side, above a legend.

    The legend has the classes that occur in the label or the prediction.

    Args:
        image: RGB [height, width, 3], values 0..255 of any type.
        prediction: Integers [height, width].
        legend: The classes.
        label: The true label, integers [height, width]; None leaves it out.
        unrefined: The prediction before it was refined, integers [height, width]; None leaves its
            overlay out.
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
    predicted = drawing.resize_label(prediction, height, width)
    shown = prediction if unrefined is None else np.stack([prediction, unrefined])
    pictures = {"image": small}
    if label is not None:
        _check_size("label", label, image)
        resized = drawing.resize_label(label, height, width)
        pictures["label"] = colorize(resized, legend.colors, legend.ignore_label)
    pictures["prediction"] = colorize(predicted, legend.colors)
    if unrefined is not None:
        _check_size("prediction before the CRF", unrefined, image)
        before = drawing.resize_label(unrefined, height, width)
        pictures["overlay before the CRF"] = overlay(small, before, legend.colors)
    pictures["overlay"] = overlay(small, predicted, legend.colors)

    entries = drawing.legend_entries(shown, label, legend)
    pitch = max(width, *map(drawing.text_width, pictures)) + GAP
    panel_width = len(pictures) * pitch + GAP
    drawn = drawing.draw_legend(entries, panel_width - 2 * GAP)
    panel_width = max(panel_width, drawn.shape[1] + 2 * GAP)
    canvas = drawing.paper(LINE + height + GAP + drawn.shape[0] + GAP, panel_width)
    for index, (caption, picture) in enumerate(pictures.items()):
        left = GAP + index * pitch
        drawing.text(canvas, caption, left, LINE - 8)
        canvas[LINE : LINE + height, left : left + width] = picture
    top = LINE + height + GAP
    canvas[top : top + drawn.shape[0], GAP : GAP + drawn.shape[1]] = drawn
    return canvas


# The titles of the pictures of `pictures`.
TITLES = ("prediction", "overlay", "panel")


def pictures(
    image: np.ndarray,
    prediction: np.ndarray,
    legend: Legend,
    titles: Sequence[str] = TITLES,
    *,
    label: np.ndarray | None = None,
    unrefined: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Draw what shows a prediction.

    Args:
        image: RGB uint8 [height, width, 3].
        prediction: Integers [height, width].
        legend: The classes.
        titles: The pictures, out of `TITLES`.
        label: See `panel`.
        unrefined: See `panel`.

    Returns:
        By their titles, `prediction` (in colors), `overlay` and `panel`: uint8 [.., .., 3], RGB.

    Raises:
        ValueError: The sizes differ, or a class has no color.
    """
    draw: dict[str, Callable[[], np.ndarray]] = {
        "prediction": lambda: colorize(prediction, legend.colors),
        "overlay": lambda: overlay(image, prediction, legend.colors),
        "panel": lambda: panel(image, prediction, legend, label=label, unrefined=unrefined),
    }
    return {title: draw[title]() for title in titles}


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
