"""Layers made of other layers: scopes, stacks, and outputs that can be observed."""

import contextlib
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from deeplab.core import keras_internals

# Types of attributes in which Keras can have nothing to track.
_PLAIN = frozenset({bool, int, float, str, types.NoneType, types.FunctionType, types.MethodType})


class Base(keras.layers.Layer):
    """A layer that takes little time to make: a network has hundreds.

    Keras would note the arguments of each one for a `get_config` that the network does without, and
    look through each value of an attribute for layers and variables.
    """

    def __new__(cls, *args: Any, **kwargs: Any):
        """Make the layer without a note of its arguments."""
        del args, kwargs
        return super().__new__(cls)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute, and let Keras track what can be tracked."""
        if type(value) in _PLAIN:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)


class Layer(Base):
    """A layer whose outputs can be observed; see `observed`."""

    _observer: Callable[[Any], None] | None = None

    @property
    def _saved_layers(self) -> list[keras.layers.Layer]:
        """The sublayers, for Keras to save.

        Keras saves layers that it finds in attributes, private attributes last, and saves none
        twice. Some releases, such as 3.14, overlook layers in lists of lists; they find them here.
        """
        return keras_internals.children(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer and show its output to the observer, if there is one."""
        output = super().__call__(*args, **kwargs)
        if self._observer is not None:
            self._observer(output)
        return output


@contextlib.contextmanager
def observed(layer: Layer, observer: Callable[[Any], None]) -> Iterator[None]:
    """Call a function with each output of a layer inside the context.

    Args:
        layer: The layer.
        observer: Takes the layer's output.
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
        """Create no variables; the sublayers create theirs."""


class Scope(Container):
    """An official scope around layers that are applied in turn.

    Args:
        name: The scope.
        *parts: The layers. The output is that of the last one.
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
        name: The official scope.
        parts: The layers.
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


def apply(layers: list[keras.layers.Layer], x: tf.Tensor, training: bool = False) -> tf.Tensor:
    """Apply layers in turn."""
    for layer in layers:
        x = layer(x, training=training)
    return x
