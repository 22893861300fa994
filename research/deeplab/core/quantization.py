"""Quantisation-aware training: a network that knows what 8-bit integers will make of it.

Quantisers round values to the numbers that integers will stand for (arXiv 1712.05877, section 3).
They sit where TensorFlow 1's `tf.contrib.quantize` puts them in the official networks: on each
convolution's weight, after batch norm is folded into it; on what its activation gives; and on the
sums and products of such values. A layer asks for its quantisers when it is made; outside of
`quantized` it gets none.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from deeplab.core import scopes, training_hooks

_BITS = 8
# Share of a moving range that a training step keeps.
_DECAY = 0.999
# A range before the first training step; what comes after an activation starts at zero.
_LEAST, _GREATEST = -6.0, 6.0
# Official names of the quantisers of: a weight; an activation's output; a convolution's output
# that something is added to before the activation; a sum after the activation; a sum or a product
# of anything else.
WEIGHTS, ACTIVATION, BEFORE_SUM = "weights_quant", "act_quant", "conv_quant"
AFTER_SUM = "post_activation_bypass_quant"
SUM, PRODUCT = "activation_AddV2_quant", "activation_Mul_quant"

# Integer convolutions compute these themselves.
_FUSED_ACTIVATIONS = (tf.nn.relu, tf.nn.relu6)

# Rounds the values of a named step of an activation.
Steps = Callable[[tf.Tensor, str], tf.Tensor]

_enabled = contextvars.ContextVar("quantized", default=False)


@contextlib.contextmanager
def quantized(enabled: bool = True) -> Iterator[None]:
    """Whether the layers that are made inside have quantisers."""
    token = _enabled.set(enabled)
    try:
        yield
    finally:
        _enabled.reset(token)


def quantizer(name: str | None, scope: str = "", **options) -> Callable[..., tf.Tensor]:
    """A `Quantizer`; outside of `quantized`, or without a name, what leaves values as they are."""
    return Quantizer(name, scope, **options) if name and _enabled.get() else _leave


def _leave(x: tf.Tensor, training: bool = False) -> tf.Tensor:
    del training
    return x


def leave_steps(x: tf.Tensor, step: str) -> tf.Tensor:
    """Rounds nothing; see `in_steps`."""
    del step
    return x


class _LastRange:
    """The range of a weight: that of its last values."""

    def __init__(self, least: keras.Variable, greatest: keras.Variable):
        self.ends = (least, greatest)
        self.slots: dict[str, keras.Variable] = {}

    def update(self, *values: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Takes the ends of the values' own range; gives those to quantise with."""
        for end, value in zip(self.ends, values, strict=True):
            end.assign(value)
        return values


class _MovingRange(_LastRange):
    """The range of anything else: a moving average, right from the first batch on.

    TensorFlow 1's `assign_moving_average` with `zero_debias`: an average that starts at zero is
    divided by the weight of what it has seen.

    Attributes:
        slots: the variables that this takes, by the end of their official names.
    """

    def __init__(self, least: keras.Variable, greatest: keras.Variable):
        super().__init__(least, greatest)
        self.slots = {
            f"{end}/{name}": _scalar(name, 0.0)
            for end in ("min", "max")
            for name in ("biased", "local_step")
        }

    def update(self, *values: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """See the base class."""
        slots = list(self.slots.values())
        for end, value, biased, step in zip(
            self.ends, values, slots[::2], slots[1::2], strict=True
        ):
            biased.assign_sub((biased.value - value) * (1.0 - _DECAY))
            step.assign_add(1.0)
            end.assign(biased.value / (1.0 - tf.pow(_DECAY, step.value)))
        return tuple(end.value for end in self.ends)


def _scalar(name: str, value: float) -> keras.Variable:
    """A float32 variable that is none of the network's own."""
    return keras.Variable(value, dtype="float32", trainable=False, name=name)


class Quantizer(keras.layers.Layer):
    """Rounds values to 256 evenly spaced numbers between two ends, zero among them.

    In training the ends follow the values, and gradients pass unless a value lies outside.
    Variables: `min` and `max`; see also `begin_training`.
    """

    def __init__(self, name: str, scope: str = "", *, only_in_training: bool = False):
        """Sets the quantiser up.

        Args:
            name: official name.
            scope: official scope between the quantiser and the layer that holds it; ".." is the
                scope above that layer.
            only_in_training: whether values pass as they are otherwise. Such a quantiser's
                variables are not the network's, they come and go with training.
        """
        super().__init__(name=name)
        self.scope = scope
        self.of_weights = name == WEIGHTS
        self.only_in_training = only_in_training
        least = 0.0 if name.startswith(ACTIVATION) else _LEAST
        self.initial_ends = {"min": least, "max": _GREATEST}
        self.ends: list[keras.Variable] = []
        self.range: _LastRange | None = None
        self.is_active: Callable[[], tf.Tensor] | None = None

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the ends, two float32 scalars."""
        del input_shape
        if not self.only_in_training:
            self.ends = [
                self.add_weight(
                    name=name,
                    shape=(),
                    initializer=keras.initializers.Constant(value),
                    dtype="float32",
                    trainable=False,
                    autocast=False,
                )
                for name, value in self.initial_ends.items()
            ]

    def __call__(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """See `call`."""
        with scopes.nested(self.scope):
            return super().__call__(x, training=training)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """The rounded values, of the shape and type of `x`.

        Raises:
            RuntimeError: training has not been begun with `training_hooks`.
        """
        if not training:
            if self.only_in_training:
                return x
            return self._round(x, *(end.value for end in self.ends))
        if self.range is None:
            raise RuntimeError(
                "before a quantised network is trained, core.training_hooks.begin_training(network)"
                " has to be called; training.trainer.Trainer does"
            )
        values = tf.cast(tf.stop_gradient(x), tf.float32)
        ends = self.range.update(
            tf.minimum(tf.reduce_min(values), 0.0), tf.maximum(tf.reduce_max(values), 0.0)
        )
        rounded = self._round(x, *ends)
        return rounded if self.is_active is None else tf.where(self.is_active(), rounded, x)

    def _round(self, x: tf.Tensor, least: tf.Tensor, greatest: tf.Tensor) -> tf.Tensor:
        """Weights take 255 numbers, as many on either side of the middle."""
        rounded = tf.quantization.fake_quant_with_min_max_vars(
            tf.cast(x, tf.float32), least, greatest, _BITS, narrow_range=self.of_weights
        )
        return tf.cast(rounded, x.dtype)

    def begin_training(
        self, schedule: training_hooks.TrainingSchedule, name: str
    ) -> dict[str, keras.Variable]:
        """Learn the range from now on; see `training_hooks`.

        Ranges are learned whether or not values are rounded yet.
        """
        variables, ends = {}, self.ends
        if self.only_in_training:
            ends = [_scalar(end, value) for end, value in self.initial_ends.items()]
            variables = {f"{name}/{end.name}": end for end in ends}
        self.range = (_LastRange if self.of_weights else _MovingRange)(*ends)
        self.is_active = schedule.is_rounding
        # The official names do say it twice.
        return variables | {f"{name}/{name}/{end}": v for end, v in self.range.slots.items()}


class Dropout(keras.layers.Layer):
    """Dropout; in training a quantised network rounds both of its products.

    These are that by the inverse of the probability to be kept, and that by the mask.
    """

    def __init__(self, rate: float, scope: str):
        """Sets the layer up.

        Args:
            rate: probability of a value to be dropped.
            scope: the official scope.
        """
        super().__init__(name=".dropout")
        self.dropout = keras.layers.Dropout(rate)
        self.quantizers = [
            quantizer(PRODUCT, f"{scope}/dropout/{product}", only_in_training=True)
            for product in ("mul", "mul_1")
        ]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Nothing: the quantisers make their variables when they are first called."""

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """The values or zeros, of the shape of `x`."""
        scaled, masked = self.quantizers
        if training and isinstance(scaled, Quantizer):
            keep = 1.0 - self.dropout.rate
            x = scaled(x / keep, training=True) * keep
        else:
            x = scaled(x)
        return masked(self.dropout(x, training=training), training=training)


def in_steps(*steps: str) -> Callable[[Callable], Callable]:
    """Marks an activation of several operations, each of which rounds what it gives.

    Such an activation adds to its input, takes a ReLU6 of the sum, and multiplies that. As a
    second argument it takes a function (values, step) that rounds them.

    Args:
        *steps: official names of the multiplications.
    """

    def mark(activation: Callable) -> Callable:
        activation.steps = steps
        return activation

    return mark


class Output(keras.layers.Layer):
    """A convolution's activation, and the quantisers around and inside it."""

    def __init__(
        self, activation: Callable[..., tf.Tensor] | None, name: str | None, scope: str = ""
    ):
        """Sets the layer up.

        Args:
            activation: the activation; None: linear.
            name: official name of the quantiser of what it gives, or, of an activation of several
                steps, of its ReLU6; None: the output is not quantised here.
            scope: official scope between the convolution and the quantiser of what it gives.
        """
        super().__init__(name=".output")
        self.activation = activation
        self.steps = {}
        if steps := getattr(activation, "steps", ()):
            self.quantizer = Quantizer(BEFORE_SUM)
            # Named after the scope that the convolution lies in.
            self.steps = {"relu6": Quantizer(name, "..")}
            self.steps |= {step: Quantizer(PRODUCT, step) for step in steps}
        else:
            self.quantizer = quantizer(name, scope)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Nothing: the quantisers make their variables when they are first called."""

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """[B, H, W, C] -> the same."""
        if self.activation in _FUSED_ACTIVATIONS:
            return self.quantizer(self.activation(x), training=training)
        x = self.quantizer(x, training=training)
        if self.steps:
            return self.activation(x, lambda y, step: self.steps[step](y, training=training))
        return self.activation(x) if self.activation else x


def output(
    activation: Callable[..., tf.Tensor] | None, name: str | None, scope: str = ""
) -> Callable[..., tf.Tensor]:
    """An `Output`, or outside of `quantized` the activation alone."""
    if _enabled.get():
        return Output(activation, name, scope)
    return lambda x, training=False: activation(x) if activation else x  # noqa: ARG005
