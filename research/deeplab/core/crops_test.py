"""Every crop against one that is computed pixel by pixel."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from deeplab.core import crops

_SIZE = (13, 17)
_CROP = (9, 12)
_PADDING = (1.0, 2.0, 3.0)


def _plain(image, label, scaled_size, start, flips, quarters=0, angle=0.0):
    """Turn, scale, crop, rotate and flip, in float64; also return which labels are no ties."""
    image, label = np.rot90(image, quarters).astype(np.float64), np.rot90(label, quarters)
    crop = np.zeros((*_CROP, 3))
    crop_label, is_sure = np.zeros(_CROP, np.int32), np.ones(_CROP, bool)
    center = [(min(scaled, side) - 1) / 2 for scaled, side in zip(scaled_size, _CROP, strict=True)]
    for place in np.ndindex(*_CROP):
        y, x = (
            side - 1 - own if flip else own
            for own, side, flip in zip(place, _CROP, flips, strict=True)
        )
        y, x = y - center[0], x - center[1]
        y, x = (
            center[0] + y * math.cos(angle) + x * math.sin(angle) + start[0],
            center[1] + x * math.cos(angle) - y * math.sin(angle) + start[1],
        )
        outside = [
            not -0.5 <= own < side - 0.5 for own, side in zip((y, x), scaled_size, strict=True)
        ]
        if any(outside):
            crop[place], crop_label[place] = _PADDING, -1
        else:
            y, x = (
                min(max(own * (side - 1) / max(scaled - 1, 1), 0), side - 1)
                for own, side, scaled in zip((y, x), image.shape, scaled_size, strict=False)
            )
            top, left = int(y), int(x)
            bottom, right = math.ceil(y), math.ceil(x)
            upper = image[top, left] * (1 - x + left) + image[top, right] * (x - left)
            lower = image[bottom, left] * (1 - x + left) + image[bottom, right] * (x - left)
            crop[place] = upper * (1 - y + top) + lower * (y - top)
            crop_label[place] = label[math.floor(y + 0.5), math.floor(x + 0.5)]
        parts = [own % 1 for own in (y, x)]
        is_sure[place] = all(abs(part - 0.5) > 1e-3 for part in parts)
    return crop, crop_label, is_sure


@pytest.mark.parametrize("scaled_size", [(26, 31), (7, 8), (1, 20)], ids=str)
@pytest.mark.parametrize("quarters", [None, 0, 1, 2, 3])
def test_a_crop_is_the_plain_one(quarters, scaled_size):
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (*_SIZE, 3)).astype(np.uint8)
    label = np.arange(np.prod(_SIZE)).reshape(_SIZE)
    size = _SIZE[::-1] if quarters in (1, 3) else _SIZE
    start = [max(side - crop, 0) // 2 for side, crop in zip(scaled_size, _CROP, strict=True)]
    angles = (None,) if quarters is None else (None, 0.4, -2.0)
    for flips, angle in zip(itertools.product([False, True], repeat=2), angles * 4, strict=False):
        where = (
            *(tf.constant(each, tf.int32) for each in (size, scaled_size, start)),
            _CROP,
            tuple(map(tf.constant, flips)),
        )
        if quarters is None:
            crop = crops.StraightCrop.of(*where)
        else:
            radians = None if angle is None else tf.constant(angle)
            crop = crops.TurnedCrop.of(*where, crops.Turns(tf.constant(quarters), radians))
        ours = crop.pad(crop.bilinear(tf.constant(image)), _PADDING)
        our_label = crop.pad(crop.nearest(tf.constant(label[..., np.newaxis])), -1)
        theirs, their_label, is_sure = _plain(
            image, label, scaled_size, start, flips, quarters or 0, angle or 0.0
        )
        assert ours.dtype == tf.float32
        np.testing.assert_allclose(
            ours.numpy()[is_sure], theirs[is_sure], atol=0.01, err_msg=str((flips, angle))
        )
        np.testing.assert_array_equal(our_label.numpy()[..., 0][is_sure], their_label[is_sure])
        assert np.mean(is_sure) > 0.5


def test_a_quarter_turn_alone_moves_pixels_without_changing_them():
    image = np.random.default_rng(1).integers(0, 256, (*_SIZE, 3)).astype(np.uint8)
    for quarters in range(4):
        expected = np.rot90(image, quarters)
        size = tf.constant(expected.shape[:2])
        crop = crops.TurnedCrop.of(
            size,
            size,
            tf.constant([0, 0]),
            expected.shape[:2],
            (None, tf.constant(False)),
            crops.Turns(tf.constant(quarters), None),
        )
        np.testing.assert_array_equal(crop.bilinear(tf.constant(image)), expected)
        assert np.all(crop.is_inside)
