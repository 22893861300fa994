"""Check the records of a split, and count what they hold."""

import collections
import dataclasses
import hashlib

import numpy as np

from deeplab.datasets import examples, images, label_files, shards
from deeplab.datasets.descriptors import DatasetDescriptor
from deeplab.datasets.image_formats import image_format
from deeplab.utils import reports
from deeplab.utils.progress import Progress

# How many image sizes a report lists.
_LISTED_SIZES = 5


@dataclasses.dataclass
class SplitStatistics:
    """Counts over the records of a split.

    Attributes:
        num_images: Number of records.
        num_labels: Number of records with a label.
        pixels: int64 [256], number of pixels with each label value.
        images: int64 [256], number of images that contain each label value.
        pixels_where_seen: int64 [256], number of pixels of these images, without ignored ones.
        sizes: Number of images of each (height, width).
        dark: Names of the 16-bit images that are almost black.
        turned: Names of the images that EXIF turns, where the size of the label does not tell
            whether it is that of the stored pixels.
        digests: Digest of each image to the image's name.
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
    dark: list[str] = dataclasses.field(default_factory=list)
    turned: list[str] = dataclasses.field(default_factory=list)
    digests: dict[bytes, str] = dataclasses.field(default_factory=dict)

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
        examples.check(record, labels_required=False)
        features = examples.parse(record)

        def of_bytes(name: str) -> bytes:
            return b"".join(features[name].bytes_list.value)

        name = of_bytes("image/filename").decode(errors="replace")
        encoded = of_bytes(examples.IMAGE)
        image = _decode_image(encoded, name)
        size = image.pixels.shape[:2]
        for axis, length in (("height", size[0]), ("width", size[1])):
            told = list(features[f"image/{axis}"].int64_list.value)
            if check_sizes and told not in ([], [length]):
                raise ValueError(f"({name}) has image/{axis} {told[0]}; the image's is {length}")
        self.num_images += 1
        self.sizes[size] += 1
        if image.remark():
            self.dark.append(name)
        self.digests[hashlib.sha1(encoded).digest()] = name
        label = of_bytes(examples.LABEL)
        if image.orientation != 1 and not (label and image.orientation >= 5 and size != size[::-1]):
            self.turned.append(name)
        if label:
            try:
                self._add_label(label, size, descriptor)
            except ValueError as error:
                raise ValueError(f"({name}) has a label that {error}") from None
        return name

    def _add_label(self, data: bytes, size: tuple[int, int], descriptor: DatasetDescriptor) -> None:
        indices = label_files.read_indices(data)
        if indices.shape != size:
            raise ValueError(
                f"is {indices.shape[1]}x{indices.shape[0]} pixels (width x height); the image is"
                f" {size[1]}x{size[0]}"
            )
        if label_files.as_gray(data) is not data:
            raise ValueError(
                "is not an 8-bit grayscale PNG, so decoding changes its values; convert the"
                " data again with build_voc2012_data or build_custom_data"
            )
        remedy = "set the right --dataset, or convert the data again (build_custom_data)"
        counts = label_files.LabelReader(descriptor, remedy=remedy).check(indices)
        self.num_labels += 1
        self.pixels += counts
        self.images += counts > 0
        self.pixels_where_seen[counts > 0] += counts.sum() - counts[descriptor.ignore_label]


def _decode_image(data: bytes, name: str) -> images.StoredImage:
    """Return an image; reject one that cannot be decoded."""
    if image_format(data) is None:
        raise ValueError(f"({name}) has an image that is neither JPEG nor PNG")
    try:
        return images.decode(data)
    except ValueError as error:
        raise ValueError(f"({name}) has an image that {error}") from None


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


def report(split: str, statistics: SplitStatistics, descriptor: DatasetDescriptor) -> str:
    """Return a report about a split: images, sizes, classes and warnings."""
    sizes = statistics.sizes.most_common(_LISTED_SIZES)
    listed = ", ".join(f"{width}x{height} ({count})" for (height, width), count in sizes)
    others = len(statistics.sizes) - len(sizes)
    lines = [
        f"{split}: {statistics.num_images} images, {statistics.num_labels} with a label",
        f"width x height: {listed}" + (f" and {others} other sizes" if others else ""),
    ]
    expected = descriptor.split_size(split)
    if expected not in (None, statistics.num_images):
        lines.append(f"note: the descriptor says {expected} images")
    if statistics.dark:
        lines.append(
            f"warning: {len(statistics.dark)} 16-bit images are almost black, as only the upper 8"
            f" bits are used ({statistics.dark[0]}): scale their values to 0..65535"
        )
    if statistics.turned:
        lines.append(
            f"note: training ignores the EXIF orientation of {len(statistics.turned)} images"
            f" ({statistics.turned[0]}): their labels must be those of the stored pixels"
        )
    if statistics.num_labels:
        lines += ["", _class_table(statistics, descriptor), *_remarks(statistics, descriptor)]
    return "\n".join(lines)


def class_name(descriptor: DatasetDescriptor, label: int) -> str:
    """Return the number of a class and, if it is known, its name."""
    return f"{label} {descriptor.class_names[label]}" if descriptor.class_names else str(label)


def _class_table(statistics: SplitStatistics, descriptor: DatasetDescriptor) -> str:
    total = statistics.pixels.sum()
    labels = [label for label in range(descriptor.num_classes) if label != descriptor.ignore_label]
    names = [class_name(descriptor, label) for label in labels]
    rows = [
        (name, reports.percent(statistics.pixels[label] / total), str(statistics.images[label]))
        for label, name in zip(
            [*labels, descriptor.ignore_label],
            [*names, f"{descriptor.ignore_label} (ignored)"],
            strict=True,
        )
    ]
    return reports.format_table(("label", "pixels %", "images"), rows)


def classes_seen(statistics: SplitStatistics, descriptor: DatasetDescriptor) -> list[int]:
    """Return the classes that at least one pixel has, without the ignore label."""
    labels = [label for label in range(descriptor.num_classes) if label != descriptor.ignore_label]
    return [label for label in labels if statistics.pixels[label]]


def _remarks(statistics: SplitStatistics, descriptor: DatasetDescriptor) -> list[str]:
    labels = [label for label in range(descriptor.num_classes) if label != descriptor.ignore_label]
    seen = classes_seen(statistics, descriptor)
    lines = []
    if not seen:
        lines.append("warning: every pixel is ignored: there is nothing to learn")
    elif len(seen) == 1:
        lines.append(f"warning: every pixel that counts is {class_name(descriptor, seen[0])}")
    elif len(seen) < len(labels):
        never = ", ".join(class_name(descriptor, label) for label in labels if label not in seen)
        lines.append(f"never seen: {never}")
    return lines


def check(split: str, folder: str, descriptor: DatasetDescriptor) -> SplitStatistics:
    """Check and count all records of a split.

    Args:
        split: The split.
        folder: Where its files are.
        descriptor: The dataset.

    Returns:
        The counts.

    Raises:
        ValueError: A file or a record is bad; the message names it and says what is wrong.
        FileNotFoundError: The folder has no files of the split.
    """
    found = shards.open_split(folder, descriptor.split_names(split))
    statistics = SplitStatistics()
    progress = Progress(f"{split}: checked", len(found))
    for index in range(len(found)):
        try:
            statistics.add(found[index], descriptor)
        except ValueError as error:
            raise ValueError(f"{found.describe(index)} {error}") from None
        progress.advance()
    return statistics


def overlaps(statistics: dict[str, SplitStatistics]) -> list[str]:
    """Return a warning for each training split that has images of another split."""
    lines = []
    for split, own in statistics.items():
        for other, others in statistics.items():
            both = own.digests.keys() & others.digests.keys()
            evaluated = not other.startswith("train")
            if both and evaluated and split.startswith("train") and "trainval" not in split:
                name = own.digests[min(both)]
                lines.append(f"warning: {len(both)} images of {other} are also in {split} ({name})")
    return lines
