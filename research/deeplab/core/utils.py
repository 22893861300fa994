"""Sizes and resizing as DeepLab does them: corners aligned, sizes truncated."""

import math

import tensorflow as tf


def scale_dimension(dimension: int | tf.Tensor, scale: float) -> int | tf.Tensor:
    """Return the scaled size of a side whose first and last pixels stay in place.

    Args:
        dimension: Size of a side in pixels, an int or an integer tensor.
        scale: Factor, such as 1 / output stride.

    Returns:
        `(dimension - 1) * scale + 1`, truncated; an int for an int, an int32 tensor for a tensor.

    Reference: official `core/utils.py`, `scale_dimension`.
    """
    if tf.is_tensor(dimension):
        # As exact as Python's numbers, so that sizes are the same whether or not they are known
        # beforehand. Powers of two are that in float32 too, which every runtime has.
        dtype = tf.float32 if math.frexp(scale)[0] == 0.5 else tf.float64
        return tf.cast((tf.cast(dimension, dtype) - 1.0) * scale + 1.0, tf.int32)
    return int((dimension - 1.0) * scale + 1.0)


def resize_bilinear(
    images: tf.Tensor, size: tuple[int, int] | tf.Tensor, dtype: tf.DType | str | None = None
) -> tf.Tensor:
    """Resize images bilinearly, with the centers of the corner pixels in the corners.

    Args:
        images: [B, H, W, C] of any number type.
        size: (height, width) of the result, integers or an int32 tensor [2].
        dtype: Type of the result. None: that of `images` if it is floating, else float32.

    Returns:
        [B, height, width, C]. Images that are known to have that size already are not resampled.

    Reference: official `core/utils.py`, `resize_bilinear`.
    """
    if dtype is None:
        dtype = images.dtype if images.dtype.is_floating else tf.float32
    if not _has_size(images, size):
        images = tf.raw_ops.ResizeBilinear(images=images, size=size, align_corners=True)
    return tf.cast(images, dtype)


def resize_nearest(images: tf.Tensor, size: tuple[int, int] | tf.Tensor) -> tf.Tensor:
    """Resize label images to the nearest pixel, corners aligned as in `resize_bilinear`.

    Args:
        images: [B, H, W, C] of any number type.
        size: (height, width) of the result, integers or an int32 tensor [2].

    Returns:
        [B, height, width, C] of the type of `images`. Images that are known to have that size
        already are not resampled.
    """
    if _has_size(images, size):
        return images
    return tf.raw_ops.ResizeNearestNeighbor(images=images, size=size, align_corners=True)


def _has_size(images: tf.Tensor, size: tuple[int, int] | tf.Tensor) -> bool:
    """Return whether the images are known to have that size before they are computed."""
    wanted = tf.get_static_value(tf.convert_to_tensor(size))
    return wanted is not None and images.shape[1:3] == tuple(wanted)


def size(images: tf.Tensor) -> list[int | tf.Tensor]:
    """Return height and width of images [B, H, W, C]: ints if known, else scalar tensors."""
    shape = tf.shape(images)
    return [known or shape[axis] for axis, known in enumerate(images.shape[1:3], start=1)]
