"""Makes records of image and label files: what all converters of datasets share."""

import dataclasses
import os

import cv2
import numpy as np
import tensorflow as tf

from deeplab.cli import converter_flags
from deeplab.datasets import images
from deeplab.datasets.image_formats import image_format
from deeplab.datasets.label_files import Label, LabelReader
from deeplab.datasets.source_files import Source, is_file
from deeplab.utils import file_systems, files

# The flags of the official module.
define_flags = converter_flags.define_flags

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
        remarks: Suspicious properties of the image, for the log.
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
    if not is_file(source.image):
        raise FileNotFoundError(_missing_image(source))
    if isinstance(source.label, str) and not is_file(source.label):
        raise FileNotFoundError(_missing_label(source))
    try:
        source.name.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"image {source.image} has a name that is not UTF-8, which a record cannot hold: rename"
            " it"
        ) from None
    data = files.read_bytes(source.image)
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

    These are the stored pixels, or the pixels turned by EXIF if the label fits only those.
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
    folder, name = os.path.split(stem)
    names = file_systems.names_in(folder or ".")
    return [os.path.join(folder, each) for each in names if each.startswith(f"{name}.")]


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
