"""From image and label to a crop, for training and for evaluation."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from deeplab.core import preprocess_utils
from deeplab.core.options import RandomScale

_FLIP_PROBABILITY = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How images and labels are prepared for a network.

    Example:
        preprocessing = Preprocessing(crop_size=(513, 513), mean_pixel=(127.5, 127.5, 127.5))

    Args:
        crop_size: (height, width) of a training crop, and what images are padded to elsewhere.
            None: images are not padded, and there are no training crops.
        mean_pixel: color of the padding, 0..255; that of the backbone.
        ignore_label: label of the padding.
        min_resize_value: size of the smaller side, to which images are resized first. None: they
            are not resized. This and the next two: see `preprocess_utils.size_in_range`.
        max_resize_value: limit of the larger side.
        resize_factor: both sides are multiples of this plus one.
    """

    crop_size: tuple[int, int] | None
    mean_pixel: tuple[float, ...]
    ignore_label: int = 255
    min_resize_value: int | None = None
    max_resize_value: int | None = None
    resize_factor: int | None = None

    def replace(self, **changes: Any) -> "Preprocessing":
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)


def preprocess_for_evaluation(
    image: tf.Tensor, label: tf.Tensor | None, preprocessing: Preprocessing
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
    """Resize an image if asked for, and pad it below and right to the crop size.

    An image larger than the crop keeps its size.

    Args:
        image: [height, width, 3], 0..255, or a batch of such images.
        label: [height, width, 1], or a batch; or None.
        preprocessing: how to prepare them.

    Returns:
        original_image: the image before padding; float32 if it was resized, else as given.
        image: float32 [height, width, 3], or a batch, 0..255.
        label: int32 [height, width, 1], or a batch; or None.

    Raises:
        ValueError: `max_resize_value` is given and `min_resize_value` is not.

    Reference: official `input_preprocess.preprocess_image_and_label`, `is_training=False`.
    """
    image, label = _resize(image, label, preprocessing)
    size = tf.shape(image)[-3:-1]
    height, width = tf.unstack(tf.maximum(size, preprocessing.crop_size or (1, 1)))
    padded = preprocess_utils.pad_to_bounding_box(
        tf.cast(image, tf.float32), 0, 0, height, width, preprocessing.mean_pixel
    )
    if label is not None:
        label = preprocess_utils.pad_to_bounding_box(
            tf.cast(label, tf.int32), 0, 0, height, width, preprocessing.ignore_label
        )
    return image, padded, label


def preprocess_for_training(
    image: tf.Tensor,
    label: tf.Tensor,
    seed: tf.Tensor,
    preprocessing: Preprocessing,
    scales: RandomScale | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Take a random crop of the randomly scaled image, flipped or not.

    The result is that of these steps in order: scale the image, pad it below and right to the crop
    size, crop it, flip it. But only the pixels of the crop are computed, in one sampling of the
    image.

    Args:
        image: [height, width, 3], 0..255.
        label: [height, width, 1].
        seed: integers [2]; they alone decide scale, crop and flip.
        preprocessing: how to prepare them; a resize comes before the scaling.
        scales: the random scales. None: the image is not scaled.

    Returns:
        image: float32 [height, width, 3] of the crop size, 0..255.
        label: int32 [height, width, 1] of the crop size.

    Raises:
        ValueError: `max_resize_value` is given and `min_resize_value` is not.

    Reference: official `input_preprocess.preprocess_image_and_label`, `is_training=True`.
    """
    crop_size = preprocessing.crop_size
    image, label = _resize(image, label, preprocessing)
    uniform = tf.random.stateless_uniform([4], seed, alg="philox")
    size = tf.shape(image)[:2]
    scale = preprocess_utils.random_scale(scales, uniform[0]) if scales else 1.0
    scaled_size = tf.maximum(tf.cast(tf.cast(size, tf.float32) * scale, tf.int32), 1)
    crop = tf.constant(list(crop_size), tf.int32)
    # An image that is smaller than the crop lies at its top left.
    places = tf.cast(tf.maximum(scaled_size - crop, 0) + 1, tf.float32)
    start = tf.cast(uniform[1:3] * places, tf.int32)
    flip = uniform[3] < _FLIP_PROBABILITY

    rows, columns = (
        preprocess_utils.aligned_positions(size[i], scaled_size[i], start[i], crop_size[i])
        for i in range(2)
    )
    columns = tf.where(flip, tf.reverse(columns, [0]), columns)
    # The padding is on the right before the flip.
    left = tf.where(flip, crop[1] - tf.size(columns), 0)

    def pad(part: tf.Tensor, value: Sequence[float] | int) -> tf.Tensor:
        part = preprocess_utils.pad_to_bounding_box(part, 0, left, crop[0], crop[1], value)
        return tf.ensure_shape(part, [*crop_size, part.shape[-1]])

    image = preprocess_utils.sample_bilinear(image, rows, columns)
    label = preprocess_utils.sample_nearest(label, rows, columns)
    label = tf.cast(label, tf.int32)
    return pad(image, preprocessing.mean_pixel), pad(label, preprocessing.ignore_label)


def _resize(
    image: tf.Tensor, label: tf.Tensor | None, preprocessing: Preprocessing
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Resize image and label, or batches of them, if asked for."""
    sizes = (preprocessing.min_resize_value, preprocessing.max_resize_value)
    if not any(sizes):
        return image, label
    return preprocess_utils.resize_to_range(image, label, *sizes, preprocessing.resize_factor)
