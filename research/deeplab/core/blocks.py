"""Blocks of two convolutions that several backbones have."""

import keras
import tensorflow as tf

from deeplab.core import containers, joints, layers, normalization


class _Pointwise(layers.Conv2D):
    """A 1x1 convolution whose weight the official code calls `pointwise_weights`."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the variables for `input_shape` [B, H, W, C]."""
        self.add_variables("pointwise_weights", (1, 1, input_shape[-1], self.filters), self.filters)


class SeparableConv2D(containers.Base):
    """A depthwise and a pointwise convolution with nothing in between, both weights regularized.

    Official `slim.separable_conv2d`. Variables: `depthwise_weights`, `pointwise_weights`,
    `BatchNorm/...`.

    Args:
        filters: Channels of the output.
        kernel_size: Kernel size of the depthwise convolution.
        name: The official scope.

    The other arguments are those of `layers.Conv2D`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        *,
        stride: int = 1,
        rate: int = 1,
        symmetric_padding: bool = False,
        batch_norm: normalization.BatchNormOptions | None = None,
        batch_norm_name: str = "BatchNorm",
        activation: joints.ActivationKind | None = None,
        initializer: keras.initializers.Initializer,
        name: str,
    ):
        super().__init__(name=name)
        self.depthwise = layers.DepthwiseConv2D(
            kernel_size,
            stride=stride,
            rate=rate,
            symmetric_padding=symmetric_padding,
            initializer=initializer,
            regularized=True,
            name=".depthwise",
        )
        self.pointwise = _Pointwise(
            filters,
            1,
            batch_norm=batch_norm,
            batch_norm_name=batch_norm_name,
            activation=activation,
            initializer=initializer,
            name=".pointwise",
        )
        self.filters = filters

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the variables for `input_shape` [B, H, W, C]."""
        self.depthwise.build(input_shape)
        self.pointwise.build(input_shape)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """[B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), filters]."""
        return self.pointwise(self.depthwise(x, training=training), training=training)


class SqueezeExcite(containers.Container):
    """Gates each channel by a function of the means of all channels (arXiv 1709.01507).

    Official `squeeze_excite` of slim's MobileNetV3 (arXiv 1905.02244, section 5.3). Variables:
    `Conv/...` and `Conv_1/...`, weights and biases each, without batch norm.

    Args:
        squeezed: Channels between the two convolutions.
        channels: Channels of the input.
        initializer: Initializer of the weights.
    """

    def __init__(
        self,
        squeezed: int,
        channels: int,
        initializer: keras.initializers.Initializer,
    ):
        super().__init__(name="squeeze_excite")
        self.squeeze = layers.Conv2D(
            squeezed,
            1,
            use_bias=True,
            activation=tf.nn.relu,
            initializer=initializer,
            name="Conv",
        )
        self.excite = layers.Conv2D(
            channels,
            1,
            use_bias=True,
            activation=joints.QSigmoid,
            initializer=initializer,
            name="Conv_1",
        )
        self.gate = joints.Multiply()

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """[B, H, W, C] -> [B, H, W, C]; the means are those of the whole map."""
        means = tf.reduce_mean(x, axis=(1, 2), keepdims=True)
        gates = containers.apply([self.squeeze, self.excite], means, training)
        return self.gate(x, gates)
