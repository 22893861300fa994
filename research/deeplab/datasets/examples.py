"""Records as `tf.train.Example`: their fields, how training decodes them, and which it rejects."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from deeplab.core import error_text
from deeplab.core.wording import counted, with_article
from deeplab.datasets import images
from deeplab.datasets.image_formats import image_format

IMAGE, LABEL = "image/encoded", "image/segmentation/class/encoded"
_FEATURES = {
    IMAGE: tf.io.FixedLenFeature([], tf.string, ""),
    "image/filename": tf.io.FixedLenFeature([], tf.string, ""),
    "image/height": tf.io.FixedLenFeature([], tf.int64, 0),
    "image/width": tf.io.FixedLenFeature([], tf.int64, 0),
    LABEL: tf.io.FixedLenFeature([], tf.string, ""),
}
_KINDS = {tf.string: "bytes_list", tf.int64: "int64_list"}
# Raised by operations that fail on the content of a record. TensorFlow raises a
# `UnicodeDecodeError` if its error message quotes content that is not text.
RECORD_ERRORS = (tf.errors.DataLossError, tf.errors.InvalidArgumentError, UnicodeDecodeError)


def decode(
    example: tf.Tensor, absent_label: int | None
) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
    """Decode a record, as TensorFlow operations; they fail with one of `RECORD_ERRORS`.

    Args:
        example: A serialized `tf.train.Example`, a string scalar.
        absent_label: Label of all pixels of an image without label. None: such a record is an
            error.

    Returns:
        The features, the image, uint8 [height, width, 3], and its label, uint8 [height, width, 1].
    """
    features = _parse(example)
    # Despite its name this operation decodes PNG as well, by content, as the official code does.
    image = tf.io.decode_jpeg(features[IMAGE], channels=3)
    encoded = features[LABEL]
    if absent_label is None:
        label = tf.io.decode_jpeg(encoded, channels=1)
    else:
        label = tf.cond(
            tf.strings.length(encoded) > 0,
            lambda: tf.io.decode_jpeg(encoded, channels=1),
            lambda: tf.fill(tf.shape(image[..., :1]), tf.cast(absent_label, tf.uint8)),
        )
    tf.debugging.assert_equal(
        tf.shape(label)[:2], tf.shape(image)[:2], "an image and its label differ in size"
    )
    return features, image, label


def decode_label(example: tf.Tensor) -> tf.Tensor:
    """Decode the label of a record as `decode` does; a record without one is an error."""
    return tf.io.decode_jpeg(_parse(example)[LABEL], channels=1)


def _parse(example: tf.Tensor) -> dict[str, tf.Tensor]:
    # The parser of examples allocates whatever length a damaged record states, up to 4 GB, and
    # crashes the process if there is not so much memory. That of protocol buffers does not.
    sizes, _ = tf.io.decode_proto(example, "tensorflow.Example", [], [], sanitize=True)
    # Graphs drop an operation of which only the success counts, but no assertion.
    with tf.control_dependencies([tf.debugging.assert_non_negative(sizes)]):
        return tf.io.parse_single_example(example, _FEATURES)


def parse(record: bytes) -> Mapping[str, tf.train.Feature]:
    """Return the features of a record.

    Raises:
        ValueError: It is not a `tf.train.Example`.
    """
    try:
        return tf.train.Example.FromString(record).features.feature
    except Exception:  # The class of protobuf's error is not a public name.
        raise ValueError("is not a tf.train.Example") from None


def check(record: bytes, labels_required: bool = True) -> np.ndarray:
    """Reject a record that training refuses.

    Args:
        record: A serialized `tf.train.Example`.
        labels_required: Whether a record without a label is refused.

    Returns:
        The image as training sees it, uint8 [height, width, 3].

    Raises:
        ValueError: The record is bad; the message is the end of a sentence that begins with it,
            and names image and feature.
    """
    try:
        with tf.device("CPU"):
            _, image, _ = decode(tf.constant(record), None if labels_required else 0)
            return image.numpy()
    except RECORD_ERRORS as error:
        raise ValueError(_fault(record, labels_required, error)) from None


def _fault(record: bytes, labels_required: bool, error: Exception) -> str:
    """Return why training refuses a record."""
    try:
        features = parse(record)
    except ValueError as fault:
        return str(fault)
    name = b"".join(features["image/filename"].bytes_list.value[:1]).decode(errors="replace")
    name = f"({name or 'no name'})"
    for key, spec in _FEATURES.items():
        kind = features[key].WhichOneof("kind") if key in features else None
        if kind is None:
            continue
        wanted = _KINDS[spec.dtype]
        count = len(getattr(features[key], kind).value)
        if kind != wanted or count != 1:
            return (
                f"{name} has the feature {key} with {counted(count, 'value')} in"
                f" {with_article(kind)}; it must have one value in"
                f" {with_article(wanted)}"
            )
    sizes = []
    for what, key in (("an image", IMAGE), ("a label", LABEL)):
        encoded = b"".join(features[key].bytes_list.value)
        if not encoded and key == LABEL and not labels_required:
            continue
        if not encoded:
            return f"{name} has no {what.split()[1]} (feature {key})"
        if image_format(encoded) is None:
            return f"{name} has {what} that is neither JPEG nor PNG (feature {key})"
        try:
            sizes.append(images.decode(encoded).pixels.shape[1::-1])
        except ValueError as fault:
            return f"{name} has {what} that {fault} (feature {key})"
    if len(set(sizes)) > 1:
        (width, height), (label_width, label_height) = sizes
        return (
            f"{name} has a label that is {label_width}x{label_height} pixels (width x height); the"
            f" image is {width}x{height}"
        )
    return f"{name} cannot be decoded: {error_text.one_line(error)}"
