"""Convolutions with their batch norms folded in ahead, for a network that only predicts."""

import contextlib
from collections.abc import Callable, Collection, Iterator
from typing import Any

import keras
import tensorflow as tf

from deeplab.core import keras_internals, layers, networks, xception


class FoldedWeights:
    """Computes a convolution with weights made ahead; see `layers.Convolution.arithmetic`.

    Args:
        kernel: Kernel with the batch norm folded in; a tensor, a variable, or an array, which
            becomes a constant of each graph.
        bias: Bias with the batch norm folded in, likewise; None: there is none.
    """

    def __init__(self, kernel: Any, bias: Any):
        self.kernel = kernel
        self.bias = bias
        self._graph: tf.Graph | None = None
        self._tensors: tuple[tf.Tensor, tf.Tensor | None] | None = None

    def compute(
        self, convolution: layers.Convolution, x: tf.Tensor, padding: str, training: bool
    ) -> tf.Tensor:
        """Convolve the padded input and add the bias, in the type of the kernel."""
        del training
        kernel, bias = self._in_graph()
        y = convolution.convolve(tf.cast(x, kernel.dtype), kernel, padding)
        return y if bias is None else tf.nn.bias_add(y, bias)

    def _in_graph(self) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Return kernel and bias, the same tensors wherever a graph uses them."""
        graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
        if graph is None or graph is not self._graph:
            self._graph = graph
            self._tensors = (
                tf.convert_to_tensor(self.kernel),
                None if self.bias is None else tf.convert_to_tensor(self.bias),
            )
        return self._tensors


@contextlib.contextmanager
def folded(
    network: keras.layers.Layer,
    hold: Callable[[tf.Tensor], Any],
    exact: Collection[keras.layers.Layer] = (),
) -> Iterator[list[keras.Variable]]:
    """Let a network predict with folded weights inside the context.

    The weights are those of this moment, in the type that the network computes in. Where a
    depthwise convolution feeds nothing but a pointwise one, the offset of the first batch norm is
    folded into the bias of the second.

    Args:
        network: It must not be quantized: its quantizers round the folded kernels.
        hold: Takes each weight and returns what the graph is to hold; see `FoldedWeights`.
        exact: Convolutions that compute in float32 whatever the network does.

    Yields:
        The variables that the network still needs.
    """
    convolutions = networks.convolutions(network)
    weights = {layer: layer.folded() for layer in convolutions}
    for depthwise, pointwise in _linear_pairs(network):
        (first, offset), (kernel, bias) = weights[depthwise], weights[pointwise]
        through = tf.linalg.matvec(kernel[0, 0], offset, transpose_a=True)
        weights[depthwise] = first, None
        weights[pointwise] = kernel, through if bias is None else bias + through
    replaced = set()
    try:
        for layer, values in weights.items():
            dtype = tf.float32 if layer in exact else tf.as_dtype(layer.compute_dtype)
            layer.arithmetic = FoldedWeights(
                *(None if value is None else hold(tf.cast(value, dtype)) for value in values)
            )
            replaced.update(id(variable) for variable in _own_variables(layer))
        yield [variable for variable in network.weights if id(variable) not in replaced]
    finally:
        for layer in convolutions:
            layer.arithmetic = None


def _linear_pairs(
    network: keras.layers.Layer,
) -> Iterator[tuple[layers.Convolution, layers.Convolution]]:
    """Yield each depthwise convolution without activation, and the pointwise one that it feeds."""
    for module in keras_internals.sublayers(network):
        if isinstance(module, xception.XceptionModule):
            for convs in module.separable_convs:
                if len(convs) == 2 and convs[0].activation is None:
                    yield convs[0], convs[1]


def _own_variables(layer: layers.Convolution) -> list[keras.Variable]:
    """Return the variables that the folded weights of a convolution replace."""
    own = [layer.kernel]
    if layer.batch_norm:
        own += layer.batch_norm.weights
    elif layer.use_bias:
        own.append(layer.bias)
    return own
