"""Joints: the points where values meet, such as sums, products and activations.

A joint has a place for one more layer, its `transform`, which is applied to the joint's output.
"""

from collections.abc import Callable

import keras
import tensorflow as tf

from deeplab.core import containers


class _Direct(containers.Container):
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
        name: Name of the layer.
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

    def __init__(self):
        super().__init__(".add")

    def call(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """Return `x + y`."""
        return x + y


class AddN(Joint):
    """The sum of any number of tensors, in one operation."""

    def __init__(self):
        super().__init__(".sum")

    def call(self, *values: tf.Tensor) -> tf.Tensor:
        """Return the sum."""
        return tf.add_n(values)


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
        function: The function.
        name: Name of the layer. None: that of the function, after a dot.
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


def activation_layer(kind: ActivationKind | None) -> containers.Container | None:
    """Return a new layer that activates; None for no activation."""
    if kind is None:
        return None
    return kind() if isinstance(kind, type) else Activation(kind)


class Dropout(containers.Container):
    """Dropout between two joints, `.before` and `.after`.

    Args:
        rate: Probability that a value is dropped.
    """

    def __init__(self, rate: float):
        super().__init__(name=".dropout")
        self.dropout = keras.layers.Dropout(rate)
        self.before = Joint(".before")
        self.after = Joint(".after")

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return values or zeros, of the shape of `x`."""
        return self.after(self.dropout(self.before(x), training=training))
