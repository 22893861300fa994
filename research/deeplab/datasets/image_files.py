"""Plain images as input for evaluation, without records and without labels."""

import os
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import tensorflow as tf

from deeplab import input_preprocess
from deeplab.core import preprocess_utils
from deeplab.datasets.image_formats import image_format
from deeplab.input_preprocess import Preprocessing

# What a folder is searched for; a file that is named may have any name.
_EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def find(images: str) -> list[str]:
    """The image files that a flag names.

    Args:
        images: a folder, a pattern such as `photos/*.jpg`, the path of an image, that of a text
            file (`.txt`) with one path a line, or several of these, separated by commas.

    Returns:
        Their paths; those of a folder or a pattern are sorted.

    Raises:
        FileNotFoundError: something that is named is not there, or there is no image in it.
        ValueError: two of the files have the same base name, that of their results.
    """
    # A path may itself contain a comma.
    parts = [images] if tf.io.gfile.exists(images) else images.split(",")
    paths = [path for part in parts if part.strip() for path in _expand(part.strip())]
    if not paths:
        raise FileNotFoundError("--images names no image")
    by_name: dict[str, str] = {}
    for path in paths:
        other = by_name.setdefault(base_name(path), path)
        if other is not path:
            raise ValueError(
                f"--images names both {other} and {path}: their results would have the same name,"
                f" {base_name(path)}"
            )
    return paths


def base_name(path: str) -> str:
    """The name of a file without its folder and extension."""
    return os.path.splitext(os.path.basename(path))[0]


def _expand(part: str) -> list[str]:
    if tf.io.gfile.isdir(part):
        paths = [os.path.join(part, name) for name in sorted(tf.io.gfile.listdir(part))]
        found = [path for path in paths if path.lower().endswith(_EXTENSIONS)]
        if not found:
            raise FileNotFoundError(
                f"--images: the folder {part} holds no image ({', '.join(_EXTENSIONS)}); for those"
                f" of its folders give a pattern, such as {os.path.join(part, '*', '*.jpg')}"
            )
        return found
    if tf.io.gfile.exists(part):
        return _read_list(part) if part.lower().endswith(".txt") else [part]
    if found := sorted(tf.io.gfile.glob(part)):
        return found
    raise FileNotFoundError(
        f"--images: there is no file {part} (a folder, a pattern, a list of paths, or a .txt file"
        f" with one path a line; working directory: {os.getcwd()})"
    )


def _read_list(file: str) -> list[str]:
    with tf.io.gfile.GFile(file) as stream:
        lines = [line.strip() for line in stream]
    for number, path in enumerate(lines, start=1):
        if path and not tf.io.gfile.exists(path):
            raise FileNotFoundError(
                f"--images: {file}, line {number}: there is no file {path} (working directory:"
                f" {os.getcwd()})"
            )
    return [path for path in lines if path]


def read(path: str) -> np.ndarray:
    """An image as it is meant to be seen: turned as its EXIF data say.

    Args:
        path: of a JPEG, PNG, BMP, GIF, TIFF or WebP file.

    Returns:
        uint8 [height, width, 3], RGB.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no intact image.
    """
    if not tf.io.gfile.exists(path):
        raise FileNotFoundError(f"there is no image {path}")
    with tf.io.gfile.GFile(path, "rb") as file:
        data = file.read()
    pixels = np.frombuffer(data, np.uint8)
    if image_format(data) and not _is_turned(pixels):
        # As images in records are read, to the last digit.
        try:
            return tf.io.decode_jpeg(data, channels=3).numpy()
        except tf.errors.InvalidArgumentError:
            raise ValueError(f"{path} is no intact JPEG or PNG file") from None
    try:
        image = cv2.imdecode(pixels, cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise ValueError(f"{path} is no image that can be read ({len(data)} bytes)")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _is_turned(data: np.ndarray) -> bool:
    """Whether EXIF data turn or mirror an image; decodes it at an eighth of its size."""
    flag = cv2.IMREAD_REDUCED_GRAYSCALE_8
    seen, stored = (
        cv2.imdecode(data, flag),
        cv2.imdecode(data, flag | cv2.IMREAD_IGNORE_ORIENTATION),
    )
    return seen is not None and not np.array_equal(seen, stored)


class ImageFiles:
    """Images from files, in batches with the keys of `data_generator.Dataset.evaluation`.

    There is no `label`; `image_name` is the file's base name.
    """

    def __init__(self, paths: Sequence[str], preprocessing: Preprocessing):
        """Keep what is to be read.

        Args:
            paths: the files.
            preprocessing: how images are prepared.
        """
        self.paths = tuple(paths)
        self._preprocessing = preprocessing

    def __len__(self) -> int:
        """Number of images."""
        return len(self.paths)

    def evaluation(self, batch_size: int) -> Iterator[dict[str, tf.Tensor]]:
        """Yields batches of whole images, padded below and right to the largest of each batch.

        Args:
            batch_size: number of images; the last batch may have fewer.

        Raises:
            FileNotFoundError: a file is not there any more.
            ValueError: a file is no intact image; the message names it.
        """
        for start in range(0, len(self), batch_size):
            yield self._batch(self.paths[start : start + batch_size])

    def _batch(self, paths: Sequence[str]) -> dict[str, tf.Tensor]:
        originals, padded, sizes = [], [], []
        for path in paths:
            image = read(path)
            sizes.append(image.shape[:2])
            original, image, _ = input_preprocess.preprocess_for_evaluation(
                tf.constant(image), None, self._preprocessing
            )
            originals.append(original)
            padded.append(image)
        return {
            "image": _stack(padded, self._preprocessing.mean_pixel),
            "image_name": tf.constant([base_name(path) for path in paths]),
            "height": tf.constant([height for height, _ in sizes], tf.int64),
            "width": tf.constant([width for _, width in sizes], tf.int64),
            "original_image": _stack(originals, 0),
            "original_size": tf.stack([tf.shape(original)[:2] for original in originals]),
        }


def _stack(images: Sequence[tf.Tensor], value: Sequence[float] | int) -> tf.Tensor:
    """Pads images below and right to the size of the largest, and stacks them."""
    height, width = (max(image.shape[axis] for image in images) for axis in range(2))
    return tf.stack(
        [
            preprocess_utils.pad_to_bounding_box(image, 0, 0, height, width, value)
            for image in images
        ]
    )
