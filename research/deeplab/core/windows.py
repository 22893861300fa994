"""Predicts large images in windows, and averages the probabilities where windows overlap.

The windows lie on a grid that covers the image; the last ones of its rows and columns are moved
inward, so that none leaves the image. The probabilities of a pixel are the mean over the windows
that see it. The weight of a window falls toward its edges, where it sees least of what is around
a pixel.

Besides the image and the result, memory does not grow with the image: a tall image is processed in
bands, and only the sums to which later windows add are kept.
"""

import dataclasses
from collections.abc import Callable, Sequence

import tensorflow as tf

from deeplab.core.options import WindowOptions

# The height of a band in windows. Windows that reach into two bands are predicted for each.
_BAND = 8

# Type, and shape after the first three axes, of a result.
_Kind = tuple[tf.DType, tuple[int, ...]]


def layout(
    sizes: tf.Tensor, padded: tf.Tensor, window: WindowOptions
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the size of the part of padded images that windows cover, and the size of windows.

    In a direction in which an image is larger than the window, windows lie inside the image. In the
    other direction, one window covers the image with its padding, as without windows.

    Args:
        sizes: integers [..., 2], height and width of images.
        padded: integers [..., 2], the same with the padding below and right.
        window: Size of the windows.

    Returns:
        int32 [..., 2] each. Where they are equal, one window sees the whole image.
    """
    sizes, padded = tf.cast(sizes, tf.int32), tf.cast(padded, tf.int32)
    is_larger = sizes > window.size
    return tf.where(is_larger, sizes, padded), tf.where(is_larger, window.size, padded)


def average(
    predict: Callable[[tf.Tensor], tf.Tensor],
    images: tf.Tensor,
    sides: tf.Tensor,
    window: WindowOptions,
    classes: int,
    finish: Callable[[tf.Tensor], Sequence[tf.Tensor]],
) -> tuple[tf.Tensor, ...]:
    """Return the results of `finish` for the mean probabilities of windows.

    The images of a batch are predicted together, a window of each at a time. Works eagerly, in a
    `tf.function` with unknown sizes and in an exported graph.

    Args:
        predict: Takes windows, [B, *sides, 3]; returns probabilities, float32 [B, *sides, classes].
        images: [B, H, W, 3].
        sides: int32 [2], height and width of the windows, from `layout`.
        window: How far they overlap.
        classes: Number of classes.
        finish: Takes the probabilities of some pixels, float32 [..., classes]; returns tensors of
            the same shape up to the last axis.

    Returns:
        These tensors for all pixels, [B, H, W, ...]. The probabilities of a pixel that one window
        sees are those of this window to the last bit.
    """
    shape = tf.shape(images)
    # The sums lie in the memory of the machine, wherever the network runs.
    with tf.device("CPU:0"):
        rows, columns = (
            _Axis.of(shape[1 + axis], sides[axis], window.strides[axis]) for axis in range(2)
        )
        bands = rows.bands(-(-_BAND * window.size[0] // window.strides[0]))
        kinds = [(each.dtype, tuple(each.shape[1:])) for each in finish(tf.zeros([1, classes]))]

        def part(row: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
            """Return the weighted probabilities of a window, [h, w, B, classes]."""
            y, x = rows.starts[row], columns.starts[column]
            crops = images[:, y : y + sides[0], x : x + sides[1]]
            with tf.device(None):
                probabilities = predict(crops)
            weights = rows.weights[row][:, tf.newaxis] * columns.weights[column]
            return tf.transpose(probabilities, [1, 2, 0, 3]) * weights[..., tf.newaxis, tf.newaxis]

        def band(number: tf.Tensor) -> list[tf.Tensor]:
            """Return the results of a band, [height, W, B, ...]."""
            first, begin, end = tf.unstack(bands[number])
            above = rows.starts[begin] - rows.starts[first]
            height = rows.starts[end] - rows.starts[begin]

            def column(index: tf.Tensor) -> tf.Tensor:
                """Return the sums of a column of windows, [w, height, B, classes]."""
                (sums,) = rows.add(
                    lambda row: part(row, index),
                    (first, end),
                    (sides[1], shape[0], classes),
                    lambda sums: [sums],
                    [(tf.float32, (classes,))],
                )
                return tf.transpose(sums[above:], [1, 0, 2, 3])

            between = (tf.constant(0), columns.count)
            found = columns.add(column, between, (height, shape[0], classes), finish, kinds)
            return [_swapped(each, 1, 0, 2) for each in found]

        number_of_bands = tf.shape(bands)[0]
        found = _concatenate(
            lambda number: (band(number), ()), (tf.constant(0), number_of_bands), (), kinds
        )
        return tuple(_swapped(each, 2, 0, 1) for each in found)


@dataclasses.dataclass(frozen=True)
class _Axis:
    """The windows along one side of an image.

    Args:
        count: Number of windows, int32.
        side: Size of a window, int32.
        starts: Where they start, int32 [count + 1]; the last entry is where the image ends.
        weights: Weights of their pixels, float32 [count, side]. At each pixel, the weights of all
            windows add up to one; where there is one window, its weight is exactly one.
    """

    count: tf.Tensor
    side: tf.Tensor
    starts: tf.Tensor
    weights: tf.Tensor

    @classmethod
    def of(cls, length: tf.Tensor, side: tf.Tensor, stride: int) -> "_Axis":
        """Return windows that cover a length."""
        count = -((side - length) // stride) + 1
        starts = tf.minimum(tf.range(count) * stride, length - side)
        within = tf.range(side)
        ramp = tf.cast(tf.minimum(within + 1, side - within), tf.float32)
        ramps = tf.tile(ramp[tf.newaxis], [count, 1])
        pixels = starts[:, tf.newaxis] + within
        totals = tf.math.unsorted_segment_sum(ramps, pixels, length)
        return cls(
            count=count,
            side=side,
            starts=tf.concat([starts, [length]], axis=0),
            weights=ramps / tf.gather(totals, pixels),
        )

    def bands(self, windows: int) -> tf.Tensor:
        """Return groups of this many windows.

        Returns:
            int32 [bands, 3]: the first window that overlaps a band, the first that starts in it,
            and the first that starts in the next band.
        """
        begin = tf.range(0, self.count, windows)
        ends = self.starts[:-1] + self.side
        first = tf.searchsorted(ends, tf.gather(self.starts, begin), side="right")
        return tf.stack([first, begin, tf.minimum(begin + windows, self.count)], axis=1)

    def add(
        self,
        part: Callable[[tf.Tensor], tf.Tensor],
        between: tuple[tf.Tensor, tf.Tensor],
        shape: Sequence[tf.Tensor | int],
        finish: Callable[[tf.Tensor], Sequence[tf.Tensor]],
        kinds: Sequence[_Kind],
    ) -> list[tf.Tensor]:
        """Add windows where they overlap, and return what `finish` returns for [pixels, ...] sums.

        Args:
            part: Takes the number of a window; returns its values, [side, *shape].
            between: The first window, and the one after the last.
            shape: Shape of the values of a pixel of this axis.
            finish: Takes sums that are complete.
            kinds: Kinds of the tensors that `finish` returns.
        """

        def step(index: tf.Tensor, sums: tf.Tensor) -> tuple[Sequence[tf.Tensor], tuple]:
            static = sums.shape
            sums = sums + part(index)
            complete = self.starts[index + 1] - self.starts[index]
            rest = tf.pad(sums[complete:], [[0, complete], [0, 0], [0, 0], [0, 0]])
            return finish(sums[:complete]), (tf.ensure_shape(rest, static),)

        return _concatenate(step, between, (tf.zeros([self.side, *shape]),), kinds)


def _concatenate(
    step: Callable[..., tuple[Sequence[tf.Tensor], tuple]],
    between: tuple[tf.Tensor, tf.Tensor],
    state: tuple[tf.Tensor, ...],
    kinds: Sequence[_Kind],
) -> list[tf.Tensor]:
    """Return the results of steps, one after another along the first axis.

    Args:
        step: Takes a number and the state; returns results and the next state.
        between: The first number, and the one after the last.
        state: The first state.
        kinds: Kinds of the results.
    """
    first, end = between
    arrays = [
        tf.TensorArray(
            dtype, end - first, element_shape=(None, None, None, *rest), infer_shape=False
        )
        for dtype, rest in kinds
    ]

    def body(index: tf.Tensor, arrays: list[tf.TensorArray], state: tuple) -> tuple:
        results, state = step(index, *state)
        arrays = [
            array.write(index - first, result)
            for array, result in zip(arrays, results, strict=True)
        ]
        return index + 1, arrays, state

    _, arrays, _ = tf.while_loop(
        lambda index, *_: index < end, body, (first, arrays, state), parallel_iterations=1
    )
    return [array.concat() for array in arrays]


def _swapped(values: tf.Tensor, *first_axes: int) -> tf.Tensor:
    """Return the values with their first three axes in another order."""
    return tf.transpose(values, [*first_axes, *range(3, values.shape.rank)])
