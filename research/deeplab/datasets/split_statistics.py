"""Check the records of a split, and count their pixels and objects."""

import array
import collections
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import tensorflow as tf

from deeplab.datasets import (
    examples,
    image_formats,
    images,
    label_advice,
    label_files,
    perceptual_hash,
    shards,
)
from deeplab.datasets.descriptors import DatasetDescriptor
from deeplab.datasets.record_files import RecordFiles
from deeplab.utils.progress import Progress

# Brightness is that of gray, as of most image formats.
_LUMINANCE = np.array([0.299, 0.587, 0.114])
_GRAY = 0  # Color type of PNG.


@dataclasses.dataclass
class Counted:
    """Images with something in common: their number and the name of the first."""

    count: int = 0
    first: str = ""

    def add(self, name: str) -> None:
        """Count an image."""
        self.first = self.first or name
        self.count += 1


@dataclasses.dataclass
class Moments:
    """Means and deviations of quantities, without their values.

    Attributes:
        count: Number of values of each.
        sums: float64 [quantities].
        squares: float64 [quantities], sums of squares.
    """

    count: int = 0
    sums: np.ndarray | float = 0.0
    squares: np.ndarray | float = 0.0

    def add(self, mean: np.ndarray, count: int = 1, variance: np.ndarray | float = 0.0) -> None:
        """Add `count` values of each quantity, given their mean and variance."""
        self.count += count
        self.sums = self.sums + count * mean
        self.squares = self.squares + count * (mean**2 + variance)

    @property
    def mean(self) -> np.ndarray:
        """The mean of each quantity; NaN without values."""
        return np.divide(self.sums, self.count) if self.count else np.full(1, np.nan)

    @property
    def variance(self) -> np.ndarray:
        """The variance of each quantity."""
        return np.maximum(np.divide(self.squares, max(self.count, 1)) - self.mean**2, 0.0)


@dataclasses.dataclass
class SplitStatistics:
    """Counts over the records of a split: 16 bytes for each record, whatever it holds.

    Attributes:
        num_images: Number of records.
        num_labels: Number of records with a label.
        pixels: int64 [256], number of pixels with each label value.
        images: int64 [256], number of images that contain each label value.
        pixels_where_seen: int64 [256], number of pixels of these images, without ignored ones.
        sizes: Number of images of each (height, width).
        dark: The 16-bit images that are almost black or of one color.
        turned: The images that EXIF turns, where the size of the label does not tell whether it is
            that of the stored pixels.
        single: The images whose label has one value everywhere.
        unlabeled: The images without a label.
        shares: Over images: the share of each label value among the pixels that count [256].
        looks: Over images: binary logarithms of pixels and of width / height; brightness 0..255.
        channels: Over pixels: red, green and blue.
        digests: 64 bits of a digest of each encoded image, in the order of the records.
        hashes: Perceptual hash of each image, in the order of the records.
    """

    num_images: int = 0
    num_labels: int = 0
    pixels: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(256, np.int64))
    images: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(256, np.int64))
    pixels_where_seen: np.ndarray = dataclasses.field(
        default_factory=lambda: np.zeros(256, np.int64)
    )
    sizes: collections.Counter[tuple[int, int]] = dataclasses.field(
        default_factory=collections.Counter
    )
    dark: Counted = dataclasses.field(default_factory=Counted)
    turned: Counted = dataclasses.field(default_factory=Counted)
    single: Counted = dataclasses.field(default_factory=Counted)
    unlabeled: Counted = dataclasses.field(default_factory=Counted)
    shares: Moments = dataclasses.field(default_factory=Moments)
    looks: Moments = dataclasses.field(default_factory=Moments)
    channels: Moments = dataclasses.field(default_factory=Moments)
    digests: array.array = dataclasses.field(default_factory=lambda: array.array("Q"))
    hashes: array.array = dataclasses.field(default_factory=lambda: array.array("Q"))

    def add(self, record: bytes, descriptor: DatasetDescriptor, check_sizes: bool = True) -> str:
        """Check a record and count it.

        Args:
            record: A serialized `tf.train.Example`.
            descriptor: Its dataset.
            check_sizes: Whether the features `image/height` and `image/width`, which
                training does not use, must be those of the image.

        Returns:
            The image's name.

        Raises:
            ValueError: The record is bad; the message says why.
        """
        pixels = examples.check(record, labels_required=False)
        features = examples.parse(record)

        def of_bytes(name: str) -> bytes:
            return b"".join(features[name].bytes_list.value)

        name = _image_name(features)
        encoded = of_bytes(examples.IMAGE)
        image = _stored_image(encoded, pixels, name)
        size = image.pixels.shape[:2]
        for axis, length in (("height", size[0]), ("width", size[1])):
            told = list(features[f"image/{axis}"].int64_list.value)
            if check_sizes and told not in ([], [length]):
                raise ValueError(f"({name}) has image/{axis} {told[0]}; the image's is {length}")
        self.num_images += 1
        self.sizes[size] += 1
        if image.narrow_range:
            self.dark.add(name)
        self._add_looks(image.pixels)
        self.digests.append(int.from_bytes(hashlib.sha1(encoded).digest()[:8]))
        self.hashes.append(perceptual_hash.of_image(image.pixels))
        label = of_bytes(examples.LABEL)
        if image.orientation != 1 and not (label and image.orientation >= 5 and size != size[::-1]):
            self.turned.add(name)
        if label:
            try:
                counts = _count_label(label, size, descriptor)
            except ValueError as error:
                raise ValueError(f"({name}) has a label that {error}") from None
            self._add_label(counts, descriptor, name)
        else:
            self.unlabeled.add(name)
        return name

    def _add_looks(self, pixels: np.ndarray) -> None:
        mean, deviation = (values.ravel() for values in cv2.meanStdDev(pixels))
        height, width = pixels.shape[:2]
        brightness = float(mean @ _LUMINANCE)
        self.looks.add(np.array([np.log2(height * width), np.log2(width / height), brightness]))
        self.channels.add(mean, height * width, deviation**2)

    def _add_label(self, counts: np.ndarray, descriptor: DatasetDescriptor, name: str) -> None:
        self.num_labels += 1
        self.pixels += counts
        self.images += counts > 0
        labeled = counts.sum() - counts[descriptor.ignore_label]
        self.pixels_where_seen[counts > 0] += labeled
        if np.count_nonzero(counts) == 1:
            self.single.add(name)
        if labeled:
            shares = counts / labeled
            shares[descriptor.ignore_label] = 0.0
            self.shares.add(shares)


def _image_name(features: Mapping[str, tf.train.Feature]) -> str:
    return b"".join(features["image/filename"].bytes_list.value).decode(errors="replace")


def _count_label(data: bytes, size: tuple[int, int], descriptor: DatasetDescriptor) -> np.ndarray:
    """Return the number of pixels with each label value, int64 [256]; reject a bad label."""
    indices = label_files.read_indices(data)
    if indices.shape != size:
        raise ValueError(
            f"is {indices.shape[1]}x{indices.shape[0]} pixels (width x height); the image is"
            f" {size[1]}x{size[0]}"
        )
    if image_formats.png_bit_depth(data) != 8 or data[25] != _GRAY:
        raise ValueError(
            "is not an 8-bit grayscale PNG, so decoding changes its values; convert the"
            " data again with build_voc2012_data or build_custom_data"
        )
    try:
        return label_files.LabelReader(descriptor).check(indices)
    except ValueError:
        remedy = label_advice.advise(np.unique(indices), descriptor)
        return label_files.LabelReader(descriptor, remedy=remedy).check(indices)


def _stored_image(data: bytes, pixels: np.ndarray, name: str) -> images.StoredImage:
    """Return an image that was decoded; reject one of another format than training's."""
    kind = image_formats.image_format(data)
    if kind is None:
        raise ValueError(f"({name}) has an image that is neither JPEG nor PNG")
    if kind == "png" and image_formats.png_bit_depth(data) == 16:
        return images.decode(data)  # All 16 bits tell whether it is dark.
    return images.StoredImage(pixels, image_formats.orientation(data))


def class_weights(statistics: SplitStatistics, descriptor: DatasetDescriptor) -> np.ndarray | None:
    """Return weights that balance the classes.

    The frequency of a class is its share of the pixels of the images that contain it. Its weight
    is the median of all frequencies, divided by its own. A class that is ignored or never seen
    has weight 1.

    Args:
        statistics: Counts of the training split.
        descriptor: Its dataset.

    Returns:
        float64 [num_classes]; None if no class is seen.

    Reference: median frequency balancing, Eigen & Fergus (2015), section 5.3.2.
    """
    pixels = statistics.pixels[: descriptor.num_classes]
    seen = pixels > 0
    seen[descriptor.ignore_label : descriptor.ignore_label + 1] = False
    if not seen.any():
        return None
    frequency = pixels[seen] / statistics.pixels_where_seen[: descriptor.num_classes][seen]
    weights = np.ones(descriptor.num_classes)
    weights[seen] = np.median(frequency) / frequency
    return weights


def is_training(split: str) -> bool:
    """Return whether a name is that of a training split; CVAT has names like Train."""
    return split.lower().startswith("train")


def class_name(descriptor: DatasetDescriptor, label: int) -> str:
    """Return the number of a class and, if it is known, its name."""
    return f"{label} {descriptor.class_names[label]}" if descriptor.class_names else str(label)


def labels_that_count(descriptor: DatasetDescriptor) -> list[int]:
    """Return the labels of the classes, without the ignore label."""
    return [label for label in range(descriptor.num_classes) if label != descriptor.ignore_label]


def classes_seen(statistics: SplitStatistics, descriptor: DatasetDescriptor) -> list[int]:
    """Return the classes that at least one pixel has, without the ignore label."""
    return [label for label in labels_that_count(descriptor) if statistics.pixels[label]]


@dataclasses.dataclass(frozen=True)
class CheckedSplit:
    """A split whose records are all good.

    Args:
        name: Name of the split.
        records: Its records.
        statistics: The counts over the checked records.
        indices: Indices of the checked records, in order.
    """

    name: str
    records: RecordFiles
    statistics: SplitStatistics
    indices: Sequence[int]

    def image_name(self, index: int) -> str:
        """Return the name of an image by its place in the digests and hashes."""
        return _image_name(examples.parse(self.records[int(self.indices[index])]))


def check(
    split: str,
    folder: str,
    descriptor: DatasetDescriptor,
    most: int | None = None,
    *,
    labels_required: bool = False,
) -> CheckedSplit:
    """Check and count the records of a split.

    Args:
        split: The split.
        folder: Folder of its files.
        descriptor: The dataset.
        most: Number of records to check, spread over the split. None: all.
        labels_required: Whether a record without a label is bad, as for training.

    Returns:
        The records and their counts.

    Raises:
        ValueError: A file or a record is bad; the message names it and says what is wrong.
        FileNotFoundError: The folder has no files of the split.
    """
    found = shards.open_split(folder, descriptor.split_names(split))
    statistics = SplitStatistics()
    indices = range(len(found))
    if most is not None and most < len(found):
        indices = [int(index) for index in np.linspace(0, len(found) - 1, most)]
    progress = Progress(f"{split}: checked", len(indices))
    for index in indices:
        record = found[index]
        try:
            name = statistics.add(record, descriptor)
            if labels_required and statistics.unlabeled.count:
                raise ValueError(f"({name}) has no label (feature {examples.LABEL})")
        except ValueError as error:
            raise ValueError(f"{found.describe(index)} {error}") from None
        progress.advance()
    return CheckedSplit(split, found, statistics, indices)
