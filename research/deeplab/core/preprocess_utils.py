"""The image operations that preprocessing is made of.

Resampling keeps the centers of the corner pixels in the corners (`align_corners`), as all of
DeepLab does.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from deeplab.core import utils
from deeplab.core.options import RandomScale


def size_in_range(
    size: tf.Tensor, min_size: int, max_size: int | None = None, factor: int | None = None
) -> tf.Tensor:
    """Return the size of an image resized into a range, with its aspect ratio.

    Args:
        size: int32 [2], height and width.
        min_size: Size of the smaller side after scaling, if `max_size` allows it.
        max_size: Limit of the larger side, which then decides. None: no limit.
        factor: Both sides become multiples of this plus one; `max_size` is lowered and the sides
            are raised to such a number. None: any number.

    Returns:
        int32 [2], height and width.

    Reference: official `preprocess_utils.resize_to_range`. The arithmetic is that of float32: its
        rounding decides some sizes.
    """
    sides = tf.cast(size, tf.float32)

    def scaled_to(side: tf.Tensor, wanted: int) -> tf.Tensor:
        return tf.cast(tf.floor(sides * (tf.cast(wanted, tf.float32) / side)), tf.int32)

    new_size = scaled_to(tf.reduce_min(sides), min_size)
    if max_size is not None:
        if factor is not None:
            max_size -= (max_size - 1) % factor
        limited = scaled_to(tf.reduce_max(sides), max_size)
        new_size = tf.where(tf.reduce_max(new_size) > max_size, limited, new_size)
    if factor is not None:
        new_size += (1 - new_size) % factor
    return new_size


def resize_to_range(
    image: tf.Tensor,
    label: tf.Tensor | None,
    min_size: int | None,
    max_size: int | None = None,
    factor: int | None = None,
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Resize an image (bilinearly) and its label (to the nearest) to a size of `size_in_range`.

    Args:
        image: [height, width, channels], or a batch of them.
        label: [height, width, 1], or a batch of them; or None.
        min_size: See `size_in_range`.
        max_size: See `size_in_range`.
        factor: See `size_in_range`.

    Returns:
        The image, float32, and the label, of the type it had.

    Raises:
        ValueError: There is no `min_size`.

    Reference: official `preprocess_utils.resize_to_range`.
    """
    if not min_size:
        raise ValueError(
            f"--min_resize_value is {min_size}; --max_resize_value={max_size} and"
            f" --resize_factor={factor} need it"
        )
    size = size_in_range(tf.shape(image)[-3:-1], min_size, max_size, factor)
    image = _batched(lambda images: utils.resize_bilinear(images, size, tf.float32), image)
    if label is not None:
        label = _batched(lambda labels: utils.resize_nearest(labels, size), label)
    return image, label


def _batched(operation: Callable[[tf.Tensor], tf.Tensor], image: tf.Tensor) -> tf.Tensor:
    """Apply an operation on batches to an image or a batch."""
    return operation(image) if image.shape.rank == 4 else operation(image[tf.newaxis])[0]


def pad_to_bounding_box(
    image: tf.Tensor,
    top: int | tf.Tensor,
    left: int | tf.Tensor,
    height: int | tf.Tensor,
    width: int | tf.Tensor,
    value: float | Sequence[float] | tf.Tensor,
) -> tf.Tensor:
    """Put an image into a larger one of one color.

    Args:
        image: [h, w, channels] of any number type, or a batch of such images.
        top: Rows of padding above the image.
        left: Columns of padding left of it.
        height: Rows of the result, at least `top + h`.
        width: Columns of the result, at least `left + w`.
        value: The color, one number, or one per channel.

    Returns:
        [height, width, channels], or a batch, of the type of `image`.

    Reference: official `preprocess_utils.pad_to_bounding_box`.
    """
    *batch, rows, columns, channels = tf.unstack(tf.shape(image))
    channels = image.shape[-1] or channels
    color = tf.broadcast_to(tf.cast(value, image.dtype), [channels])
    # Where channels are no axis of their own, TensorFlow adds a color several times as fast.
    flat = tf.reshape(image, [*batch, rows, columns * channels]) - tf.tile(color, [columns])
    below, right = height - top - rows, (width - left - columns) * channels
    paddings = [[0, 0]] * len(batch) + [[top, below], [left * channels, right]]
    flat = tf.pad(flat, paddings) + tf.tile(color, [width])
    return tf.reshape(flat, [*batch, height, width, channels])


def random_scale(scales: RandomScale, uniform: float | tf.Tensor) -> tf.Tensor:
    """Return the scale that a random number chooses.

    Args:
        scales: The scales to choose from. Where the step does not divide the range, they are
            spread evenly over the whole range with a larger step.
        uniform: The random number in [0, 1).

    Returns:
        A float32 scalar.

    Reference: official `preprocess_utils.get_random_scale`.
    """
    min_scale, max_scale = scales.min_scale_factor, scales.max_scale_factor
    if min_scale == max_scale:
        return tf.constant(min_scale, tf.float32)
    if scales.scale_factor_step_size == 0:
        return min_scale + uniform * (max_scale - min_scale)
    count = scales.num_scales()
    # This operation, unlike tf.linspace, gives the official scales to the last bit; with some of
    # them, that bit decides about a row of the scaled image.
    table = tf.raw_ops.LinSpace(start=min_scale, stop=max_scale, num=count)
    return table[tf.cast(uniform * count, tf.int32)]


def aligned_positions(
    size: tf.Tensor, scaled_size: tf.Tensor, start: tf.Tensor, limit: int
) -> tf.Tensor:
    """Return the positions in a side of the pixels of a part of it, scaled.

    Args:
        size: Pixels of the side, an int32 scalar.
        scaled_size: Pixels of the scaled side, an int32 scalar.
        start: The first pixel of the part, in the scaled side.
        limit: Pixels of the part, of which those past the end of the scaled side are left out.

    Returns:
        float32 [number of pixels], in pixels of the side, first to last. They are the ones that
        TensorFlow's resizing kernels compute, to the last bit, but none is past the end.
    """
    # A side of one pixel shows the first.
    step = tf.cast(size - 1, tf.float32) / tf.cast(tf.maximum(scaled_size - 1, 1), tf.float32)
    pixels = tf.range(start, tf.minimum(start + limit, scaled_size))
    return tf.minimum(tf.cast(pixels, tf.float32) * step, tf.cast(size - 1, tf.float32))


def sample_bilinear(image: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Sample an image bilinearly on a grid.

    Args:
        image: [height, width, channels] of any number type.
        rows: float32 [h], positions in [0, height - 1].
        columns: float32 [w], positions in [0, width - 1].

    Returns:
        float32 [h, w, channels].
    """
    # First the columns, of only those rows that are needed: this reads and computes the least.
    first = tf.cast(tf.reduce_min(rows), tf.int32)
    last = tf.cast(tf.math.ceil(tf.reduce_max(rows)), tf.int32)
    image = image[first : last + 1]
    height, _, channels = tf.unstack(tf.shape(image))
    channels = image.shape[-1] or channels
    width = tf.size(columns)
    low, high, weight = _neighbors(image, columns, axis=1)
    # Without an axis of channels, TensorFlow interpolates about twice as fast.
    low, high = (tf.reshape(each, [height, width * channels]) for each in (low, high))
    flat = low + (high - low) * tf.repeat(weight, channels)
    low, high, weight = _neighbors(flat, rows - tf.cast(first, tf.float32), axis=0)
    flat = low + (high - low) * weight[:, tf.newaxis]
    return tf.reshape(flat, [tf.size(rows), width, channels])


def _neighbors(
    image: tf.Tensor, positions: tf.Tensor, axis: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the pixels before and after each position, float32, and the weight of the latter."""
    below = tf.floor(positions)
    low = tf.cast(tf.gather(image, tf.cast(below, tf.int32), axis=axis), tf.float32)
    above = tf.cast(tf.math.ceil(positions), tf.int32)
    high = tf.cast(tf.gather(image, above, axis=axis), tf.float32)
    return low, high, positions - below


def sample_nearest(label: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Sample a label at the pixels nearest to a grid; of two equally near, the later one.

    Args:
        label: [height, width, 1] of any number type.
        rows: float32 [h], positions in [0, height - 1].
        columns: float32 [w], positions in [0, width - 1].

    Returns:
        [h, w, 1] of the type of `label`.
    """
    rows_of_label = tf.gather(label[..., 0], nearest(rows))
    # It is faster to take rows, which are copied as a whole, and to transpose twice.
    columns_of_label = tf.gather(tf.transpose(rows_of_label), nearest(columns))
    return tf.transpose(columns_of_label)[..., tf.newaxis]


def nearest(positions: tf.Tensor) -> tf.Tensor:
    """Return the integers nearest to floats that are not negative; of two, the later one."""
    below = tf.floor(positions)
    # Not floor(x + 0.5), whose sum rounds up just below a tie.
    return tf.cast(below + tf.cast(positions - below >= 0.5, tf.float32), tf.int32)
