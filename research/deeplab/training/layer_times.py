"""Measures the convolutions of a network in float32 and in bfloat16 on this machine."""

import collections
import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable

import keras
import tensorflow as tf

from deeplab import model
from deeplab.core import containers, depthwise, layers, networks, normalization
from deeplab.training import timing

# The first call of a form is not timed. Rounds of timed calls, and the seconds after which a form
# gets no further round once it has had the fewest rounds.
_ROUNDS, _FEWEST_ROUNDS, _SECONDS = 8, 3, 0.4
# Shapes of each kind that are measured: those with the most work.
_SHAPES = 2
# Batch norm and activation, forward and backward, as multiply-adds for each output.
_REST = 20
_BATCH_NORM = normalization.BatchNormOptions(decay=0.997, epsilon=1e-3)
_FLOAT32, _BFLOAT16 = keras.DTypePolicy("float32"), keras.DTypePolicy("mixed_bfloat16")


@dataclasses.dataclass(frozen=True)
class Times:
    """Seconds that all convolutions of a kind take in a training step, in three forms.

    Attributes:
        float32: In a network that computes in float32.
        bfloat16: In bfloat16, in a network that computes in bfloat16.
        float32_between: In float32, in a network that computes in bfloat16: with casts.
    """

    float32: float
    bfloat16: float
    float32_between: float


@dataclasses.dataclass(frozen=True)
class _Shape:
    """The properties on which the time of a convolution depends; sizes are those of the output."""

    kind: str
    kernel_size: tuple[int, int]
    stride: int
    rate: tuple[int, int]
    channels: int
    filters: int
    size: tuple[int, int]
    is_normalized: bool
    uses_batch: bool

    @property
    def work(self) -> int:
        """Approximate number of multiply-adds for each image."""
        rows, columns = self.kernel_size
        inputs = 1 if self.kind == layers.DEPTHWISE else self.channels
        return self.size[0] * self.size[1] * self.filters * (rows * columns * inputs + _REST)


def measure(
    net: model.DeepLab, images: int, crop_size: tuple[int, int], *, jit_compile: bool = False
) -> dict[str, Times]:
    """Measure one training step of the convolutions of each kind, forward and backward.

    Of each kind, only the shapes with the most work are measured, each with its batch norm and
    activation. The times are those of all shapes, by their work.

    Args:
        net: The network. It does not change.
        images: Number of images that a device processes at a time.
        crop_size: (height, width) of the images.
        jit_compile: Whether the step is compiled with XLA.

    Returns:
        The times by kind, of the kinds that the network has.
    """
    shapes = collections.Counter(_shapes(net, images, crop_size))
    times = {}
    for kind in layers.KINDS:
        work = {each: count * each.work for each, count in shapes.items() if each.kind == kind}
        chosen = sorted(work, key=work.get, reverse=True)[:_SHAPES]
        if not chosen:
            continue
        share = sum(work[each] for each in chosen) / sum(work.values())
        seconds = [
            [shapes[each] / share * value for value in _seconds(each, images, jit_compile)]
            for each in chosen
        ]
        times[kind] = Times(*map(sum, zip(*seconds, strict=True)))
    return times


def _shapes(net: model.DeepLab, images: int, crop_size: tuple[int, int]) -> Iterable[_Shape]:
    """Return the shape of each call of a convolution; nothing is computed."""
    found = []

    def note(layer: layers.Convolution, output: tf.Tensor) -> None:
        inputs, outputs = layer.kernel.shape[-2:]
        is_depthwise = layer.kind == layers.DEPTHWISE
        found.append(
            _Shape(
                layer.kind,
                layer.kernel_size,
                layer.stride,
                layer.rate,
                inputs,
                inputs if is_depthwise else outputs,
                tuple(output.shape[1:3]),
                layer.batch_norm is not None,
                layer.batch_norm is not None and layer.batch_norm.uses_batch(training=True),
            )
        )

    with contextlib.ExitStack() as stack:
        for layer in networks.convolutions(net):
            stack.enter_context(containers.observed(layer, functools.partial(note, layer)))
        predict = tf.function(lambda images: net(images), autograph=False)
        predict.get_concrete_function(tf.TensorSpec((images, *crop_size, 3)))
    return found


def _seconds(shape: _Shape, images: int, jit_compile: bool) -> list[float]:
    """Return the seconds of each form of `Times`."""
    inputs = (images, *(side * shape.stride for side in shape.size), shape.channels)
    forms = [
        _form(shape, policy, tf.zeros(inputs, dtype), jit_compile, in_float32=in_float32)
        for policy, dtype, in_float32 in (
            (_FLOAT32, tf.float32, False),
            (_BFLOAT16, tf.bfloat16, False),
            (_BFLOAT16, tf.bfloat16, True),
        )
    ]
    for form in forms:
        form()
    return timing.shortest(
        forms, rounds=_ROUNDS, fewest=_FEWEST_ROUNDS, seconds=len(forms) * _SECONDS
    )


def _form(
    shape: _Shape,
    policy: keras.DTypePolicy,
    x: tf.Tensor,
    jit_compile: bool,
    *,
    in_float32: bool,
) -> Callable[[], None]:
    """Return a function that computes the gradients of one convolution once."""
    layer = _convolution(shape)
    networks.set_precision(layer, policy)
    networks.compute_in_float32(layer, layers.KINDS if in_float32 else ())
    networks.start_at_zero(layer)
    layer.build(x.shape)
    if layer.batch_norm:
        layer.batch_norm.fine_tune = shape.uses_batch
    weights = [variable.value for variable in layer.trainable_weights]

    @tf.function(autograph=False, jit_compile=jit_compile)
    def gradients(x: tf.Tensor) -> list[tf.Tensor]:
        dilation = contextlib.nullcontext() if jit_compile else depthwise.native_dilation()
        with dilation, tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        return tape.gradient(y, [*weights, x])

    return lambda: gradients(x)[0].numpy()


def _convolution(shape: _Shape) -> layers.Convolution:
    """Return a convolution of that shape."""
    options = {
        "stride": shape.stride,
        "rate": shape.rate,
        "batch_norm": _BATCH_NORM if shape.is_normalized else None,
        "use_bias": not shape.is_normalized,
        "activation": tf.nn.relu if shape.is_normalized else None,
    }
    if shape.kind == layers.DEPTHWISE:
        return layers.DepthwiseConv2D(shape.kernel_size, **options)
    return layers.Conv2D(shape.filters, shape.kernel_size, **options)
