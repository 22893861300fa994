"""The layers that every backbone and head is made of.

A convolution owns its weight under the official name (`weights`, `depthwise_weights`, `biases`) and
holds its batch norm as a sublayer called `BatchNorm`. Layers are named and nested like the official
scopes, so the path of a variable is its official name. A layer whose name starts with a dot is not
an official scope; see `scopes.official_name`.

Values meet in joints (`Add`, `Multiply`, `Activation`, ...). A joint has a place for one more
layer, its `transform`, which is applied to the joint's output.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from deeplab.core import depthwise, keras_internals, scopes


@dataclasses.dataclass(frozen=True)
class BatchNormOptions:
    """Batch norm options of a part of the network.

    Attributes:
        decay: share of a moving average that a training step keeps.
        epsilon: added to the variance.
    """

    decay: float
    epsilon: float


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """Return (height, width) of what is given as both or as one number for both."""
    height, width = (value, value) if isinstance(value, int) else value
    return height, width


def truncated_normal(stddev: float) -> keras.initializers.Initializer:
    """Return the official initializer of most convolutions: a normal cut at two deviations."""
    return keras.initializers.TruncatedNormal(stddev=stddev)


def glorot_uniform() -> keras.initializers.Initializer:
    """Return the initializer of convolutions for which the official code names none."""
    return keras.initializers.GlorotUniform()


class Layer(keras.layers.Layer):
    """A layer whose outputs can be observed; see `observed`."""

    _observer: Callable[[Any], None] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer and show its output to the observer, if there is one."""
        output = super().__call__(*args, **kwargs)
        if self._observer is not None:
            self._observer(output)
        return output


@contextlib.contextmanager
def observed(layer: Layer, observer: Callable[[Any], None]) -> Iterator[None]:
    """Let a function see what a layer returns in each call inside the context.

    Args:
        layer: the layer.
        observer: takes the layer's output.
    """
    layer._observer = observer
    try:
        yield
    finally:
        layer._observer = None


class Container(Layer):
    """A layer made of others, which make their variables when they are first called.

    Without a `build` of its own, Keras would trace the call of each one within the other.
    """

    def build(self, *shapes: tuple[int | None, ...], **named_shapes: tuple[int | None, ...]):
        """Make nothing: the sublayers make their variables."""


class Scope(Container):
    """An official scope around layers that are applied in turn.

    Args:
        name: the scope.
        *parts: the layers. The output is that of the last one.
    """

    def __init__(self, name: str, *parts: keras.layers.Layer):
        super().__init__(name=name)
        self.parts = list(parts)

    def call(self, x: tf.Tensor, training: bool = False) -> Any:
        """Apply the layers to `x` [B, H, W, C]."""
        return apply(self.parts, x, training)


class Stack(Container):
    """Layers applied in turn, each of which returns its output and its end points by name.

    The end points of the stack are theirs, with the name of the stack and a slash in front.

    Args:
        name: the official scope.
        parts: the layers.
    """

    def __init__(self, name: str, parts: Sequence[keras.layers.Layer]):
        super().__init__(name=name)
        self.parts = list(parts)

    def call(self, x: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Return the last layer's output for `x` [B, H, W, C], and the end points."""
        end_points = {}
        for part in self.parts:
            x, inner = part(x, training=training)
            end_points |= {f"{self.name}/{name}": value for name, value in inner.items()}
        return x, end_points


class _Direct(Container):
    """A layer without variables that is called without a detour through Keras.

    It is of the type of its input, and its operations lie in the scope of the layer around it.
    """

    def __init__(self, name: str):
        super().__init__(name=name, autocast=False)

    def __call__(self, *values: tf.Tensor) -> tf.Tensor:
        """See `call`."""
        return self.call(*values)


class Joint(_Direct):
    """A point that values pass, as they are or changed by the layer attached to it.

    The base class passes its input on.

    Args:
        name: name of the layer.
    """

    def __init__(self, name: str):
        super().__init__(name)
        self.transform: keras.layers.Layer | None = None

    def __call__(self, *values: tf.Tensor) -> tf.Tensor:
        """Join the values, show the result to the observer, and apply the attached layer."""
        output = self.call(*values)
        if self._observer is not None:
            self._observer(output)
        return output if self.transform is None else self.transform(output)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return `x`."""
        return x


class Add(Joint):
    """The sum of two tensors."""

    def __init__(self, name: str = ".add"):
        super().__init__(name)

    def call(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """Return `x + y`."""
        return x + y


class Multiply(Joint):
    """The product of two tensors."""

    def __init__(self, name: str = ".mul"):
        super().__init__(name)

    def call(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """Return `x * y`."""
        return x * y


class Activation(Joint):
    """A function of one tensor, such as a ReLU.

    Args:
        function: the function.
        name: name of the layer. None: that of the function, after a dot.
    """

    def __init__(self, function: Callable[[tf.Tensor], tf.Tensor], name: str | None = None):
        super().__init__(name or f".{function.__name__}")
        self.function = function

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return the function of `x`."""
        return self.function(x)


class HardSwish(_Direct):
    """A piecewise `x * sigmoid(x)` (arXiv 1905.02244, section 5.2)."""

    def __init__(self):
        super().__init__(".hard_swish")
        self.relu6 = Activation(tf.nn.relu6)
        self.gate = Multiply(".mul")
        self.scale = Multiply(".mul_1")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return a tensor of the shape and type of `x`."""
        y = self.gate(x, self.relu6(x + 3))
        return self.scale(y, tf.constant(1.0 / 6.0, x.dtype))


class QSigmoid(_Direct):
    """A piecewise linear sigmoid (official `utils.q_sigmoid`)."""

    def __init__(self):
        super().__init__(".q_sigmoid")
        self.relu6 = Activation(tf.nn.relu6)
        self.scale = Multiply()

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return a tensor of the shape and type of `x`."""
        return self.scale(self.relu6(x + 3), tf.constant(0.16667, x.dtype))


# A function of a tensor, or the class of a layer that is one.
ActivationKind = Callable[[tf.Tensor], tf.Tensor] | type[HardSwish] | type[QSigmoid]


def activation_layer(kind: ActivationKind | None) -> Container | None:
    """Return a new layer that activates; None for no activation."""
    if kind is None:
        return None
    return kind() if isinstance(kind, type) else Activation(kind)


class Dropout(Container):
    """Dropout between two joints, `.before` and `.after`.

    Args:
        rate: probability that a value is dropped.
    """

    def __init__(self, rate: float):
        super().__init__(name=".dropout")
        self.dropout = keras.layers.Dropout(rate)
        self.before = Joint(".before")
        self.after = Joint(".after")

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return values or zeros, of the shape of `x`."""
        return self.after(self.dropout(self.before(x), training=training))


class BatchNorm(keras.layers.Layer):
    """Batch normalization whose moving averages move like the official ones.

    It normalizes with the biased variance of the batch and moves the moving variance towards the
    unbiased one (Bessel's correction), as TensorFlow's fused operation does; Keras'
    `BatchNormalization` does not. Statistics and parameters are float32 in any precision.

    With `fine_tune` off it uses and keeps the moving averages in training too, while gamma and
    beta go on learning: the official `fine_tune_batch_norm=False`.

    With `sync` on, the replicas of a distribution strategy share their statistics: they normalize
    as one device would the whole batch. With it off, each replica normalizes by itself and moves
    its own copy of the averages, which have to be averaged (`moving_averages`).
    """

    def __init__(self, options: BatchNormOptions, name: str = "BatchNorm"):
        super().__init__(name=name)
        self.options = options
        self.fine_tune = True
        self.sync = False

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make gamma, beta and the moving averages, float32 [channels]."""

        def add(name: str, value: str, trainable: bool) -> keras.Variable:
            return self.add_weight(
                name=name,
                shape=(input_shape[-1],),
                initializer=value,
                dtype="float32",
                trainable=trainable,
                autocast=False,
            )

        self.gamma = add("gamma", "ones", True)
        self.beta = add("beta", "zeros", True)
        self.moving_mean = add("moving_mean", "zeros", False)
        self.moving_variance = add("moving_variance", "ones", False)

    def uses_batch(self, training: bool) -> bool:
        """Return whether a call with this `training` normalizes with the batch's own statistics."""
        return bool(training) and self.fine_tune

    def affine(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Return scale and offset, float32 [channels], that normalize with the moving averages."""
        scale = self.gamma.value * tf.math.rsqrt(self.moving_variance.value + self.options.epsilon)
        return scale, self.beta.value - self.moving_mean.value * scale

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Normalize `x` [B, H, W, C]; the result has its shape and dtype."""
        if not self.uses_batch(training):
            scale, offset = self.affine()
            return x * tf.cast(scale, x.dtype) + tf.cast(offset, x.dtype)
        if self.sync and tf.distribute.get_replica_context().num_replicas_in_sync > 1:
            y, mean, variance = self._normalize_over_replicas(x)
        else:
            y, mean, variance = tf.compat.v1.nn.fused_batch_norm(
                x, self.gamma.value, self.beta.value, epsilon=self.options.epsilon
            )
        self._move(mean, variance)
        return y

    def _move(self, mean: tf.Tensor, variance: tf.Tensor) -> None:
        """Move the averages towards a batch's mean and unbiased variance."""
        step = 1.0 - self.options.decay
        self.moving_mean.assign_sub((self.moving_mean.value - mean) * step)
        self.moving_variance.assign_sub((self.moving_variance.value - variance) * step)

    def batch_correction(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return factor and offset, float32 [channels], that make `affine`'s scale the batch's.

        They normalize features that were scaled for the moving averages with the mean and variance
        of `x` [B, H, W, C], the features without that scale. The averages are moved.
        """
        mean, variance = tf.nn.moments(tf.cast(x, tf.float32), (0, 1, 2))
        deviation = tf.sqrt(self.moving_variance.value + self.options.epsilon)
        inverse = tf.math.rsqrt(variance + self.options.epsilon)
        factor, offset = deviation * inverse, self.beta.value - mean * self.gamma.value * inverse
        count = tf.cast(tf.size(x) / tf.size(mean), tf.float32)
        self._move(mean, variance * count / tf.maximum(count - 1.0, 1.0))
        return factor, offset

    def _normalize_over_replicas(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Normalize `x` with the statistics of all replicas; return their mean and variance too."""
        context = tf.distribute.get_replica_context()
        # All replicas have the same moving mean. Near the mean, few digits are lost in the
        # variance as a difference of squares.
        origin = tf.stop_gradient(self.moving_mean.value)
        centered = tf.cast(x, tf.float32) - origin
        moments = [
            tf.reduce_mean(values, axis=(0, 1, 2)) for values in (centered, tf.square(centered))
        ]
        mean, square = tf.unstack(
            context.all_reduce(tf.distribute.ReduceOp.MEAN, tf.stack(moments))
        )
        # Rounding may make it less than nothing where a channel is constant.
        variance = tf.maximum(square - tf.square(mean), 0.0)
        scale = self.gamma.value * tf.math.rsqrt(variance + self.options.epsilon)
        y = tf.cast((centered - mean) * scale + self.beta.value, x.dtype)
        count = tf.cast(tf.size(x[..., 0]) * context.num_replicas_in_sync, tf.float32)
        return y, mean + origin, variance * (count / tf.maximum(count - 1.0, 1.0))


class Convolution(Layer):
    """Base class of convolutions: padding, batch norm or bias, activation.

    Batch norm with moving averages is folded into the kernel and a bias. That is the same
    function, gradients included, in one pass over the features instead of three.

    A subclass has `scale(kernel, scale)`, which scales the kernel's output channels, and
    `convolve(x, kernel, padding)`.

    Args:
        kernel_size: of the kernel, one number or (height, width).
        stride: step between output pixels.
        rate: atrous rate, the step between the kernel's taps, one number or (height, width).
        symmetric_padding: pad alike on both sides whatever the image size, where TensorFlow's SAME
            pads strided convolutions of even sizes at the bottom and right only.
        batch_norm: normalize the output; None: do not.
        batch_norm_name: official name of the batch norm; `../<name>` lies beside this layer.
        use_bias: add a bias to the output, where there is no batch norm.
        activation: applied last; None: linear.
        initializer: of the weight; None: Glorot's uniform one.
        name: the official scope.

    Attributes:
        linear: the joint between the linear output and the activation.
        arithmetic: computes the linear output in place of `compute`, by a method
            `compute(convolution, x, padding, training)`. None: `compute` does.
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
        batch_norm: BatchNormOptions | None = None,
        batch_norm_name: str = "BatchNorm",
        use_bias: bool = False,
        activation: ActivationKind | None = None,
        initializer: keras.initializers.Initializer | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.kernel_size = pair(kernel_size)
        self.stride = stride
        self.rate = pair(rate)
        self.symmetric_padding = symmetric_padding and stride > 1
        self.use_bias = use_bias
        self.linear = Joint(".linear")
        self.activation = activation_layer(activation)
        # A copy: an initializer gives the same values each time it is called.
        self.initializer = (initializer or glorot_uniform()).clone()
        self.batch_norm_scope, _, norm_name = batch_norm_name.rpartition("/")
        self.batch_norm = BatchNorm(batch_norm, norm_name) if batch_norm else None
        self.arithmetic: Any = None

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
        x, padding = self.pad(x)
        if self.arithmetic is None:
            y = self.compute(x, padding, training)
        else:
            y = self.arithmetic.compute(self, x, padding, training)
        y = self.linear(y)
        return self.activation(y) if self.activation else y

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
    batch_norm: BatchNormOptions,
    activation: ActivationKind,
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


def apply(layers: list[keras.layers.Layer], x: tf.Tensor, training: bool = False) -> tf.Tensor:
    """Apply layers in turn."""
    for layer in layers:
        x = layer(x, training=training)
    return x


def sublayers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Return the layer and every layer inside it."""
    return keras_internals.sublayers(layer)


def set_precision(network: keras.layers.Layer, policy: keras.dtype_policies.DTypePolicy) -> None:
    """Give every layer of a network a precision policy, before its variables are made."""
    for layer in sublayers(network):
        layer.dtype_policy = policy


def seed_generators(network: keras.layers.Layer) -> list[keras.random.SeedGenerator]:
    """Return the sources of the random numbers of dropout and drop path."""
    return [
        layer.seed_generator
        for layer in sublayers(network)
        if isinstance(getattr(layer, "seed_generator", None), keras.random.SeedGenerator)
    ]


def set_fine_tune_batch_norm(network: keras.layers.Layer, fine_tune: bool) -> None:
    """Set in every `BatchNorm` whether training uses and moves the batch statistics."""
    for layer in sublayers(network):
        if isinstance(layer, BatchNorm):
            layer.fine_tune = fine_tune


def set_sync_batch_norm(network: keras.layers.Layer, sync: bool) -> None:
    """Set in every `BatchNorm` whether replicas share their batch statistics."""
    for layer in sublayers(network):
        if isinstance(layer, BatchNorm):
            layer.sync = sync


def moving_averages(network: keras.layers.Layer) -> list[keras.Variable]:
    """Return the moving averages of every batch norm."""
    return [
        variable
        for layer in sublayers(network)
        if isinstance(layer, BatchNorm)
        for variable in (layer.moving_mean, layer.moving_variance)
    ]


def regularized_variables(network: keras.layers.Layer) -> list[keras.Variable]:
    """Return the variables with weight decay in the official code: convolution weights.

    Biases and batch norms are never among them, depthwise weights only in the NAS networks.
    """
    return [
        layer.kernel
        for layer in sublayers(network)
        if isinstance(layer, Convolution) and layer.regularized
    ]
