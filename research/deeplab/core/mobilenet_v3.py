"""MobileNetV3 for segmentation (arXiv 1905.02244, section 6.4): its last blocks are halved."""

import functools

import tensorflow as tf

from deeplab.core import joints, mobilenet

_SCOPE = "MobilenetV3"


# The blocks of Tables 1 and 2 of the paper: ReLU or hard-swish, with squeeze-and-excitation or not.
_RE = functools.partial(mobilenet.BlockDesign, activation=tf.nn.relu)
_HS = functools.partial(mobilenet.BlockDesign, activation=joints.HardSwish)
_RE_SE = functools.partial(_RE, squeeze_excite=True)
_HS_SE = functools.partial(_HS, squeeze_excite=True)

LARGE = (
    _RE(filters=16, expansion=1),
    _RE(filters=24, expansion=4, stride=2),
    _RE(filters=24, expansion=3),
    _RE_SE(filters=40, expansion=3, kernel_size=5, stride=2),
    _RE_SE(filters=40, expansion=3, kernel_size=5),
    _RE_SE(filters=40, expansion=3, kernel_size=5),
    _HS(filters=80, expansion=6, stride=2),
    _HS(filters=80, expansion=2.5),
    _HS(filters=80, expansion=184 / 80),
    _HS(filters=80, expansion=184 / 80),
    _HS_SE(filters=112, expansion=6),
    _HS_SE(filters=112, expansion=6),
    # Half the paper's channels from here on.
    _HS_SE(filters=80, expansion=3, kernel_size=5, stride=2),
    _HS_SE(filters=80, expansion=6, kernel_size=5),
    _HS_SE(filters=80, expansion=6, kernel_size=5),
)

SMALL = (
    _RE_SE(filters=16, expansion=1, stride=2),
    _RE(filters=24, expansion=72 / 16, stride=2),
    _RE(filters=24, expansion=88 / 24),
    _HS_SE(filters=40, expansion=4, kernel_size=5, stride=2),
    _HS_SE(filters=40, expansion=6, kernel_size=5),
    _HS_SE(filters=40, expansion=6, kernel_size=5),
    _HS_SE(filters=48, expansion=3, kernel_size=5),
    _HS_SE(filters=48, expansion=3, kernel_size=5),
    # Half the paper's channels from here on.
    _HS_SE(filters=48, expansion=3, kernel_size=5, stride=2),
    _HS_SE(filters=48, expansion=6, kernel_size=5),
    _HS_SE(filters=48, expansion=6, kernel_size=5),
)


class MobilenetV3Large(mobilenet.Mobilenet):
    """The large network up to its last convolution: 480 channels at multiplier 1, hard-swish.

    End points: see `Mobilenet`, n to 17. Official `mobilenet_v3_large_seg`.

    Channels are rounded to multiples of 8.
    """

    def __init__(self, output_stride: int, depth_multiplier: float = 1.0):
        super().__init__(
            LARGE,
            output_stride,
            stem_filters=16,
            last_filters=480,
            activation=joints.HardSwish,
            depth_multiplier=depth_multiplier,
            name=_SCOPE,
        )


class MobilenetV3Small(mobilenet.Mobilenet):
    """The small network up to its last convolution: 288 channels at multiplier 1, hard-swish.

    End points: see `Mobilenet`, n to 13. Official `mobilenet_v3_small_seg`.

    Channels are rounded to multiples of 8.
    """

    def __init__(self, output_stride: int, depth_multiplier: float = 1.0):
        super().__init__(
            SMALL,
            output_stride,
            stem_filters=16,
            last_filters=288,
            activation=joints.HardSwish,
            depth_multiplier=depth_multiplier,
            name=_SCOPE,
        )
