"""The arg-max of bilinearly upsampled logits, computed where it can change only.

Bilinear interpolation gives a convex combination of the four corners of a cell of the grid. So a
class that is the largest at all corners is the largest everywhere in the cell, and only the cells
whose corners disagree have to be upsampled: on photographs about a tenth.
"""

import math

import tensorflow as tf

from deeplab.core import utils

# A class leads by more than what rounding can change, relative to the largest logit.
_LEAST_LEAD = 1e-5
# With a larger share of unclear cells it takes longer than upsampling everything.
_LARGEST_SHARE = 0.5


def arg_max(logits: tf.Tensor, size: tf.Tensor, stride: float) -> tf.Tensor:
    """Return the labels of logits that are resized to the images, corners aligned.

    Args:
        logits: float32 [B, h, w, classes].
        size: int32 [2], height and width of the images.
        stride: The ratio of image size to logits size. Cells are whole if it is a power of two and
            the sides of the images are multiples of it plus one.

    Returns:
        int32 [B, height, width], equal to the arg-max of `utils.resize_bilinear(logits, size)`,
        which is computed where the cells are not whole or most of them are unclear.
    """

    def plain() -> tf.Tensor:
        return tf.argmax(utils.resize_bilinear(logits, size), axis=-1, output_type=tf.int32)

    # Only these are exact in binary numbers.
    if stride < 2 or math.frexp(stride)[0] != 0.5:
        return plain()
    step = int(stride)
    grid = tf.shape(logits)[1:3]
    labels, unclear = _corners(logits)
    whole = tf.reduce_all(tf.equal(size, (grid - 1) * step + 1))
    share = tf.reduce_mean(tf.cast(unclear, tf.float32))
    return tf.cond(
        whole & (share <= _LARGEST_SHARE), lambda: _by_cells(logits, labels, unclear, step), plain
    )


def _corners(logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the labels on the grid, and for each whether the cell below and right is unclear."""
    labels = tf.argmax(logits, axis=-1, output_type=tf.int32)
    largest = tf.reduce_max(logits, axis=-1)
    is_label = tf.one_hot(labels, logits.shape[-1], on_value=True, off_value=False)
    others = tf.reduce_max(tf.where(is_label, logits.dtype.min, logits), axis=-1)
    leads = largest - others > _LEAST_LEAD * tf.reduce_max(tf.abs(logits))
    first, *rest = _cell_corners(tf.where(leads, labels, -1)[..., tf.newaxis])
    same = tf.reduce_all([tf.equal(first, other) for other in rest], axis=0) & (first >= 0)
    return labels, tf.logical_not(same[..., 0])


def _cell_corners(grid: tf.Tensor) -> list[tf.Tensor]:
    """Return top left, top right, bottom left and bottom right corner of each cell.

    Beyond the last row and column they are repeated: a cell there has no size.
    """
    below = tf.concat([grid[:, 1:], grid[:, -1:]], axis=1)
    return [
        corner
        for row in (grid, below)
        for corner in (row, tf.concat([row[:, :, 1:], row[:, :, -1:]], axis=2))
    ]


def _by_cells(logits: tf.Tensor, labels: tf.Tensor, unclear: tf.Tensor, step: int) -> tf.Tensor:
    """Return the labels, with one of the corners' for all pixels of a cell that is not unclear."""
    cells = tf.where(unclear)
    corners = [
        tf.gather_nd(corner, cells)[:, tf.newaxis, tf.newaxis] for corner in _cell_corners(logits)
    ]
    # The order of operations is that of TensorFlow's kernel, for the same bits.
    share = tf.range(step, dtype=tf.float32) / step
    columns, rows = share[:, tf.newaxis], share[:, tf.newaxis, tf.newaxis]
    top, bottom = (left + (right - left) * columns for left, right in (corners[:2], corners[2:]))
    found = tf.argmax(top + (bottom - top) * rows, axis=-1, output_type=tf.int32)
    pixels = tf.tile(labels[..., tf.newaxis, tf.newaxis], [1, 1, 1, step, step])
    pixels = tf.tensor_scatter_nd_update(pixels, cells, found)
    batch, height, width = tf.unstack(tf.shape(labels))
    pixels = tf.reshape(tf.transpose(pixels, [0, 1, 3, 2, 4]), [batch, height * step, width * step])
    return pixels[:, : (height - 1) * step + 1, : (width - 1) * step + 1]
