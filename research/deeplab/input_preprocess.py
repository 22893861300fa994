"""Image and label to crop, for training and for evaluation."""

from collections.abc import Sequence

import tensorflow as tf

from deeplab.core import preprocess_utils

_FLIP_PROBABILITY = 0.5


def preprocess_for_evaluation(
    image: tf.Tensor,
    label: tf.Tensor | None,
    *,
    crop_size: Sequence[int],
    mean_pixel: Sequence[float],
    ignore_label: int,
    min_resize_value: int | None = None,
    max_resize_value: int | None = None,
    resize_factor: int | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
    """The whole image, resized if asked for, and padded below and right to the crop size.

    Args:
        image: [height, width, 3], 0..255.
        label: [height, width, 1], or None.
        crop_size: (height, width) that the result has at least; a larger image keeps its size.
        mean_pixel: colour of the padding, 0..255; that of the backbone.
        ignore_label: label of the padding.
        min_resize_value: size of the smaller side; None leaves the image as it is. This and the
            next two: see `preprocess_utils.size_in_range`.
        max_resize_value: limit of the larger side.
        resize_factor: sides are multiples of this plus one.

    Returns:
        original_image: the image before padding; float32 if it was resized, else as given.
        image: float32 [height, width, 3], 0..255.
        label: int32 [height, width, 1], or None.

    Raises:
        ValueError: `max_resize_value` is given and `min_resize_value` is not.

    Reference: official `input_preprocess.preprocess_image_and_label`, `is_training=False`.
    """
    if min_resize_value or max_resize_value:
        image, label = preprocess_utils.resize_to_range(
            image, label, min_resize_value, max_resize_value, resize_factor
        )
    padded_size = tf.maximum(tf.shape(image)[:2], list(crop_size))
    height, width = padded_size[0], padded_size[1]
    padded = preprocess_utils.pad_to_bounding_box(
        tf.cast(image, tf.float32), 0, 0, height, width, mean_pixel
    )
    if label is not None:
        label = preprocess_utils.pad_to_bounding_box(
            tf.cast(label, tf.int32), 0, 0, height, width, ignore_label
        )
    return image, padded, label


def preprocess_for_training(
    image: tf.Tensor,
    label: tf.Tensor,
    seed: tf.Tensor,
    *,
    crop_size: Sequence[int],
    mean_pixel: Sequence[float],
    ignore_label: int,
    min_resize_value: int | None = None,
    max_resize_value: int | None = None,
    resize_factor: int | None = None,
    min_scale_factor: float = 1.0,
    max_scale_factor: float = 1.0,
    scale_factor_step_size: float = 0.0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """A random crop of the randomly scaled image, flipped or not.

    What comes out is what scaling the image, padding it below and right to the crop size, cropping
    it and flipping it in this order give; but only the pixels of the crop are computed, in one
    sampling of the image.

    Args:
        image: [height, width, 3], 0..255.
        label: [height, width, 1].
        seed: integers [2]; they alone decide about scale, crop and flip.
        crop_size: (height, width) of the result.
        mean_pixel: colour of the padding, 0..255; that of the backbone.
        ignore_label: label of the padding.
        min_resize_value: size of the smaller side before scaling; None leaves the image as it is.
            This and the next two: see `preprocess_utils.size_in_range`.
        max_resize_value: limit of the larger side before scaling.
        resize_factor: sides are multiples of this plus one before scaling.
        min_scale_factor: smallest random scale. This and the next two: see
            `preprocess_utils.random_scale`.
        max_scale_factor: largest random scale.
        scale_factor_step_size: distance of neighbouring scales; 0: any scale between.

    Returns:
        image: float32 [height, width, 3] of the crop size, 0..255.
        label: int32 [height, width, 1] of the crop size.

    Raises:
        ValueError: the scales are no range, or `max_resize_value` is given and
            `min_resize_value` is not.

    Reference: official `input_preprocess.preprocess_image_and_label`, `is_training=True`.
    """
    if min_resize_value or max_resize_value:
        image, label = preprocess_utils.resize_to_range(
            image, label, min_resize_value, max_resize_value, resize_factor
        )
    uniform = tf.random.stateless_uniform([4], seed, alg="philox")
    size = tf.shape(image)[:2]
    scale = preprocess_utils.random_scale(
        min_scale_factor, max_scale_factor, scale_factor_step_size, uniform[0]
    )
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
    return pad(image, mean_pixel), pad(tf.cast(label, tf.int32), ignore_label)
