"""Settings and lists of the layers of a whole network."""

import contextlib
from collections.abc import Collection, Iterator

import keras

from deeplab.core import keras_internals, layers, normalization


def set_precision(network: keras.layers.Layer, policy: keras.dtype_policies.DTypePolicy) -> None:
    """Give every layer of a network a precision policy; variables that it has stay as they are."""
    for layer in keras_internals.sublayers(network):
        layer.dtype_policy = policy


@contextlib.contextmanager
def precision(network: keras.layers.Layer, policy: str) -> Iterator[None]:
    """Let a network compute in another precision inside the context; its variables stay.

    Args:
        network: The network. Functions traced in the context keep this precision.
        policy: Name of the policy, such as `mixed_bfloat16`.
    """
    held = keras_internals.sublayers(network)
    before = [layer.dtype_policy for layer in held]
    set_precision(network, keras.dtype_policies.get(policy))
    try:
        yield
    finally:
        for layer, own in zip(held, before, strict=True):
            layer.dtype_policy = own


def convolutions(network: keras.layers.Layer) -> list[layers.Convolution]:
    """Return every convolution."""
    return [
        layer
        for layer in keras_internals.sublayers(network)
        if isinstance(layer, layers.Convolution)
    ]


def batch_norms(network: keras.layers.Layer) -> list[normalization.BatchNorm]:
    """Return every batch norm."""
    return [
        layer
        for layer in keras_internals.sublayers(network)
        if isinstance(layer, normalization.BatchNorm)
    ]


def start_at_zero(network: keras.layers.Layer) -> None:
    """Let the weights of all convolutions start at zero, before the first call makes them.

    Random numbers that are drawn later stay the same.
    """
    for layer in convolutions(network):
        layer.initializer = keras.initializers.Zeros()


def compute_in_float32(network: keras.layers.Layer, kinds: Collection[str]) -> None:
    """Let the convolutions of some kinds compute in float32, whatever the precision; others not.

    Args:
        network: The network.
        kinds: Some of `layers.KINDS`.
    """
    for layer in convolutions(network):
        layer.in_float32 = layer.kind in kinds


def seed_generators(network: keras.layers.Layer) -> list[keras.random.SeedGenerator]:
    """Return the sources of the random numbers of dropout and drop path."""
    return [
        layer.seed_generator
        for layer in keras_internals.sublayers(network)
        if isinstance(getattr(layer, "seed_generator", None), keras.random.SeedGenerator)
    ]


def set_fine_tune_batch_norm(network: keras.layers.Layer, fine_tune: bool) -> None:
    """Set in every `BatchNorm` whether training uses and moves the batch statistics."""
    for layer in batch_norms(network):
        layer.fine_tune = fine_tune


def set_sync_batch_norm(network: keras.layers.Layer, sync: bool) -> None:
    """Set in every `BatchNorm` whether replicas share their batch statistics."""
    for layer in batch_norms(network):
        layer.sync = sync


def moving_averages(network: keras.layers.Layer) -> list[keras.Variable]:
    """Return the moving averages of every batch norm."""
    return [
        variable
        for layer in batch_norms(network)
        for variable in (layer.moving_mean, layer.moving_variance)
    ]


def regularized_variables(network: keras.layers.Layer) -> list[keras.Variable]:
    """Return the variables with weight decay in the official code: convolution weights.

    Biases and batch norms are never among them, depthwise weights only in the NAS networks.
    """
    return [layer.kernel for layer in convolutions(network) if layer.regularized]
