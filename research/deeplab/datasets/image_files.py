"""Plain images as input for inference, without records and without labels."""

import collections
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from deeplab import input_preprocess
from deeplab.annotations import lists
from deeplab.core import preprocess_utils
from deeplab.core.wording import counted
from deeplab.datasets import images, patterns
from deeplab.input_preprocess import Preprocessing
from deeplab.sharing.teams import Share
from deeplab.utils import file_systems, files, temporary_files

# The images of a folder; a file that is named may have any name.
_EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# A path may contain commas, which also separate paths: at most this many parts are tried as one.
_MAX_PARTS = 8


def find(images: str, more_extensions: Sequence[str] = ()) -> list[str]:
    """Return the image files that the flag `--images` names.

    Args:
        images: A folder, a pattern such as `photos/*.jpg`, the path of an image, that of a text
            file (`.txt`) with one path per line, or several of these, separated by commas. What
            exists is taken literally, also if its name has a comma or is a pattern.
        more_extensions: Extensions of other files that are taken too, such as videos.

    Returns:
        Their paths, each once; those of a folder or a pattern are sorted, without hidden files.

    Raises:
        FileNotFoundError: Something that is named is not there, or there is no image in it.
        ValueError: A text file is not UTF-8.
    """
    paths: dict[str, str] = {}
    for part in _parts(images):
        for path in _expand(part, (*_EXTENSIONS, *more_extensions)):
            paths.setdefault(_absolute(path), path)
    if not paths:
        raise FileNotFoundError(f"--images={images} names no image")
    return list(paths.values())


def result_names(paths: Sequence[str]) -> list[str]:
    """Return a name for the results of each image.

    It is the image's name without folder and extension. If several images have the same name, all
    names keep their folders below the folder that they have in common; images of one folder that
    differ in the extension only keep that, too. If such a name is that of another image, all keep
    their extensions.

    Args:
        paths: Different paths of images.

    Returns:
        The names, no two of which are equal.
    """
    names = [os.path.splitext(os.path.basename(path))[0] for path in paths]
    if len(set(names)) == len(names):
        return names
    paths = [_absolute(path) for path in paths]
    shared = os.path.commonprefix([os.path.dirname(path).split("/") for path in paths])
    paths = ["/".join(path.split("/")[len(shared) :]) for path in paths]
    names = [os.path.splitext(path)[0] for path in paths]
    counts = collections.Counter(names)
    names = [path if counts[name] > 1 else name for path, name in zip(paths, names, strict=True)]
    return names if len(set(names)) == len(names) else paths


def refuse_overwriting(flag: str, paths: Iterable[str], results: Iterable[str]) -> None:
    """Reject results that would replace an image or a label that is read, or have no name.

    Args:
        flag: Flag that names the folder of the results.
        paths: Paths of the images and labels.
        results: Paths of the results.

    Raises:
        ValueError: A result has the path of one of them, and the message names both; or its name
            would be too long.
    """
    by_path = {os.path.realpath(path): path for path in paths}
    for result in results:
        if image := by_path.get(os.path.realpath(result)):
            raise ValueError(
                f"--{flag}: {result} would replace the image {image}, which is read: choose another"
                " folder"
            )
        if not temporary_files.has_room(result):
            raise ValueError(
                f"--{flag}: {result} has a name that is too long to be written: rename the image"
            )


def _absolute(path: str) -> str:
    return path if file_systems.is_remote(path) else os.path.abspath(path)


def _parts(images: str) -> Iterator[str]:
    """Yield the parts of a list; one that exists may contain commas."""
    pieces = images.split(",")
    start = 0
    while start < len(pieces):
        for end in range(min(start + _MAX_PARTS, len(pieces)), start, -1):
            part = ",".join(pieces[start:end])
            if not file_systems.exists(part):  # A name may begin or end with a space.
                part = part.strip()
            if end == start + 1 or (part and (file_systems.exists(part) or patterns.expand(part))):
                break
        if part:
            yield part
        start = end


def _expand(part: str, extensions: tuple[str, ...]) -> list[str]:
    if file_systems.is_folder(part):
        found = [
            os.path.join(part, name)
            for name in file_systems.names_in(part)
            if name.lower().endswith(extensions) and not name.startswith(".")
        ]
        are_folders = file_systems.ask(file_systems.is_folder, found)
        found = [path for path, is_folder in zip(found, are_folders, strict=True) if not is_folder]
        if not found:
            raise FileNotFoundError(
                f"--images: the folder {part} holds no image ({', '.join(extensions)}); for those"
                f" of its folders give a pattern, such as {os.path.join(part, '*', '*.jpg')}"
            )
        return found
    if file_systems.exists(part):
        return _read_list(part) if part.lower().endswith(".txt") else [part]
    if found := patterns.expand(part):
        return found
    raise FileNotFoundError(
        f"--images: there is no file {part} (a folder, a pattern, a list of paths, or a .txt file"
        f" with one path per line; working directory: {os.getcwd()})"
    )


def _read_list(file: str) -> list[str]:
    lines = lists.read(file)
    are_there = file_systems.ask(file_systems.exists, [line.text for line in lines])
    for line, is_there in zip(lines, are_there, strict=True):
        if not is_there:
            raise FileNotFoundError(
                f"--images: {line.place}: there is no file {line.text} (working directory:"
                f" {os.getcwd()})"
            )
    return [line.text for line in lines]


def read(path: str, exif_orientation: bool = True) -> np.ndarray:
    """Read an image as viewers show it.

    Args:
        path: A JPEG, PNG, BMP, GIF, TIFF or WebP file.
        exif_orientation: Turn the image as its EXIF data says. False: read it as it is stored.

    Returns:
        uint8 [height, width, 3], RGB. Remarks about the image are logged.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is broken, too large or not an image.
    """
    if not file_systems.exists(path):
        raise FileNotFoundError(f"image {path} not found")
    data = files.read_bytes(path)
    try:
        image = images.decode(data)
    except ValueError as error:
        raise ValueError(f"image {path} {error}") from None
    if remark := image.remark():
        logging.warning("image %s %s", path, remark)
    return image.upright() if exif_orientation else image.pixels


class Failures:
    """Collects the errors of images that are passed over, so that the others are processed.

    Args:
        messages: Errors to begin with.

    Attributes:
        messages: The message of each error, by the path of the image.

    Example:
        failures = Failures()
        for path in paths:
            image = failures.try_to_read(path)
            if image is not None:
                process(image)
        failures.raise_any(len(paths))
    """

    def __init__(self, messages: Mapping[str, str] | None = None):
        self.messages = dict(messages or {})

    def try_to_read(self, path: str, exif_orientation: bool = True) -> np.ndarray | None:
        """Return an image; log the error and return None if it cannot be read."""
        try:
            return read(path, exif_orientation)
        except (ValueError, OSError, tf.errors.OpError) as error:
            self.add(path, str(error))
            return None

    def add(self, path: str, message: str) -> None:
        """Log and collect the error of an image."""
        self.messages[path] = message
        logging.error("%s", message)

    @classmethod
    def merge(cls, paths: Sequence[str], parts: Iterable[Mapping[str, Any]]) -> "Failures":
        """Return those of several hosts.

        Args:
            paths: All images.
            parts: The `messages` of each host are its "failed".
        """
        messages = {path: text for part in parts for path, text in part["failed"].items()}
        return cls({path: messages[path] for path in paths if path in messages})

    def clear(self) -> None:
        """Forget the errors, before the images are read again."""
        self.messages.clear()

    def raise_any(self, total: int, what: str = "read") -> None:
        """Raise an error if an image was passed over.

        Args:
            total: Number of images.
            what: The word for the message, "read" or another participle.

        Raises:
            ValueError: Images were passed over; the message has their number and the first error.
        """
        if self.messages:
            raise ValueError(
                f"{len(self.messages)} of {counted(total, 'image')} could not be {what} (the others"
                " are done):"
                f" {next(iter(self.messages.values()))}"
            )


class ImageFiles:
    """Images from files, in batches with the keys of `data_generator.Dataset.evaluation`.

    There is no `label`; `image_name` is the name of `result_names`.

    Args:
        paths: The files.
        preprocessing: How images are prepared.
        exif_orientation: See `read`.

    Attributes:
        paths: The files.
        failures: The images that the last pass could not read.
    """

    def __init__(
        self, paths: Sequence[str], preprocessing: Preprocessing, exif_orientation: bool = True
    ):
        self.paths = tuple(paths)
        self.failures = Failures()
        self._preprocessing = preprocessing
        self._exif_orientation = exif_orientation

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    def evaluation(
        self, batch_size: int, share: Share | None = None
    ) -> Iterator[dict[str, tf.Tensor]]:
        """Yield batches of whole images, padded below and right to the largest of each batch.

        Images that cannot be read are missing in their batches; see `failures`.

        Args:
            batch_size: Number of images; the last batch may have fewer.
            share: Which of the images. None: all.
        """
        self.failures.clear()
        names = result_names(self.paths)
        numbers = (share or Share()).numbers(len(self), batch_size)
        for start in range(0, len(numbers), batch_size):
            batch = []
            for number in numbers[start : start + batch_size]:
                path = self.paths[number]
                image = self.failures.try_to_read(path, self._exif_orientation)
                if image is not None:
                    batch.append((number, names[number], image))
            if batch:
                yield self._batch(batch)

    def _batch(self, batch: Sequence[tuple[int, str, np.ndarray]]) -> dict[str, tf.Tensor]:
        numbers, names, pictures = zip(*batch, strict=True)
        originals, padded = [], []
        for image in pictures:
            original, image, _ = input_preprocess.preprocess_for_evaluation(
                tf.constant(image), None, self._preprocessing
            )
            originals.append(original)
            padded.append(image)
        heights, widths = zip(*(picture.shape[:2] for picture in pictures), strict=True)
        return {
            "image": _stack(padded, self._preprocessing.mean_pixel),
            "image_name": tf.constant([os.fsencode(name) for name in names]),
            "height": tf.constant(heights, tf.int64),
            "width": tf.constant(widths, tf.int64),
            "original_image": _stack(originals, 0),
            "original_size": tf.stack([tf.shape(original)[:2] for original in originals]),
            "number": tf.constant(numbers, tf.int64),
        }


def _stack(pictures: Sequence[tf.Tensor], value: Sequence[float] | int) -> tf.Tensor:
    """Pad images below and right to the size of the largest, and stack them."""
    height, width = (max(image.shape[axis] for image in pictures) for axis in range(2))
    return tf.stack(
        [
            preprocess_utils.pad_to_bounding_box(image, 0, 0, height, width, value)
            for image in pictures
        ]
    )
