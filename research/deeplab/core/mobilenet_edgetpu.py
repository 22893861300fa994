"""MobileNetEdgeTPU: a relative of MobileNetV3 for the Edge TPU, where full convolutions are cheap.

Published with MobileNetV3 in slim (`V3_EDGETPU`): no squeeze-and-excitation, no hard-swish, and
early blocks whose expansion and depthwise convolution are fused.
"""

import functools

import tensorflow as tf

from deeplab.core import mobilenet

SCOPE = "MobilenetEdgeTPU"
# The variable whose last dimension is the number of channels of the last convolution.
LAST_WEIGHTS = f"{SCOPE}/Conv_1/weights"

_LAST_FILTERS = 1280
_BLOCK = mobilenet.BlockDesign
_FUSED = functools.partial(_BLOCK, fused=True)

BLOCKS = (
    _FUSED(filters=16, expansion=1),
    _FUSED(filters=32, expansion=8, stride=2),
    *3 * (_FUSED(filters=32, expansion=4),),
    _FUSED(filters=48, expansion=8, stride=2),
    *3 * (_FUSED(filters=48, expansion=4),),
    _BLOCK(filters=96, expansion=8, stride=2),
    *3 * (_BLOCK(filters=96, expansion=4),),
    _BLOCK(filters=96, expansion=8, residual=False),
    *3 * (_BLOCK(filters=96, expansion=4),),
    _BLOCK(filters=160, expansion=8, kernel_size=5, stride=2),
    *3 * (_BLOCK(filters=160, expansion=4, kernel_size=5),),
    _BLOCK(filters=192, expansion=8),
)


class MobilenetEdgeTPU(mobilenet.Mobilenet):
    """The network up to its last convolution, ReLU.

    Its fused blocks are never dilated and keep their strides, so that the features are never finer
    than stride 8. With a smaller output stride the later blocks are dilated as if they were, as
    in the official code.

    End points: see `Mobilenet`, n to 24. Official `mobilenet_edgetpu`.

    Args:
        output_stride: Ratio of image size to feature size.
        depth_multiplier: Factor on the channels, which are rounded to multiples of 8.
        last_filters: Channels of the last convolution, whatever the multiplier. None: 1280 times
            the multiplier.
    """

    def __init__(
        self,
        output_stride: int,
        depth_multiplier: float = 1.0,
        last_filters: int | None = None,
    ):
        super().__init__(
            BLOCKS,
            output_stride,
            stem_filters=32,
            last_filters=_LAST_FILTERS if last_filters is None else last_filters,
            multiply_last=last_filters is None,
            activation=tf.nn.relu,
            depth_multiplier=depth_multiplier,
            name=SCOPE,
        )
