"""Convert image and label files to TFRecords: what all converters of datasets share."""

import collections
import concurrent.futures
import dataclasses
import glob
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np
import tensorflow as tf
from absl import logging

from deeplab.annotations import lists
from deeplab.cli import converter_flags, processes
from deeplab.datasets import images, label_files, shards
from deeplab.datasets.image_formats import image_format
from deeplab.datasets.label_files import Label, LabelReader
from deeplab.datasets.source_files import Source
from deeplab.utils import files
from deeplab.utils.progress import Progress

# The flags of the official module.
define_flags = converter_flags.define_flags

# Starting a process takes about as long as reading this many images.
_IMAGES_A_PROCESS = 500
# How many images each other process is given at a time: one that it reads, and the next ones.
_HANDED_OUT = 4
# How many images are read ahead, and how many bytes of them this process may hold back until those
# before them are there: what it can read while others start.
_IMAGES_AHEAD = 2048
_BYTES_AHEAD = 2**28
# How many bad files are logged before the conversion stops.
_MAX_ERRORS = 20
# How many remarks about images are logged for a split.
_MAX_REMARKS = 20
_FINE_JPEG = (
    *(cv2.IMWRITE_JPEG_QUALITY, 95),
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
)


@dataclasses.dataclass(frozen=True)
class Sample:
    """The checked content of one record.

    Args:
        name: Name of the image.
        image: Content of a JPEG or PNG file.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        label: The label, of the same size; None if there is none.
        remarks: What is suspicious about the image, for the log.
    """

    name: str
    image: bytes
    height: int
    width: int
    label: Label | None
    remarks: tuple[str, ...] = ()


def read_sample(source: Source, labels: LabelReader) -> Sample:
    """Read an image and its label, and check them.

    JPEG and PNG images are stored unchanged, whatever their file name says. The network sees their
    upper 8 bits, gray as three equal channels, without transparency, and as stored, whatever EXIF
    says. Other formats are stored as PNG. An image that EXIF turns by 90 degrees is stored turned
    if its label fits only then.

    Args:
        source: The files.
        labels: Reads and checks the label.

    Returns:
        The sample.

    Raises:
        ValueError: A file is broken, the sizes differ, or the label has a wrong value.
        OSError: A file is missing or cannot be read.
    """
    if not os.path.isfile(source.image):
        raise FileNotFoundError(_missing_image(source))
    if isinstance(source.label, str) and not os.path.isfile(source.label):
        raise FileNotFoundError(_missing_label(source))
    with open(source.image, "rb") as file:
        data = file.read()
    try:
        image = images.decode(data)
    except ValueError as error:
        raise ValueError(f"image {source.image} {error}") from None
    label = _read_label(source, image, labels)
    pixels, remark = _as_labeled(image, label, source)
    kind = image_format(data)
    if kind is None or pixels is not image.pixels:
        data = encode_image(pixels, kind)
    height, width = pixels.shape[:2]
    remarks = [f"image {source.image} {text}" for text in (image.remark(), remark) if text]
    return Sample(source.name, data, height, width, label, tuple(remarks))


def _read_label(source: Source, image: images.StoredImage, labels: LabelReader) -> Label | None:
    if source.label is None or isinstance(source.label, str):
        return labels.read(source.label) if source.label is not None else None
    # Annotation tools show images upright, so that is what relative coordinates are for.
    size = image.pixels.shape[:2]
    return labels.drawn(source.label, size[::-1] if image.orientation >= 5 else size)


def _as_labeled(
    image: images.StoredImage, label: Label | None, source: Source
) -> tuple[np.ndarray, str]:
    """Return the pixels that a label belongs to, and a remark if that cannot be decided.

    They are those that are stored, or those that EXIF turns if the label fits only them.
    """
    stored, turned = image.pixels.shape[:2], image.pixels.shape[:2]
    if image.orientation >= 5:
        turned = stored[::-1]
    size = stored if label is None else (label.height, label.width)
    if size == turned != stored:
        return image.upright(), ""
    if size != stored:
        raise ValueError(
            f"image {source.image} has {stored[1]}x{stored[0]} pixels (width x height),"
            f" but its label {source.label} has {label.width}x{label.height}"
        )
    if image.orientation == 1 or (label is not None and turned != stored):
        return image.pixels, ""
    how = "it has no label" if label is None else "its label must be that of the stored pixels"
    return image.pixels, (
        f"is stored as it is, although EXIF turns it (orientation {image.orientation}): {how}"
    )


def _missing_image(source: Source) -> str:
    """Return the error about a missing image, with a file that may be meant."""
    message = f"image {source.image} not found" + _place(source)
    stem, extension = os.path.splitext(source.image)
    for other in _others(stem):
        found = os.path.splitext(other)[1].removeprefix(".")
        if found in converter_flags.IMAGE_FORMATS and extension != f".{found}":
            return f"{message}, but there is {other} (--image_format={found})"
    return message


def _missing_label(source: Source) -> str:
    """Return the error about a missing label, with a file that may be meant."""
    message = f"label {source.label} not found" + _place(source)
    others = _others(os.path.splitext(source.label)[0])
    return message + (
        f", but there is {others[0]}; labels are .png or .tif files" if others else ""
    )


def _place(source: Source) -> str:
    return f" ({source.place})" if source.place else ""


def _others(stem: str) -> list[str]:
    return sorted(glob.glob(glob.escape(stem) + ".*"))


def encode_image(pixels: np.ndarray, kind: str | None) -> bytes:
    """Return a JPEG file for `jpeg`, else a PNG file, of RGB pixels."""
    extension, parameters = (".jpg", _FINE_JPEG) if kind == "jpeg" else (".png", ())
    encoded, data = cv2.imencode(extension, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), parameters)
    if not encoded:
        raise ValueError(f"cannot encode an image of the shape {pixels.shape}")
    return data.tobytes()


def image_seg_to_tfexample(
    image_data: bytes, filename: str, height: int, width: int, seg_data: bytes | None
) -> tf.train.Example:
    """Return a record with the official features (official function of the same name).

    Args:
        image_data: Content of a JPEG or PNG file.
        filename: Name of the image.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        seg_data: Content of a PNG file of label values; None leaves its features out.

    Returns:
        The record. Its `image/format` is that of the content.

    Raises:
        ValueError: The image is neither JPEG nor PNG.
    """
    if (image_type := image_format(image_data)) is None:
        raise ValueError(f"image {filename} is neither JPEG nor PNG")

    def of_bytes(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    def of_integer(value: int) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    feature = {
        "image/encoded": of_bytes(image_data),
        "image/filename": of_bytes(filename.encode()),
        "image/format": of_bytes(image_type.encode()),
        "image/height": of_integer(height),
        "image/width": of_integer(width),
        "image/channels": of_integer(3),
    }
    if seg_data is not None:
        feature["image/segmentation/class/encoded"] = of_bytes(seg_data)
        feature["image/segmentation/class/format"] = of_bytes(b"png")
    return tf.train.Example(features=tf.train.Features(feature=feature))


def check_splits(splits: Mapping[str, Sequence[Source]]) -> None:
    """Reject splits that cannot be written, before the first one is.

    Raises:
        ValueError: A split has no images, or its name cannot begin those of files.
    """
    for split, sources in splits.items():
        if fault := lists.split_name_fault(split):
            raise ValueError(f"split {split!r}: the name {fault}")
        if not sources:
            raise ValueError(f"split {split} has no images: fill its list, or remove it")


def convert(
    split: str,
    sources: Sequence[Source],
    labels: LabelReader,
    output_dir: str,
    num_shards: int,
    num_processes: int | None = None,
    label_images: str | None = None,
) -> None:
    """Write the records of a split, in the order of the sources.

    Args:
        split: Name of the split. Labels of a test split (`test` or `test_...`) may be missing.
        sources: The files.
        labels: Reads and checks the labels.
        output_dir: Folder of the records.
        num_shards: Number of files.
        num_processes: Number of processes that read files. None: one for a small split, up to one
            per CPU for a large one.
        label_images: Folder in which the labels are written, too, as PNG files with a palette; None
            for none.

    Raises:
        ValueError: There is nothing to convert, or a file is bad; then no record is written. If
            several files are bad, each is logged.
    """
    check_splits({split: sources})
    if split.partition("_")[0] == "test":
        sources = [_without_missing_label(source) for source in sources]
    errors: list[Exception] = []
    remarks = _Remarks()
    palette = labels.descriptor.palette() if label_images else None
    with shards.writing(output_dir, split, len(sources), num_shards) as write:
        progress = Progress(f"{split}: converted", len(sources))
        for result in _read_all(sources, labels, num_processes):
            if isinstance(result, Exception):
                errors.append(result)
                if len(errors) == _MAX_ERRORS:
                    break
            elif not errors:
                remarks.add(result)
                seg_data = result.label.data if result.label else None
                example = image_seg_to_tfexample(
                    result.image, result.name, result.height, result.width, seg_data
                )
                write(example.SerializeToString(deterministic=True))
                if label_images and seg_data is not None:
                    picture = label_files.with_palette(seg_data, palette)
                    files.write_bytes(label_image(label_images, result.name), picture)
            progress.advance()
        if len(errors) == 1:
            raise errors[0]
        if errors:
            for error in errors:
                logging.error("%s", error)
            count = f"{len(errors)}{' or more' if len(errors) == _MAX_ERRORS else ''}"
            raise ValueError(
                f"split {split}: {count} of {len(sources)} images are bad (see above), the first:"
                f" {errors[0]}"
            )
    remarks.log_rest(split)
    logging.info("%s: %d images in %d shards in %s", split, len(sources), num_shards, output_dir)


def label_image(folder: str, name: str) -> str:
    """Return where `convert` writes the label of an image, too."""
    return os.path.join(folder, f"{name}.png")


class _Remarks:
    """Logs what is suspicious about samples: the first remarks one by one, then their number."""

    def __init__(self):
        self._count = 0
        self._only_alpha: list[str] = []

    def add(self, sample: Sample) -> None:
        """Log the remarks about a sample."""
        for remark in sample.remarks:
            self._count += 1
            if self._count <= _MAX_REMARKS:
                logging.warning("%s", remark)
        if sample.label is not None and sample.label.only_alpha:
            self._only_alpha.append(sample.name)

    def log_rest(self, split: str) -> None:
        """Log what is left to say about a split."""
        if self._count > _MAX_REMARKS:
            logging.warning("%s: %d more such remarks", split, self._count - _MAX_REMARKS)
        if self._only_alpha:
            remark = label_files.only_alpha_remark(self._only_alpha)
            logging.warning("%s: %s", split, remark)


def _without_missing_label(source: Source) -> Source:
    missing = isinstance(source.label, str) and not os.path.exists(source.label)
    return dataclasses.replace(source, label=None) if missing else source


def _read_all(
    sources: Sequence[Source], labels: LabelReader, num_processes: int | None
) -> Iterator[Sample | Exception]:
    """Yield the samples in order; in place of a bad one, its error."""
    most = max(1, len(sources) // _IMAGES_A_PROCESS)
    num_processes = num_processes or min(os.cpu_count() or 1, most)
    if num_processes == 1:
        yield from (_read(source, labels) for source in sources)
        return
    remedy = f"set --num_processes below {num_processes} (1 reads without other processes)"
    # This process is one of them.
    others = num_processes - 1
    with processes.pool(others, "reads images", remedy=remedy, modules=[__name__]) as pool:
        yield from _share(pool, others, sources, labels)


@dataclasses.dataclass(eq=False)
class _Task:
    """An image to read: by another process (`future`), or by this one (`sample`)."""

    source: Source
    future: concurrent.futures.Future | None = None
    sample: Sample | Exception | None = None

    def is_done(self) -> bool:
        """Return whether the image is read."""
        return self.sample is not None or (self.future is not None and self.future.done())

    def result(self) -> Sample | Exception:
        """Return the sample or its error, once it is there."""
        return self.future.result() if self.sample is None else self.sample


def _share(
    pool: concurrent.futures.Executor, others: int, sources: Sequence[Source], labels: LabelReader
) -> Iterator[Sample | Exception]:
    """Yield the samples in order, of which a pool and this process each read a part.

    Other processes may need seconds to start. This one reads meanwhile what it has not handed out.

    Args:
        pool: The other processes.
        others: Their number.
        sources: The files.
        labels: Reads and checks the labels.
    """
    rest = iter(sources)
    ahead: collections.deque[_Task] = collections.deque()
    handed_out: list[_Task] = []
    unread: collections.deque[_Task] = collections.deque()
    held = 0

    def hand_out() -> None:
        handed_out[:] = [task for task in handed_out if not task.is_done()]
        while unread and len(handed_out) < _HANDED_OUT * others:
            task = unread.popleft()
            task.future = pool.submit(_try_to_read, (task.source, labels))
            handed_out.append(task)

    while True:
        tasks = [_Task(source) for source in itertools.islice(rest, _IMAGES_AHEAD - len(ahead))]
        ahead += tasks
        unread += tasks
        if not ahead:
            return
        first = ahead[0]
        hand_out()
        while not first.is_done() and unread and held < _BYTES_AHEAD:
            task = unread.popleft()
            task.sample = _read(task.source, labels)
            held += _size(task.sample)
            hand_out()
        ahead.popleft()
        if first.future is None:
            held -= _size(first.sample)
        yield first.result()


def _size(sample: Sample | Exception | None) -> int:
    return len(sample.image) if isinstance(sample, Sample) else 0


def _try_to_read(task: tuple[Source, LabelReader]) -> Sample | Exception:
    return _read(*task)


def _read(source: Source, labels: LabelReader) -> Sample | Exception:
    try:
        return read_sample(source, labels)
    except (ValueError, OSError) as error:
        return error
