"""Crops of a scaled image as one sampling of it, straight or turned."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from deeplab.core import preprocess_utils


class Turns(NamedTuple):
    """By how much an image is turned.

    Attributes:
        quarters: int32 scalar, number of quarter turns of the image before it is scaled,
            counterclockwise.
        angle: float32 scalar, angle by which the crop is rotated in radians, counterclockwise,
            around the center of what it shows; None: it is not.
    """

    quarters: tf.Tensor
    angle: tf.Tensor | None


@dataclasses.dataclass(frozen=True)
class StraightCrop:
    """A crop with the sides of the image; flipped or not.

    What lies outside of the image is padding, below and right before the flips.

    Attributes:
        rows: float32 [h], the positions in the image that are sampled.
        columns: float32 [w].
        top: int32 scalar, rows of padding above.
        left: int32 scalar, columns of padding on the left.
        size: (height, width) of the crop.
    """

    rows: tf.Tensor
    columns: tf.Tensor
    top: int | tf.Tensor
    left: int | tf.Tensor
    size: tuple[int, int]

    @classmethod
    def of(
        cls,
        image_size: tf.Tensor,
        scaled_size: tf.Tensor,
        start: tf.Tensor,
        size: tuple[int, int],
        flips: tuple[tf.Tensor | None, tf.Tensor],
    ) -> "StraightCrop":
        """Return the crop of an image.

        Args:
            image_size: int32 [2], height and width of the image.
            scaled_size: int32 [2], those of the scaled image.
            start: int32 [2], row and column of the crop in the scaled image.
            size: (height, width) of the crop.
            flips: Boolean scalars, whether it is upside down and left to right. None: never.
        """
        positions, before = [], []
        for axis, flip in enumerate(flips):
            own = preprocess_utils.aligned_positions(
                image_size[axis], scaled_size[axis], start[axis], size[axis]
            )
            if flip is None:
                before.append(0)
            else:
                before.append(tf.where(flip, size[axis] - tf.size(own), 0))
                own = tf.where(flip, tf.reverse(own, [0]), own)
            positions.append(own)
        return cls(*positions, *before, size)

    def bilinear(self, image: tf.Tensor) -> tf.Tensor:
        """Return the part of an image [height, width, channels] without padding, float32."""
        return preprocess_utils.sample_bilinear(image, self.rows, self.columns)

    def nearest(self, label: tf.Tensor) -> tf.Tensor:
        """Return the part of a label [height, width, 1] without padding."""
        return preprocess_utils.sample_nearest(label, self.rows, self.columns)

    def pad(self, part: tf.Tensor, value: Sequence[float] | int) -> tf.Tensor:
        """Return the crop, with padding of one color around a part that was sampled."""
        part = preprocess_utils.pad_to_bounding_box(part, self.top, self.left, *self.size, value)
        return tf.ensure_shape(part, [*self.size, part.shape[-1]])


@dataclasses.dataclass(frozen=True)
class TurnedCrop:
    """A crop of an image that is turned, scaled, rotated and flipped, in this order.

    Attributes:
        rows: float32 [height, width], the positions that are sampled in the turned image; outside
            of the image, the nearest inside.
        columns: The same for the columns.
        is_inside: Booleans [height, width], whether the pixel shows the image.
        quarters: See `Turns`.
        size: (height, width) of the crop.
    """

    rows: tf.Tensor
    columns: tf.Tensor
    is_inside: tf.Tensor
    quarters: tf.Tensor
    size: tuple[int, int]

    @classmethod
    def of(
        cls,
        image_size: tf.Tensor,
        scaled_size: tf.Tensor,
        start: tf.Tensor,
        size: tuple[int, int],
        flips: tuple[tf.Tensor | None, tf.Tensor],
        turns: Turns,
    ) -> "TurnedCrop":
        """Return the crop of an image.

        Args:
            image_size: int32 [2], height and width of the turned image.
            scaled_size: See `StraightCrop.of`, for this and the next three.
            start: Row and column of the crop.
            size: (height, width) of the crop.
            flips: Whether it is flipped.
            turns: How the image is turned.
        """
        places = []
        for length, flip in zip(size, flips, strict=True):
            own = tf.range(length, dtype=tf.float32)
            places.append(own if flip is None else tf.where(flip, tf.reverse(own, [0]), own))
        rows, columns = tf.meshgrid(*places, indexing="ij")
        if turns.angle is not None:
            shown = tf.cast(tf.minimum(scaled_size, size) - 1, tf.float32) / 2.0
            down, right = rows - shown[0], columns - shown[1]
            cosine, sine = tf.cos(turns.angle), tf.sin(turns.angle)
            rows = shown[0] + cosine * down + sine * right
            columns = shown[1] + cosine * right - sine * down
        is_inside, positions = True, []
        for axis, place in enumerate((rows, columns)):
            place += tf.cast(start[axis], tf.float32)
            last = tf.cast(scaled_size[axis] - 1, tf.float32)
            is_inside &= (place >= -0.5) & (place < last + 0.5)
            end = tf.cast(image_size[axis] - 1, tf.float32)
            step = end / tf.maximum(last, 1.0)
            positions.append(tf.clip_by_value(place * step, 0.0, end))
        return cls(*positions, is_inside, turns.quarters, size)

    def bilinear(self, image: tf.Tensor) -> tf.Tensor:
        """Return the crop of an image [height, width, channels], float32."""
        low = tf.floor(self.rows), tf.floor(self.columns)
        high = tf.math.ceil(self.rows), tf.math.ceil(self.columns)
        right = (self.columns - low[1])[..., tf.newaxis]
        lines = []
        for row in (low[0], high[0]):
            left = tf.cast(self._take(image, row, low[1]), tf.float32)
            lines.append(
                left + (tf.cast(self._take(image, row, high[1]), tf.float32) - left) * right
            )
        return lines[0] + (lines[1] - lines[0]) * (self.rows - low[0])[..., tf.newaxis]

    def nearest(self, label: tf.Tensor) -> tf.Tensor:
        """Return the crop of a label [height, width, 1]."""
        rows, columns = (preprocess_utils.nearest(each) for each in (self.rows, self.columns))
        return self._take(label, rows, columns)

    def pad(self, crop: tf.Tensor, value: Sequence[float] | int) -> tf.Tensor:
        """Return a crop that was sampled, in one color where it does not show the image."""
        crop = tf.where(self.is_inside[..., tf.newaxis], crop, tf.cast(value, crop.dtype))
        return tf.ensure_shape(crop, [*self.size, crop.shape[-1]])

    def _take(self, image: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
        """Return pixels of the turned image, from the image as it is stored."""
        rows, columns = tf.cast(rows, tf.int32), tf.cast(columns, tf.int32)
        height, width = tf.unstack(tf.shape(image)[:2])
        # The row 0 of a quarter turn is the last column, from above.
        rows, columns = _chosen(
            self.quarters,
            (rows, columns),
            (columns, width - 1 - rows),
            (height - 1 - rows, width - 1 - columns),
            (height - 1 - columns, rows),
        )
        pixels = tf.reshape(image, [height * width, image.shape[-1]])
        return tf.gather(pixels, rows * width + columns)


def _chosen(
    number: tf.Tensor, *choices: tuple[tf.Tensor, tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the pair of that number; only it has to be in range."""
    chosen = choices[0]
    for index, pair in enumerate(choices[1:], start=1):
        chosen = tuple(
            tf.where(number == index, new, old) for new, old in zip(pair, chosen, strict=True)
        )
    return chosen
