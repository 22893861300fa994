"""From image and label to a crop, for training and for evaluation."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from deeplab.core import color_distortion, crops, preprocess_utils
from deeplab.core.options import AugmentationOptions, RandomScale

_FLIP_PROBABILITY = 0.5
# How many crops are tried with `max_class_share`.
_TRIED_CROPS = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Options of the preparation of images and labels for a network.

    Example:
        preprocessing = Preprocessing(crop_size=(513, 513), mean_pixel=(127.5, 127.5, 127.5))

    Args:
        crop_size: (height, width) of a training crop, and what images are padded to elsewhere.
            None: images are not padded, and there are no training crops.
        mean_pixel: Color of the padding, 0..255; that of the backbone.
        ignore_label: Label of the padding.
        min_resize_value: Size of the smaller side, to which images are resized first. None: they
            are not resized. This and the next two: see `preprocess_utils.size_in_range`.
        max_resize_value: Limit of the larger side.
        resize_factor: Both sides are multiples of this plus one.
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
        preprocessing: Options of the preparation.

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
    augmentation: AugmentationOptions | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Take a random crop of the randomly scaled image, flipped or not.

    The result is that of these steps in order: turn the image by quarters, scale it, pad it below
    and right to the crop size, crop it, rotate the crop, flip it; then change the colors of what it
    shows of the image, and blur that. But only the pixels of the crop are computed, in one sampling
    of the image. Officially there are no turns, rotations and changes of colors.

    Args:
        image: [height, width, 3], 0..255.
        label: [height, width, 1].
        seed: integers [2]; they alone determine the result.
        preprocessing: Options of the preparation; a resize comes before everything else.
        scales: The random scales. None: the image is not scaled.
        augmentation: Other changes. None: nothing. It does not change which scale, first
            crop and flip left to right a seed gives.

    Returns:
        image: float32 [height, width, 3] of the crop size, 0..255.
        label: int32 [height, width, 1] of the crop size.

    Raises:
        ValueError: `max_resize_value` is given and `min_resize_value` is not.

    Reference: official `input_preprocess.preprocess_image_and_label`, `is_training=True`.
    """
    augmentation = augmentation or AugmentationOptions()
    crop_size = preprocessing.crop_size
    image, label = _resize(image, label, preprocessing)
    uniform = tf.random.stateless_uniform([4], seed, alg="philox")
    turns, upside_down = _turns(seed, augmentation)
    size = tf.shape(image)[:2]
    if turns:
        size = tf.where(turns.quarters % 2 == 1, tf.reverse(size, [0]), size)
    scale = preprocess_utils.random_scale(scales, uniform[0]) if scales else 1.0
    scaled_size = tf.maximum(tf.cast(tf.cast(size, tf.float32) * scale, tf.int32), 1)
    # An image that is smaller than the crop lies at its top left.
    places = tf.cast(
        tf.maximum(scaled_size - tf.constant(list(crop_size), tf.int32), 0) + 1, tf.float32
    )
    flips = (upside_down, uniform[3] < _FLIP_PROBABILITY)

    def crop_at(place: tf.Tensor) -> crops.StraightCrop | crops.TurnedCrop:
        where = (size, scaled_size, tf.cast(place * places, tf.int32), crop_size, flips)
        return crops.TurnedCrop.of(*where, turns) if turns else crops.StraightCrop.of(*where)

    place = uniform[1:3]
    if augmentation.max_class_share < 1:
        more = _uniform(seed, "places", [_TRIED_CROPS - 1, 2])
        tried = tf.concat([place[tf.newaxis], more], axis=0)

        def share(number: tf.Tensor) -> tf.Tensor:
            crop = crop_at(tried[number])
            # Padding does not count. Until it is filled in, a turned crop repeats the border there.
            shown = crop.pad(tf.cast(crop.nearest(label), tf.int32), preprocessing.ignore_label)
            return _class_share(shown, preprocessing.ignore_label)

        place = tried[_first_below(share, augmentation.max_class_share)]
    crop = crop_at(place)
    image = crop.bilinear(image)
    if augmentation.changes_colors:
        draws = _uniform(seed, "colors", [color_distortion.DISTORT_DRAWS])
        image = color_distortion.distort(image, draws, augmentation)
    if augmentation.random_blur:
        draws = _uniform(seed, "blur", [color_distortion.BLUR_DRAWS])
        image = color_distortion.blur(image, draws, augmentation.random_blur)
    label = tf.cast(crop.nearest(label), tf.int32)
    return (
        crop.pad(image, preprocessing.mean_pixel),
        crop.pad(label, preprocessing.ignore_label),
    )


# What the random numbers of a seed besides the official four are for.
_SUBJECTS = ("turns", "places", "colors", "blur")


def _uniform(seed: tf.Tensor, subject: str, shape: list[int]) -> tf.Tensor:
    """Return random numbers in [0, 1) that do not change with what others are drawn."""
    own = tf.random.experimental.stateless_fold_in(
        tf.convert_to_tensor(seed), _SUBJECTS.index(subject), alg="philox"
    )
    return tf.random.stateless_uniform(shape, own, alg="philox")


def _turns(
    seed: tf.Tensor, augmentation: AugmentationOptions
) -> tuple[crops.Turns | None, tf.Tensor | None]:
    """Return how the image is turned and whether it is upside down; None for what never is."""
    if not (augmentation.turns or augmentation.random_vertical_flip):
        return None, None
    draws = _uniform(seed, "turns", [3])
    turns = None
    if augmentation.turns:
        several = augmentation.random_quarter_turns
        quarters = tf.cast(draws[0] * 4.0, tf.int32) if several else tf.constant(0)
        angle = None
        if augmentation.max_rotation:
            angle = (2.0 * draws[1] - 1.0) * math.radians(augmentation.max_rotation)
        turns = crops.Turns(quarters, angle)
    is_flipped = draws[2] < _FLIP_PROBABILITY if augmentation.random_vertical_flip else None
    return turns, is_flipped


def _class_share(label: tf.Tensor, ignore_label: int) -> tf.Tensor:
    """Return the share of the most frequent class of the pixels that count; 1 without any."""
    values, _, counts = tf.unique_with_counts(tf.reshape(label, [-1]))
    counts = tf.where(values == ignore_label, 0, counts)
    largest, total = tf.reduce_max(counts), tf.reduce_sum(counts)
    return tf.where(total > 0, tf.cast(largest / tf.maximum(total, 1), tf.float32), 1.0)


def _first_below(share: Callable[[tf.Tensor], tf.Tensor], limit: float) -> tf.Tensor:
    """Return the number of the first crop whose share is at most the limit, or of the smallest."""

    def is_above(number: tf.Tensor, best: tf.Tensor, smallest: tf.Tensor) -> tf.Tensor:
        del best
        return (number < _TRIED_CROPS) & (smallest > limit)

    def next_crop(
        number: tf.Tensor, best: tf.Tensor, smallest: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        own = share(number)
        return number + 1, tf.where(own < smallest, number, best), tf.minimum(own, smallest)

    first = (tf.constant(1), tf.constant(0), share(tf.constant(0)))
    return tf.while_loop(is_above, next_crop, first)[1]


def _resize(
    image: tf.Tensor, label: tf.Tensor | None, preprocessing: Preprocessing
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Resize image and label, or batches of them, if asked for."""
    sizes = (preprocessing.min_resize_value, preprocessing.max_resize_value)
    if not any(sizes):
        return image, label
    return preprocess_utils.resize_to_range(image, label, *sizes, preprocessing.resize_factor)
