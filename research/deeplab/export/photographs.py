"""Images on which exports are compared with networks, and ranges of integers are measured."""

import dataclasses
import os
import re
from collections.abc import Sequence

import cv2
import numpy as np
import tensorflow as tf

from deeplab.datasets import examples, image_files, make_sample_data, shards
from deeplab.utils import file_systems

# Number of drawn images.
_DRAWN = 2


@dataclasses.dataclass(frozen=True, eq=False)
class Photograph:
    """An image, with its label if it is known.

    Attributes:
        image: uint8 [height, width, 3], RGB.
        label: uint8 [height, width], or None.
    """

    image: np.ndarray
    label: np.ndarray | None = None


def read(flag: str, source: str, count: int) -> list[Photograph]:
    """Read some of the images that a flag names: the first, the last and others in between.

    Args:
        flag: Name of the flag, for messages.
        source: A path for `image_files.find`; or a split of TFRecords as folder/split, whose labels
            are read as well.
        count: The largest number of images to read.

    Raises:
        FileNotFoundError: There is no such image or split.
        ValueError: An image or a record cannot be read.
    """
    folder, split = os.path.split(source)
    is_split = not file_systems.exists(source) and split in shards.splits(folder or ".")
    if is_split:
        records = shards.open_split(folder or ".", (split,))
        return [_decode(records, number) for number in _spread(len(records), count)]
    try:
        paths = image_files.find(source)
    except (FileNotFoundError, ValueError) as error:
        # The message names another flag.
        message = re.sub(r"^--images\b", f"--{flag}", str(error))
        raise type(error)(f"{message}; a split of TFRecords is given as folder/split") from None
    return [Photograph(image_files.read(paths[number])) for number in _spread(len(paths), count)]


def drawn(size: Sequence[int]) -> list[Photograph]:
    """Draw images like photographs, which show textures and objects.

    Args:
        size: Height and width of the images.
    """
    random = np.random.default_rng(0)
    images = (make_sample_data.draw(random)[0] for _ in range(_DRAWN))
    return [Photograph(cv2.resize(image, tuple(size)[::-1])) for image in images]


def _spread(total: int, count: int) -> Sequence[int]:
    """Return numbers from 0 to total - 1 in even steps, at most `count`."""
    return np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int)).tolist()


def _decode(records: shards.RecordFiles, number: int) -> Photograph:
    record = records[number]
    try:
        examples.check(record, labels_required=False)
    except ValueError as error:
        raise ValueError(f"{records.describe(number)} {error}") from None
    has_label = bool(examples.parse(record)[examples.LABEL].bytes_list.value[:1])
    with tf.device("CPU"):
        _, image, label = examples.decode(tf.constant(record), absent_label=0)
    return Photograph(image.numpy(), label.numpy()[..., 0] if has_label else None)
