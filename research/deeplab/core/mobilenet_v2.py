"""MobileNetV2 (arXiv 1801.04381), with atrous convolution for dense features."""

import functools

import tensorflow as tf

from deeplab.core import mobilenet

_BLOCK = functools.partial(mobilenet.BlockDesign, expansion=6, activation=tf.nn.relu6)

# Table 2 of the paper.
BLOCKS = (
    _BLOCK(filters=16, expansion=1),
    _BLOCK(filters=24, stride=2),
    _BLOCK(filters=24),
    _BLOCK(filters=32, stride=2),
    *2 * (_BLOCK(filters=32),),
    _BLOCK(filters=64, stride=2),
    *3 * (_BLOCK(filters=64),),
    *3 * (_BLOCK(filters=96),),
    _BLOCK(filters=160, stride=2),
    *2 * (_BLOCK(filters=160),),
    _BLOCK(filters=320),
)


class MobilenetV2(mobilenet.Mobilenet):
    """MobileNetV2 up to its last bottleneck: 320 channels at multiplier 1, linear.

    End points: see `Mobilenet`, n to 18. Official `_mobilenet_v2`.

    Args:
        output_stride: Ratio of image size to feature size: 1, 2, 4, 8, 16 or 32.
        depth_multiplier: Factor on every layer's channels.
        divisible_by: Channels are rounded to multiples of this; None: 8, or 1 where
            depth_multiplier is not 1. Expansions are always rounded to multiples of 8.
    """

    def __init__(
        self,
        output_stride: int,
        depth_multiplier: float = 1.0,
        divisible_by: int | None = None,
    ):
        if divisible_by is None:
            divisible_by = 8 if depth_multiplier == 1.0 else 1
        super().__init__(
            BLOCKS,
            output_stride,
            stem_filters=32,
            activation=tf.nn.relu6,
            depth_multiplier=depth_multiplier,
            divisible_by=divisible_by,
            min_depth=8 if depth_multiplier == 1.0 else 1,
            name="MobilenetV2",
        )
