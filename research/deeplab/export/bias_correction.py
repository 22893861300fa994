"""Corrects the biases of models of 8-bit integers.

The rounding errors of a channel's weights do not cancel out: they shift the mean of its output, and
the shifts of all layers add up, until a class gets more pixels than it should. The shift is the
product of these errors and the means of the inputs. Subtracting it from the bias costs nothing at
inference.

Reference: Data-Free Quantization Through Weight Equalization and Bias Correction (arXiv
1906.04721); here, the means are those of photographs.
"""

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from absl import logging

from deeplab.core import keras_internals
from deeplab.export import lite_network

# Rounding changes a weight by half a step at most; scales are rounded, too.
_MOST_ROUNDING = 0.51


@dataclasses.dataclass(frozen=True)
class _Convolution:
    """A convolution of a model.

    Args:
        given: Index of its input tensor.
        weights: [channels, height, width, inputs]; depthwise [1, height, width, channels].
        bias: [channels]. None: there is none, or other operations share it.
        is_depthwise: Whether each channel has an input of its own.
        strides: Strides down and to the right.
        rates: Atrous rates down and to the right.
        is_padded: Whether the input is padded with zeros, so that only strides reduce its size.
        scales: Factors from the integers of the weights to floats, by channel; empty for floats.
        bias_scales: Factors from the integers of the bias to floats.
    """

    given: int
    weights: np.ndarray
    bias: np.ndarray | None
    is_depthwise: bool
    strides: tuple[int, int]
    rates: tuple[int, int]
    is_padded: bool
    scales: np.ndarray
    bias_scales: np.ndarray


def correct(model: bytes, floats: bytes, inputs: Iterable[np.ndarray]) -> bytes:
    """Correct the biases of a model.

    Args:
        model: TensorFlow Lite model of 8-bit integers.
        floats: TensorFlow Lite model of the same network in floats.
        inputs: Inputs of `floats` for photographs, each [1, height, width, 3].

    Returns:
        The model with other biases; as it was if the convolutions of the two do not match.
    """
    corrected = bytearray(model)
    ours, theirs = list(_convolutions(corrected)), list(_convolutions(bytearray(floats)))
    if len(ours) != len(theirs) or not all(map(_is_rounded, ours, theirs)):
        logging.warning("biases are not corrected: the models have different convolutions")
        return model
    pairs = list(zip(ours, theirs, strict=True))
    sums, count = [0.0] * len(pairs), 0
    for values in _intermediate(floats, inputs):
        count += 1
        for number, (_, convolution) in enumerate(pairs):
            sums[number] += tap_means(
                values(convolution.given)[0],
                convolution.weights.shape[1:3],
                convolution.strides,
                convolution.rates,
                convolution.is_padded,
            )
    for (rounded, exact), total in zip(pairs, sums, strict=True):
        if rounded.bias is None:
            continue
        change = _change(rounded, exact, total / count)
        rounded.bias[:] -= np.round(change / rounded.bias_scales).astype(rounded.bias.dtype)
    return bytes(corrected)


def tap_means(
    values: np.ndarray,
    kernel: Sequence[int],
    strides: Sequence[int],
    rates: Sequence[int],
    is_padded: bool,
) -> np.ndarray:
    """Return the mean of the inputs that each element of a kernel is multiplied by.

    Args:
        values: Input of a convolution, [height, width, channels].
        kernel: Height and width.
        strides: Strides down and to the right.
        rates: Atrous rates down and to the right.
        is_padded: Whether the input is padded with zeros, so that only strides reduce its size.

    Returns:
        [kernel height, kernel width, channels].
    """
    rows, columns = (
        _places(side, *each, is_padded)
        for side, each in zip(values.shape, zip(kernel, strides, rates, strict=True), strict=False)
    )
    outputs = rows[0].size * columns[0].size
    means = np.empty((*kernel, values.shape[-1]))
    for y, down in enumerate(rows):
        summed = values[down[(down >= 0) & (down < values.shape[0])]].sum(axis=0, dtype=np.float64)
        for x, across in enumerate(columns):
            there = across[(across >= 0) & (across < values.shape[1])]
            means[y, x] = summed[there].sum(axis=0) / outputs
    return means


def _places(side: int, kernel: int, stride: int, rate: int, is_padded: bool) -> np.ndarray:
    """Return where each element of a kernel looks, [kernel, outputs]; outside there is padding."""
    span = (kernel - 1) * rate
    outputs = -(-side // stride) if is_padded else -(-(side - span) // stride)
    before = max((outputs - 1) * stride + span + 1 - side, 0) // 2 if is_padded else 0
    return np.arange(kernel)[:, np.newaxis] * rate + np.arange(outputs) * stride - before


def _errors(rounded: _Convolution, exact: _Convolution) -> np.ndarray:
    """Return by how much the rounding changes each weight."""
    scales = rounded.scales
    if not rounded.is_depthwise:
        scales = scales[:, np.newaxis, np.newaxis, np.newaxis]
    return rounded.weights * scales - exact.weights


def _is_rounded(rounded: _Convolution, exact: _Convolution) -> bool:
    """Return whether weights are those of another convolution, rounded."""
    if rounded.weights.shape != exact.weights.shape or not rounded.scales.size:
        return False
    return bool(np.abs(_errors(rounded, exact)).max() <= _MOST_ROUNDING * rounded.scales.max())


def _change(rounded: _Convolution, exact: _Convolution, means: np.ndarray) -> np.ndarray:
    """Return by how much the rounding changes the mean of each channel."""
    errors = _errors(rounded, exact)
    if rounded.is_depthwise:
        return (errors[0] * np.repeat(means, errors.shape[-1] // means.shape[-1], -1)).sum((0, 1))
    return np.tensordot(errors, means, 3)


def _convolutions(model: bytearray) -> Iterator[_Convolution]:
    """Yield the convolutions with constant weights; their arrays are views of the model."""
    schema = keras_internals.lite_schema()
    whole = schema.Model.GetRootAs(model, 0)
    graph = whole.Subgraphs(0)
    tensors = [graph.Tensors(number) for number in range(graph.TensorsLength())]
    operators = [graph.Operators(number) for number in range(graph.OperatorsLength())]
    inputs = [
        [operator.Inputs(place) for place in range(operator.InputsLength())]
        for operator in operators
    ]
    users = collections.Counter(
        tensors[index].Buffer() for indices in inputs for index in indices if index >= 0
    )
    kinds = {
        schema.BuiltinOperator.CONV_2D: schema.Conv2DOptions,
        schema.BuiltinOperator.DEPTHWISE_CONV_2D: schema.DepthwiseConv2DOptions,
    }

    def array(tensor: Any) -> np.ndarray:
        dtype = {schema.TensorType.INT8: np.int8, schema.TensorType.INT32: np.int32}
        data = whole.Buffers(tensor.Buffer()).DataAsNumpy()
        return data.view(dtype.get(tensor.Type(), np.float32)).reshape(tensor.ShapeAsNumpy())

    def scales(tensor: Any) -> np.ndarray:
        found = tensor.Quantization()
        return found.ScaleAsNumpy() if found and found.ScaleLength() else np.zeros(0)

    for operator, indices in zip(operators, inputs, strict=True):
        code = whole.OperatorCodes(operator.OpcodeIndex())
        kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if kind not in kinds or not whole.Buffers(tensors[indices[1]].Buffer()).DataLength():
            continue
        options = kinds[kind]()
        options.Init(operator.BuiltinOptions().Bytes, operator.BuiltinOptions().Pos)
        weights = tensors[indices[1]]
        bias = tensors[indices[2]] if len(indices) > 2 and indices[2] >= 0 else None
        is_own = bias is not None and users[bias.Buffer()] == 1
        yield _Convolution(
            given=indices[0],
            weights=array(weights),
            bias=array(bias) if is_own else None,
            is_depthwise=kind == schema.BuiltinOperator.DEPTHWISE_CONV_2D,
            strides=(options.StrideH(), options.StrideW()),
            rates=(options.DilationHFactor(), options.DilationWFactor()),
            is_padded=options.Padding() == schema.Padding.SAME,
            scales=scales(weights),
            bias_scales=scales(bias) if is_own else np.zeros(0),
        )


def _intermediate(model: bytes, inputs: Iterable[np.ndarray]) -> Iterator[Any]:
    """Yield for each input a function from the index of a tensor to its value."""
    runner = lite_network.interpreter(model, keeps_all=True)
    runner.allocate_tensors()
    (given,) = runner.get_input_details()
    for values in inputs:
        runner.set_tensor(given["index"], values)
        runner.invoke()
        yield runner.get_tensor
