"""Saves labels, predictions and images as PNG files (official `save_annotation.py`)."""

import os
from collections.abc import Mapping

import cv2
import numpy as np

from deeplab.utils import files, get_dataset_colormap


def save_annotation(
    label: np.ndarray,
    save_dir: str | os.PathLike[str],
    filename: str,
    add_colormap: bool = True,
    normalize_to_unit_values: bool = False,
    scale_values: bool = False,
    colormap_type: str | np.ndarray = "pascal",
) -> str:
    """Save an array as `save_dir/filename.png`.

    Args:
        label: With a color map: integers [height, width]. Without: [height, width] or RGB
            [height, width, 3] of any type; fractions are cut off.
        save_dir: The folder; it is made if needed.
        filename: Name of the file without `.png`.
        add_colormap: Save the colors of the labels. The next two arguments then have no effect.
        normalize_to_unit_values: Shift and scale the values to [0, 1], unless all are equal.
        scale_values: Multiply the values by 255.
        colormap_type: Name of an official color map, or colors [entries, 3], RGB 0..255.

    Returns:
        The path of the file. It has 8 bits per channel, or 16 bits for labels above 255.

    Raises:
        ValueError: The array has another shape, or a value that the file cannot hold.
        OSError: The file cannot be written.

    Example:
        save_annotation(prediction, "vis_log", "000000_prediction", colormap_type="cityscapes")
    """
    path = os.path.join(save_dir, f"{filename}.png")
    values = np.asarray(label)
    try:
        if add_colormap:
            values = get_dataset_colormap.label_to_color_image(values, colormap_type)
        else:
            if not np.isfinite(values).all():
                raise ValueError("it has infinite or NaN values")
            if normalize_to_unit_values and values.size and (extent := np.ptp(values)):
                values = (values - values.min()) / extent
            if scale_values:
                values = 255.0 * values
        write_png(path, as_pixels(values))
    except ValueError as error:
        raise ValueError(f"cannot save {path}: {error}") from None
    return path


def as_pixels(values: np.ndarray) -> np.ndarray:
    """Return values as uint8, or as uint16 for labels above 255 (the official code wraps).

    Raises:
        ValueError: A PNG file cannot hold a value.
    """
    low, high = values.min(initial=0), values.max(initial=0)
    wide = values.ndim == 2 and np.issubdtype(values.dtype, np.integer)
    limit = 65535 if wide else 255
    # Fractions are cut off: 255.9 becomes 255.
    if low <= -1 or high >= limit + 1:
        raise ValueError(
            f"its values are {low:g} to {high:g}, but this kind of PNG file holds 0 to {limit}"
            " (normalize_to_unit_values and scale_values together bring them into range)"
        )
    return values.astype(np.uint16 if high >= 256 else np.uint8)


def write_png(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Write a PNG file atomically; see `write_pngs`."""
    write_pngs({path: image})


def write_pngs(images: Mapping[str | os.PathLike[str], np.ndarray]) -> None:
    """Write PNG files: all of them, or none after an error.

    Args:
        images: Path to image: uint8 or uint16 [height, width], or uint8 RGB [height, width, 3].
            Folders are made if needed.

    Raises:
        ValueError: An image has another shape or type, or no pixels.
        OSError: A file cannot be written.
    """
    encoded = {path: _encode(image) for path, image in images.items()}
    with files.replacing_all(list(encoded)) as temporaries:
        for temporary, data in zip(temporaries, encoded.values(), strict=True):
            with open(temporary, "wb") as file:
                file.write(data)


def _encode(image: np.ndarray) -> bytes:
    image = np.asarray(image)
    colored = image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8
    gray = image.ndim == 2 and image.dtype in (np.uint8, np.uint16)
    if not (colored or gray) or not image.size:
        raise ValueError(
            "an image is [height, width] or RGB [height, width, 3], not"
            f" {image.dtype} {list(image.shape)}"
        )
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if colored else image
    encoded, data = cv2.imencode(".png", pixels)
    if not encoded:
        raise ValueError(f"OpenCV cannot write an image of {list(image.shape)} as PNG")
    return data.tobytes()
