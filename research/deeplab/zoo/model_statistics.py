"""Measures the size of a network: parameters, multiply-adds and output shapes.

Only the multiply-adds of the convolutions are counted, for one image, as in the papers. Resizing,
pooling, activations and batch norms, which inference folds into the convolutions, are left out.
"""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from deeplab import model
from deeplab.core import containers, layers, networks
from deeplab.utils import checkpoint, reports

PARTS = ("backbone", "head", "decoder", "logits")

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Statistics:
    """Size of a layer, a part or the network.

    Attributes:
        name: Name of the part, or official name of the layer's weights.
        parameters: Number of trained values.
        moving_averages: Number of other values in a checkpoint.
        multiply_adds: Multiply-adds for one image.
        padded_multiply_adds: Multiply-adds with space-to-batch for dilated convolutions, which
            pads the features to a multiple of the rate.
        output_shapes: [1, height, width, channels] for each scale of the image pyramid.
    """

    name: str
    parameters: int = 0
    moving_averages: int = 0
    multiply_adds: int = 0
    padded_multiply_adds: int = 0
    output_shapes: tuple[Shape, ...] = ()


@dataclasses.dataclass(frozen=True)
class ModelStatistics:
    """Sizes of a network and its layers, from `measure`.

    Attributes:
        layers: Layers of each part, in the order of their variables. A layer is a convolution with
            its bias and batch norm, or a batch norm without a convolution.
        output_shapes: Output shapes of each part; see `Statistics`.
    """

    layers: dict[str, tuple[Statistics, ...]]
    output_shapes: dict[str, tuple[Shape, ...]]

    @property
    def parts(self) -> list[Statistics]:
        """Return the sizes of the parts that the network has."""
        return [
            _sum(part, layers, self.output_shapes[part]) for part, layers in self.layers.items()
        ]

    @property
    def total(self) -> Statistics:
        """Return the size of the whole network."""
        parts = self.parts
        return _sum("total", parts, parts[-1].output_shapes)


def _sum(name: str, parts: Sequence[Statistics], output_shapes: tuple[Shape, ...]) -> Statistics:
    numbers = (
        field.name for field in dataclasses.fields(Statistics) if isinstance(field.default, int)
    )
    sums = {number: sum(getattr(part, number) for part in parts) for number in numbers}
    return Statistics(name=name, output_shapes=output_shapes, **sums)


def measure(net: model.DeepLab, image_size: tuple[int, int]) -> ModelStatistics:
    """Measure a network. It is applied to an empty batch, and the shapes are observed.

    Args:
        net: The network.
        image_size: (height, width) of the images.
    """
    part_layers = {
        "backbone": [net.backbone],
        "head": net.heads,
        "decoder": [net.decoder] if net.decoder else [],
        "logits": [net.logits] if net.logits else [],
    }
    part_layers = {part: members for part, members in part_layers.items() if members}
    convolutions = networks.convolutions(net)
    shapes: dict[int, list[Shape]] = {}
    with contextlib.ExitStack() as stack:
        observed = {id(layer): layer for members in part_layers.values() for layer in members}
        # The output itself may be resized.
        observed |= {id(layer): layer.linear for layer in convolutions}
        for key, layer in observed.items():
            noted = shapes[key] = []
            observer = functools.partial(_note_shapes, noted)
            stack.enter_context(containers.observed(layer, observer))
        for layer in convolutions:
            stack.enter_context(_without_numbers(layer))
        with tf.device("/CPU:0"):
            net(tf.zeros((0, *image_size, 3)))
    owners = {id(variable): layer for layer in convolutions for variable in layer.weights}
    names = {id(variable): name for name, variable in checkpoint.official_variables(net).items()}
    return ModelStatistics(
        layers={
            part: tuple(
                statistics
                for member in members
                for statistics in _layer_statistics(member, owners, names, shapes)
            )
            for part, members in part_layers.items()
        },
        output_shapes={
            part: tuple(shape for layer in members for shape in shapes[id(layer)])
            for part, members in part_layers.items()
        },
    )


class _NoNumbers:
    """Computes the convolution of an empty batch, which TensorFlow with oneDNN gets wrong."""

    @staticmethod
    def compute(
        convolution: layers.Convolution, x: tf.Tensor, padding: str, training: bool
    ) -> tf.Tensor:
        """Return [0, H, W, channels] for `x` [0, H', W', C]."""
        del training
        size = []
        for side, kernel, rate in zip(
            x.shape[1:3], convolution.kernel_size, convolution.rate, strict=True
        ):
            positions = side if padding == "SAME" else side - (kernel - 1) * rate
            size.append(-(-positions // convolution.stride))
        *_, inputs, outputs = convolution.kernel.shape
        if isinstance(convolution, layers.DepthwiseConv2D):
            outputs *= inputs
        return tf.zeros((0, *size, outputs), x.dtype)


@contextlib.contextmanager
def _without_numbers(convolution: layers.Convolution) -> Iterator[None]:
    arithmetic, convolution.arithmetic = convolution.arithmetic, _NoNumbers
    try:
        yield
    finally:
        convolution.arithmetic = arithmetic


def _note_shapes(shapes: list[Shape], output: Any) -> None:
    """Add the shape, for one image, of a layer's output; a backbone has other outputs as well."""
    output = output[0] if isinstance(output, tuple) else output
    shapes.append((1, *output.shape[1:]))


def _layer_statistics(
    part: keras.layers.Layer,
    owners: dict[int, layers.Convolution],
    names: dict[int, str],
    shapes: dict[int, list[Shape]],
) -> Iterator[Statistics]:
    """Yield the size of each layer of a part.

    Args:
        part: Layer of the part.
        owners: The convolution that a variable belongs to, by the id of the variable.
        names: Official name of a variable, by its id.
        shapes: Output shapes of a convolution, by its id.
    """
    groups: dict[int | str, list[keras.Variable]] = {}
    for variable in part.weights:
        owner = owners.get(id(variable))
        scope, _, _ = names[id(variable)].rpartition("/")
        groups.setdefault(id(owner) if owner else scope, []).append(variable)
    for variables in groups.values():
        first = names[id(variables[0])]
        sizes = {True: 0, False: 0}
        for variable in variables:
            sizes[variable.trainable] += math.prod(variable.shape)
        numbers = {"parameters": sizes[True], "moving_averages": sizes[False]}
        convolution = owners.get(id(variables[0]))
        if convolution is None:
            yield Statistics(name=first.rpartition("/")[0], **numbers)
            continue
        outputs = shapes[id(convolution)]
        taps = math.prod(convolution.kernel.shape)
        yield Statistics(
            name=names[id(convolution.kernel)],
            multiply_adds=sum(height * width for _, height, width, _ in outputs) * taps,
            padded_multiply_adds=taps
            * sum(math.prod(_padded_size(convolution, shape[1:3])) for shape in outputs),
            output_shapes=tuple(outputs),
            **numbers,
        )


def _padded_size(convolution: layers.Convolution, output_size: Shape) -> list[int]:
    """Return the size of a convolution's output before the padding of space-to-batch is cut."""
    padded = []
    for side, kernel, rate in zip(
        output_size, convolution.kernel_size, convolution.rate, strict=True
    ):
        around = (kernel - 1) * rate
        padded.append(math.ceil((side + around) / rate) * rate - around)
    return padded


def format_statistics(statistics: ModelStatistics, *, by_layer: bool = False) -> str:
    """Return a table with a row for each part, or also for each layer, and for the network."""
    rows = []
    for part in statistics.parts:
        if by_layer:
            rows += map(_row, statistics.layers[part.name])
        rows.append(_row(part))
    rows.append(_row(statistics.total))
    header = ("layer" if by_layer else "part", "parameters", "multiply-adds (B)", "output")
    return reports.format_table(header, rows)


def _row(statistics: Statistics) -> tuple[str, ...]:
    shapes = ("x".join(map(str, shape[1:])) for shape in statistics.output_shapes)
    return (
        statistics.name,
        f"{statistics.parameters:,}",
        f"{statistics.multiply_adds / 1e9:.4f}",
        ", ".join(shapes),
    )
