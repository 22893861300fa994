"""Gaussian filtering in a few dimensions on the permutohedral lattice.

Every point is spread over the vertices of the simplex that it lies in, the vertices are blurred
along each axis of the lattice, and the points read their values back: the cost grows with the
number of points, not with its square. Here these are products with sparse matrices, made once for
a set of points.

Reference: Adams, Baek and Davis, "Fast high-dimensional filtering using the permutohedral lattice"
(2010). Rounding and ties are those of the code of Krähenbühl and Koltun (arXiv 1210.5644), so the
numbers are the same.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

# A vertex is packed into one integer below this; there is room for its neighbors' above.
_LARGEST_KEY = 2.0**62
# Columns that are filtered at a time: TensorFlow's CPU kernel runs a product in one thread, best
# with multiples of four columns and badly with 32 or more, so that two threads take 21 in two.
_MAX_WIDTH = 12
_WIDTH_STEP = 4


class SparseMatrix(NamedTuple):
    """A sparse matrix.

    Attributes:
        indices: Rows and columns, int32 [entries, 2].
        values: float32 [entries].
        shape: int64 [2].
    """

    indices: tf.Tensor
    values: tf.Tensor
    shape: tf.Tensor

    def product(self, dense: tf.Tensor, transpose: bool = False) -> tf.Tensor:
        """Multiply the matrix, or its transpose, with a dense one."""
        return tf.raw_ops.SparseTensorDenseMatMul(
            a_indices=self.indices,
            a_values=self.values,
            a_shape=self.shape,
            b=dense,
            adjoint_a=transpose,
        )


class Lattice(NamedTuple):
    """The lattice of a set of points.

    Attributes:
        splat: The points' (rows) weights in the vertices (columns), for values that go in.
        blurs: For each axis the weights of vertices (columns) in the blurred ones (rows).
        slice: Like `splat`, for values that come out.
    """

    splat: SparseMatrix
    blurs: tuple[SparseMatrix, ...]
    slice: SparseMatrix

    def filter(self, values: tf.Tensor) -> tf.Tensor:
        """Return for each point the sum of all points' values, weighted by a Gaussian.

        Args:
            values: float32 [points, columns]; the number of columns is known.

        Returns:
            float32 [points, columns].
        """
        columns = values.shape[1]
        widths = _widths(columns)
        padded = tf.pad(values, [[0, 0], [0, sum(widths) - columns]])
        parts = [self._filter(part) for part in tf.split(padded, widths, axis=1)]
        return tf.concat(parts, axis=1)[:, :columns]

    def _filter(self, values: tf.Tensor) -> tf.Tensor:
        values = self.splat.product(values, transpose=True)
        for blur in self.blurs:
            values = blur.product(values)
        return self.slice.product(values)

    def scaled(self, before: tf.Tensor | float, after: tf.Tensor | float) -> "Lattice":
        """Return a lattice whose filter also multiplies the points' values, at no further cost.

        Args:
            before: Factors of the values that go in, float32 [points], or one for all.
            after: Factors of the values that come out, float32 [points], or one for all.
        """
        return self._replace(
            splat=_scale_rows(self.splat, before), slice=_scale_rows(self.slice, after)
        )


def build(features: Sequence[tf.Tensor]) -> Lattice:
    """Build the lattice of points, for a Gaussian of standard deviation 1.

    The exact Gaussian is 1 at distance 0; the filter is in proportion to it, roughly: its sums are
    to be normalized.

    Args:
        features: The coordinates of the points, float32 [points] for each dimension.

    Returns:
        The lattice.

    Raises:
        InvalidArgumentError: When it runs, if the points are spread over more of the lattice than
            can be numbered.
    """
    corners, ranks, weights = _simplices(features)
    vertices, keys, strides = _vertices(corners, ranks)
    points = tf.range(tf.size(features[0]))
    indices = tf.stack([tf.repeat(points, len(weights)), _interleave(vertices)], axis=1)
    shape = tf.stack([tf.size(points), tf.size(keys)])
    values = _interleave(weights)
    splat = SparseMatrix(indices, values, tf.cast(shape, tf.int64))
    gain = 1 / (1 + 2.0 ** -len(features))
    blurs = tuple(_blur(keys, strides, axis) for axis in range(len(weights)))
    return Lattice(splat, blurs, splat._replace(values=values * gain))


def opaque(value: tf.Tensor | float) -> tf.Tensor:
    """Return the number, hidden from the graph optimizer.

    It would reorder sums and products with constants, and on a lattice rounding counts: marginals
    would move by 1e-3.
    """
    return tf.raw_ops.PlaceholderWithDefault(input=tf.cast(value, tf.float32), shape=())


def _widths(columns: int) -> list[int]:
    """Return the widths of parts to filter a matrix in; the last may need padding."""
    if columns < _WIDTH_STEP:
        return [columns]
    steps = -(-columns // _WIDTH_STEP)
    parts = -(-steps * _WIDTH_STEP // _MAX_WIDTH)
    return [_WIDTH_STEP * (steps // parts + (part < steps % parts)) for part in range(parts)]


def _simplices(
    features: Sequence[tf.Tensor],
) -> tuple[list[tf.Tensor], list[tf.Tensor], list[tf.Tensor]]:
    """Find the simplex around each point.

    Returns:
        Its corner of remainder 0, in units of d + 1, and the ranks of the point's distances from
        it (0 is the largest), d coordinates each; and the weights of its d + 1 vertices.
    """
    d = len(features)
    # Onto the hyperplane in d + 1 dimensions whose coordinates sum to 0.
    spread = np.float32(math.sqrt(2 / 3) * (d + 1))
    total = tf.zeros_like(features[0])
    elevated = [total] * (d + 1)
    for j in range(d, 0, -1):
        # Rounded once: a last digit more or less puts some points into other simplices.
        scaled = features[j - 1] * opaque(float(spread) / math.sqrt(j * (j + 1)))
        elevated[j] = total - j * scaled
        total = total + scaled
    elevated[0] = total

    # The nearest point whose coordinates are multiples of d + 1. Where they do not sum to 0, those
    # that were rounded most are moved.
    share = np.float32(1 / (d + 1))
    rounded = [tf.round(value * share) for value in elevated]
    excess = tf.cast(tf.add_n(rounded), tf.int32)
    distance = [value - near * (d + 1) for value, near in zip(elevated, rounded, strict=True)]
    ranks = [excess] * (d + 1)
    for i, j in itertools.combinations(range(d + 1), 2):
        smaller = tf.cast(distance[i] < distance[j], tf.int32)
        ranks[i] += smaller
        ranks[j] += 1 - smaller
    moves = [tf.cast(rank < 0, tf.int32) - tf.cast(rank > d, tf.int32) for rank in ranks]
    ranks = [rank + (d + 1) * move for rank, move in zip(ranks, moves, strict=True)]
    rounded = [near + tf.cast(move, tf.float32) for near, move in zip(rounded, moves, strict=True)]

    offsets = [
        (value - near * (d + 1)) * share for value, near in zip(elevated, rounded, strict=True)
    ]
    # From the largest to the smallest; barycentric coordinates are their differences.
    ordered = [
        tf.add_n([tf.where(rank == k, off, 0.0) for rank, off in zip(ranks, offsets, strict=True)])
        for k in range(d + 1)
    ]
    weights = [ordered[d] + (1.0 - ordered[0])]
    weights += [ordered[d - k] - ordered[d + 1 - k] for k in range(1, d + 1)]
    return rounded[:d], ranks[:d], weights


def _vertices(
    corners: Sequence[tf.Tensor], ranks: Sequence[tf.Tensor]
) -> tuple[list[tf.Tensor], tf.Tensor, list[tf.Tensor]]:
    """Number the vertices of all simplices.

    A vertex of remainder r has coordinates (d + 1) q + r. Its key is r + the sum of q's
    coordinates, each from its least value, by their strides; neighbors in the lattice have keys at
    a fixed distance. Vertices are numbered in the order of the keys, so that neighbors are near
    each other in memory.

    Returns:
        For each remainder the numbers of the points' vertices, int32 [points]; the keys of the
        vertices, int64, ascending; and the strides of the d coordinates, int64.
    """
    d = len(corners)
    # A vertex may be one below the corner of its simplex, a neighbor two below or one above.
    low = [tf.reduce_min(corner) - 2 for corner in corners]
    sizes = [tf.reduce_max(corner) - least + 2 for corner, least in zip(corners, low, strict=True)]
    keys_needed = (d + 1) * tf.reduce_prod(tf.cast(tf.stack(sizes), tf.float64))
    too_far = (
        "the kernels' standard deviations (pos_sxy, bi_sxy, bi_srgb) are too small for images of"
        " this size: the lattice has more vertices than can be numbered"
    )
    with tf.control_dependencies(
        [tf.debugging.assert_less(keys_needed, tf.constant(_LARGEST_KEY, tf.float64), too_far)]
    ):
        sizes = [tf.cast(size, tf.int64) for size in sizes]
    strides = [tf.constant(d + 1, tf.int64)]
    for size in sizes[:0:-1]:
        strides.insert(0, strides[0] * size)
    key = tf.add_n(
        [
            tf.cast(corner - least, tf.int64) * stride
            for corner, least, stride in zip(corners, low, strides, strict=True)
        ]
    )
    keys = [key]
    for remainder in range(1, d + 1):
        # Add one to each coordinate, and subtract d + 1 from the coordinate whose turn it is.
        turn = d + 1 - remainder
        key += 1 - tf.add_n(
            [tf.where(rank == turn, stride, 0) for rank, stride in zip(ranks, strides, strict=True)]
        )
        keys.append(key)
    found, numbers = tf.unique(_interleave(keys))
    order = tf.argsort(found)
    numbers = tf.gather(tf.math.invert_permutation(order), numbers)
    numbers = tf.unstack(tf.reshape(numbers, [-1, d + 1]), axis=1)
    return numbers, tf.gather(found, order), strides


def _blur(keys: tf.Tensor, strides: Sequence[tf.Tensor], axis: int) -> SparseMatrix:
    """Add half of both neighbors along an axis, if there are any, to each vertex."""
    d = len(strides)
    step = 1 - (strides[axis] if axis < d else 0)
    # From remainder d one more is remainder 0, one unit on in every coordinate.
    carry = tf.add_n(list(strides)) - (d + 1)
    wanted = keys + step + tf.where(keys % (d + 1) == d, carry, 0)
    vertices = tf.range(tf.size(keys))
    place = tf.minimum(tf.searchsorted(keys, wanted), vertices[-1])
    is_there = tf.gather(keys, place) == wanted
    here, there = tf.boolean_mask(vertices, is_there), tf.boolean_mask(place, is_there)
    indices = tf.concat(
        [
            tf.stack([vertices, vertices], axis=1),
            tf.stack([here, there], axis=1),
            tf.stack([there, here], axis=1),
        ],
        axis=0,
    )
    weights = [tf.ones_like(keys, tf.float32), tf.fill([2 * tf.size(here)], 0.5)]
    shape = tf.cast(tf.stack([tf.size(keys)] * 2), tf.int64)
    return SparseMatrix(indices, tf.concat(weights, axis=0), shape)


def _interleave(columns: Sequence[tf.Tensor]) -> tf.Tensor:
    """Interleave vectors [points] as one [points * columns], a point's values side by side."""
    return tf.reshape(tf.stack(columns, axis=1), [-1])


def _scale_rows(matrix: SparseMatrix, factors: tf.Tensor | float) -> SparseMatrix:
    """Multiply the matrix of points (rows) by a factor for each of them, or one for all."""
    factors = tf.convert_to_tensor(factors, tf.float32)
    if factors.shape.rank:
        factors = tf.gather(factors, matrix.indices[:, 0])
    return matrix._replace(values=matrix.values * factors)
