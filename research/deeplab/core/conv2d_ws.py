"""Convolutions that train with one image per device: standardized weights, group norm."""

import keras
import tensorflow as tf

from deeplab.core import joints, layers

_WEIGHT_EPSILON = 1e-5
_GROUPS = 32
_GROUP_NORM_EPSILON = 1e-6


class StandardizedConv2D(layers.Conv2D):
    """Convolution with a standardized kernel, then group norm, then activation.

    Each filter of the kernel is shifted and scaled to mean 0 and variance 1 before it is used
    (arXiv 1903.10520, equation 6; official `core/conv2d_ws.py`); groups of channels are
    normalized within each image (arXiv 1803.08494; official `slim.group_norm`). Nothing depends
    on the batch. Variables: `weights` [k, k, in, out], `GroupNorm/gamma`, `GroupNorm/beta`.

    Args:
        filters: Channels of the output, a multiple of 32, or fewer.
        kernel_size: Height and width of the kernel.
        activation: Applied last; None: linear.
        **kwargs: See `layers.Conv2D`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        *,
        activation: joints.ActivationKind | None = None,
        **kwargs,
    ):
        super().__init__(filters, kernel_size, **kwargs)
        self.last_activation = joints.activation_layer(activation)
        self.group_norm = keras.layers.GroupNormalization(
            min(_GROUPS, filters), epsilon=_GROUP_NORM_EPSILON, name="GroupNorm"
        )

    def convolve(self, x: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
        """Convolve with the standardized kernel."""
        exact = tf.cast(kernel, tf.float32)
        mean, variance = tf.nn.moments(exact, (0, 1, 2), keepdims=True)
        standardized = (exact - mean) * tf.math.rsqrt(variance + _WEIGHT_EPSILON)
        return super().convolve(x, tf.cast(standardized, x.dtype), padding)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """[B, H, W, in] -> [B, ceil(H / stride), ceil(W / stride), out]."""
        y = self.group_norm(super().call(x, training=training))
        return self.last_activation(y) if self.last_activation else y
