"""Depthwise convolution at atrous rates, in the fastest form that is correct on this machine.

`tf.nn.depthwise_conv2d` moves the space of a dilated convolution into the batch and back, which
every build of TensorFlow can do. The operation that it calls can also dilate natively, which saves
both moves. But this works only on CPUs with oneDNN, and the registered gradients silently ignore
the dilation. So native dilation is used only if a trial shows that it works, with gradients made of
the convolution itself. An export has it only if the export states that it needs such a machine.
"""

import contextlib
import contextvars
import functools
import itertools
from collections.abc import Iterator, Sequence
from concurrent import futures

import numpy as np
import tensorflow as tf

# oneDNN's kernel for depthwise convolutions takes a wider padding with AVX-512 only (then 6);
# beyond that its general one is up to thirty times slower.
_WIDEST_PADDING = 4

# Where graphs that are traced now run.
_ANYWHERE, _HERE, _OTHER_RUNTIME = "anywhere", "here", "other runtime"
_graphs_run = contextvars.ContextVar("graphs_run", default=_ANYWHERE)


@contextlib.contextmanager
def _traced_for(place: str) -> Iterator[None]:
    token = _graphs_run.set(place)
    try:
        yield
    finally:
        _graphs_run.reset(token)


def native_dilation() -> contextlib.AbstractContextManager[None]:
    """Let graphs that are traced in this context use the native dilation where it works.

    Such graphs may fail on another machine. Enter it inside the function that is traced, so
    that it holds for every trace and thread. Eager execution never needs it.

    Example:
        @tf.function
        def train_step(images, labels):
            with depthwise.native_dilation():
                ...
    """
    return _traced_for(_HERE)


def dilation_of_other_runtimes() -> contextlib.AbstractContextManager[None]:
    """Let graphs that are traced in this context use the native dilation wherever it is defined.

    TensorFlow may be unable to run them. They are converted for a runtime that has dilation, but no
    good form of space-to-batch.
    """
    return _traced_for(_OTHER_RUNTIME)


def depthwise_conv2d(
    x: tf.Tensor, kernel: tf.Tensor, stride: int, padding: str, rate: Sequence[int]
) -> tf.Tensor:
    """Convolve each channel by itself.

    Args:
        x: [B, H, W, C].
        kernel: [height, width, C, multiplier], of the type of `x`.
        stride: Step between output pixels.
        padding: "SAME" or "VALID".
        rate: Atrous rates (height, width).

    Returns:
        [B, H', W', C * multiplier], the same to the last bit in either form.
    """
    dilated = max(rate) > 1 and stride == 1 and padding == "SAME"
    if dilated and _graphs_run.get() == _OTHER_RUNTIME and not tf.executing_eagerly():
        return _native_operation(x, kernel, rate)
    native = (
        dilated
        and _is_symmetric(kernel, rate)
        and (tf.executing_eagerly() or _graphs_run.get() == _HERE)
        and native_dilation_works(x.dtype.name)
    )
    if native:
        return _native(x, kernel, tuple(rate))
    return _portable(x, kernel, stride, padding, rate)


def _is_symmetric(kernel: tf.Tensor, rate: Sequence[int]) -> bool:
    """Return whether SAME pads all sides alike, not too widely, with one output per channel."""
    *size, _, multiplier = kernel.shape
    return (
        multiplier == 1
        and all(side % 2 for side in size)
        and all((n - 1) * r // 2 <= _WIDEST_PADDING for n, r in zip(size, rate, strict=True))
    )


def _portable(
    x: tf.Tensor, kernel: tf.Tensor, stride: int, padding: str, rate: Sequence[int]
) -> tf.Tensor:
    return tf.nn.depthwise_conv2d(x, kernel, (1, stride, stride, 1), padding, dilations=rate)


def _native(x: tf.Tensor, kernel: tf.Tensor, rate: tuple[int, int]) -> tf.Tensor:
    """Convolve with the operation's own dilation: stride 1, SAME, odd kernels."""

    @tf.custom_gradient
    def convolve(x: tf.Tensor, kernel: tf.Tensor):
        def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            dx = _native(dy, tf.reverse(kernel, axis=(0, 1)), rate)
            with tf.GradientTape() as tape:
                tape.watch(kernel)
                y = _portable(x, kernel, 1, "SAME", rate)
            return dx, tape.gradient(y, kernel, output_gradients=dy)

        return _native_operation(x, kernel, rate), gradient

    return convolve(x, kernel)


def _native_operation(x: tf.Tensor, kernel: tf.Tensor, rate: Sequence[int]) -> tf.Tensor:
    return tf.raw_ops.DepthwiseConv2dNative(
        input=x, filter=kernel, strides=(1, 1, 1, 1), padding="SAME", dilations=(1, *rate, 1)
    )


@functools.cache
def native_dilation_works(dtype: str) -> bool:
    """Return whether native dilation and its gradients are right on every kind of device.

    Args:
        dtype: Type of the features, e.g. "float32".
    """
    # The devices of this host only, if several hosts train together.
    devices = [
        f"{kind}:0" for kind in {each.device_type for each in tf.config.list_logical_devices()}
    ]
    # Eager and without gradient tapes, whatever the caller is in the middle of.
    with futures.ThreadPoolExecutor(1) as thread:
        return all(thread.map(_works_on, devices, itertools.repeat(dtype)))


def _works_on(device: str, dtype: str) -> bool:
    """Compare both forms on random numbers; where the rate is ignored, all results differ."""
    rate = (2, 3)
    with tf.device(device):
        x, kernel, dy = (
            tf.cast(tf.random.stateless_normal(shape, seed=(0, seed)), dtype)
            for seed, shape in enumerate([(2, 9, 11, 16), (3, 3, 16, 1), (2, 9, 11, 16)])
        )
        results = []
        for convolve in (
            lambda: _native(x, kernel, rate),
            lambda: _portable(x, kernel, 1, "SAME", rate),
        ):
            with tf.GradientTape() as tape:
                tape.watch((x, kernel))
                try:
                    y = convolve()
                except tf.errors.OpError:
                    return False
            results.append((y, *tape.gradient(y, (x, kernel), output_gradients=dy)))
    for ours, theirs in zip(*results, strict=True):
        error = np.max(np.abs(np.float32(ours) - np.float32(theirs)))
        if not error < 0.05 * np.max(np.abs(np.float32(theirs))):
            return False
    return True
