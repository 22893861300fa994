"""The convolutions that every backbone and head is made of.

A convolution owns its weight under the official name (`weights`, `depthwise_weights`, `biases`) and
holds its batch norm as a sublayer called `BatchNorm`. Layers are named and nested like the official
scopes, so the path of a variable is its official name. A layer whose name starts with a dot is not
an official scope; see `scopes.official_name`.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from deeplab.core import containers, depthwise, joints, normalization, scopes

# Kinds of convolutions; see `Convolution.kind`.
SPATIAL, POINTWISE, DEPTHWISE = KINDS = ("spatial", "pointwise", "depthwise")


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """Return (height, width) of a pair, or of one number for both."""
    height, width = (value, value) if isinstance(value, int) else value
    return height, width


def truncated_normal(stddev: float) -> keras.initializers.Initializer:
    """Return the official initializer of most convolutions: normal, truncated at two deviations."""
    return keras.initializers.TruncatedNormal(stddev=stddev)


def glorot_uniform() -> keras.initializers.Initializer:
    """Return the initializer of convolutions for which the official code names none."""
    return keras.initializers.GlorotUniform()


class Convolution(containers.Layer):
    """Base class of convolutions: padding, batch norm or bias, activation.

    Batch norm with moving averages is folded into the kernel and a bias. That is the same
    function, gradients included, in one pass over the features instead of three.

    A subclass has `scale(kernel, scale)`, which scales the kernel's output channels, and
    `convolve(x, kernel, padding)`.

    Args:
        kernel_size: Size of the kernel, one number or (height, width).
        stride: Step between output pixels.
        rate: Atrous rate, the step between the kernel's taps, one number or (height, width).
        symmetric_padding: Pad alike on both sides whatever the image size, where TensorFlow's SAME
            pads strided convolutions of even sizes at the bottom and right only.
        batch_norm: Normalize the output; None: do not.
        batch_norm_name: Official name of the batch norm; `../<name>` lies beside this layer.
        use_bias: Add a bias to the output, where there is no batch norm.
        activation: Applied last; None: linear.
        initializer: Initializer of the weight; None: Glorot's uniform one.
        name: The official scope.

    Attributes:
        linear: The joint between the linear output and the activation.
        initializer: Initializer of the weight.
        arithmetic: Computes the linear output in place of `compute`, by a method
            `compute(convolution, x, padding, training)`. None: `compute` does.
        in_float32: Whether it computes in float32 between inputs and outputs of another type.
    """

    # True if the official code applies weight decay to the weight.
    regularized = True

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        *,
        stride: int = 1,
        rate: int | Sequence[int] = 1,
        symmetric_padding: bool = False,
        batch_norm: normalization.BatchNormOptions | None = None,
        batch_norm_name: str = "BatchNorm",
        use_bias: bool = False,
        activation: joints.ActivationKind | None = None,
        initializer: keras.initializers.Initializer | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.kernel_size = pair(kernel_size)
        self.stride = stride
        self.rate = pair(rate)
        self.symmetric_padding = symmetric_padding and stride > 1
        self.use_bias = use_bias
        self.linear = joints.Joint(".linear")
        self.activation = joints.activation_layer(activation)
        # A copy: an initializer gives the same values each time it is called.
        self.initializer = (initializer or glorot_uniform()).clone()
        self.batch_norm_scope, _, norm_name = batch_norm_name.rpartition("/")
        self.batch_norm = normalization.BatchNorm(batch_norm, norm_name) if batch_norm else None
        self.arithmetic: Any = None
        self.in_float32 = False

    @property
    def kind(self) -> str:
        """Return its kind, one of `KINDS`, on which the fastest type to compute in depends."""
        return POINTWISE if self.kernel_size == (1, 1) else SPATIAL

    def add_variables(self, name: str, shape: tuple[int, ...], channels: int) -> None:
        """Make the weight of that name and shape, and what `channels` of output need."""
        # Cast where it is used, after folding, which needs float32.
        self.kernel = self.add_weight(
            name=name, shape=shape, initializer=self.initializer, autocast=False
        )
        if self.use_bias:
            self.bias = self.add_weight(
                name="biases", shape=(channels,), initializer="zeros", autocast=False
            )
        if self.batch_norm:
            with scopes.nested(self.batch_norm_scope):
                self.batch_norm.build((None, None, None, channels))

    def pad(self, x: tf.Tensor) -> tuple[tf.Tensor, str]:
        """Return the input and the padding scheme to convolve it with."""
        if not self.symmetric_padding:
            return x, "SAME"
        totals = [(size - 1) * rate for size, rate in zip(self.kernel_size, self.rate, strict=True)]
        rows, columns = [(total // 2, total - total // 2) for total in totals]
        return tf.pad(x, ((0, 0), rows, columns, (0, 0))), "VALID"

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """[B, H, W, in] -> [B, ceil(H / stride), ceil(W / stride), out]."""
        given = x.dtype
        if self.in_float32:
            x = tf.cast(x, tf.float32)
        x, padding = self.pad(x)
        if self.arithmetic is None:
            y = self.compute(x, padding, training)
        else:
            y = self.arithmetic.compute(self, x, padding, training)
        y = self.linear(y)
        y = self.activation(y) if self.activation else y
        return tf.cast(y, given) if self.in_float32 else y

    def compute(self, x: tf.Tensor, padding: str, training: bool) -> tf.Tensor:
        """Convolve the padded input, and normalize or add the bias."""
        if self.batch_norm and self.batch_norm.uses_batch(training):
            y = self.convolve(x, tf.cast(self.kernel.value, x.dtype), padding)
            return self.batch_norm(y, training=training)
        return self.convolve_folded(x, *self.folded(), padding)

    def folded(self) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Return kernel and bias, with the moving averages of the batch norm folded into them."""
        if self.batch_norm:
            scale, bias = self.batch_norm.affine()
            return self.scale(self.kernel.value, scale), bias
        return self.kernel.value, self.bias.value if self.use_bias else None

    def convolve_folded(
        self, x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | None, padding: str
    ) -> tf.Tensor:
        """Convolve the padded input with a float32 kernel and add a float32 bias."""
        y = self.convolve(x, tf.cast(kernel, x.dtype), padding)
        return y if bias is None else tf.nn.bias_add(y, tf.cast(bias, y.dtype))


class Conv2D(Convolution):
    """Convolution, then batch norm or bias, then activation; official `slim.conv2d`.

    Variables: `weights` [k, k, in, out], `biases` [out], `BatchNorm/...`.
    """

    def __init__(self, filters: int, kernel_size: int | Sequence[int], **kwargs):
        super().__init__(kernel_size, **kwargs)
        self.filters = filters

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the variables for `input_shape` [B, H, W, C]."""
        shape = (*self.kernel_size, input_shape[-1], self.filters)
        self.add_variables("weights", shape, self.filters)

    def scale(self, kernel: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
        """Scale the kernel's output channels."""
        return kernel * scale

    def convolve(self, x: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
        """Convolve `x` with the kernel."""
        return tf.nn.conv2d(x, kernel, self.stride, padding, dilations=self.rate)


class DepthwiseConv2D(Convolution):
    """One convolution per channel, then batch norm and activation.

    Official: `slim.separable_conv2d` without pointwise outputs. Variables: `depthwise_weights`
    [k, k, in, 1], `BatchNorm/...`. Its weight has no weight decay except in the NAS networks.
    """

    def __init__(self, kernel_size: int | Sequence[int], *, regularized: bool = False, **kwargs):
        super().__init__(kernel_size, **kwargs)
        self.regularized = regularized

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the variables for `input_shape` [B, H, W, C]."""
        channels = input_shape[-1]
        shape = (*self.kernel_size, channels, 1)
        self.add_variables("depthwise_weights", shape, channels)

    @property
    def kind(self) -> str:
        """See the base class."""
        return DEPTHWISE

    def scale(self, kernel: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
        """Scale the kernel's output channels."""
        return kernel * scale[:, tf.newaxis]

    def convolve(self, x: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
        """Convolve `x` with the kernel."""
        return depthwise.depthwise_conv2d(x, kernel, self.stride, padding, self.rate)


def split_separable_conv2d(
    filters: int,
    *,
    kernel_size: int | Sequence[int] = 3,
    rate: int | Sequence[int] = 1,
    batch_norm: normalization.BatchNormOptions,
    activation: joints.ActivationKind,
    name: str,
) -> list[keras.layers.Layer]:
    """Return a depthwise and a pointwise convolution, each with batch norm and activation.

    Official `split_separable_conv2d` of the heads: scopes `<name>_depthwise`, `<name>_pointwise`.

    Returns:
        The two layers, to be applied in turn.
    """
    common = {"batch_norm": batch_norm, "activation": activation}
    return [
        DepthwiseConv2D(
            kernel_size,
            rate=rate,
            initializer=truncated_normal(0.33),
            name=f"{name}_depthwise",
            **common,
        ),
        Conv2D(filters, 1, initializer=truncated_normal(0.06), name=f"{name}_pointwise", **common),
    ]
