"""Stores the weights of TensorFlow Lite models in 16 bits.

TensorFlow Lite's own conversion rounds every constant. Most of the labels that then change do so
because of biases and small kernels, above all those of depthwise convolutions, in whose short sums
rounding errors do not cancel out. They are a small part of the weights, so they stay as they are.
"""

import collections
import copy

import numpy as np

from deeplab.core import keras_internals

# The smallest kernels stay in 32 bits, up to this share of the weights of all kernels but depthwise
# ones. With 0.1, slightly more than 0.1 % of the labels of a network for CamVid changed on drawn
# images.
_SHARE_IN_32_BITS = 0.15


def store(model: bytes) -> bytes:
    """Store large kernels, but not those of depthwise convolutions, in 16 bits.

    Args:
        model: TensorFlow Lite model in floats.

    Returns:
        The model, which computes in 32 bits: the runtime expands the kernels when it loads them.
    """
    whole = keras_internals.lite_objects(model)
    (graph,) = whole.subgraphs
    schema = keras_internals.lite_schema()
    kinds = {
        schema.BuiltinOperator.CONV_2D,
        schema.BuiltinOperator.FULLY_CONNECTED,
        schema.BuiltinOperator.TRANSPOSE_CONV,
    }
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in whole.operatorCodes]
    weights = {int(each.inputs[1]) for each in graph.operators if codes[each.opcodeIndex] in kinds}
    buffers = collections.Counter(each.buffer for each in graph.tensors)
    kernels: dict[int, np.ndarray] = {}
    for index in weights:
        tensor = graph.tensors[index]
        content = whole.buffers[tensor.buffer].data
        is_float = tensor.type == schema.TensorType.FLOAT32
        if is_float and content is not None and buffers[tensor.buffer] == 1:
            kernels[index] = np.asarray(content, np.uint8).view(np.float32)
    expansion = schema.OperatorCodeT()
    expansion.builtinCode = schema.BuiltinOperator.DEQUANTIZE
    expansion.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    # The first version that takes 16 bits.
    expansion.version = 3
    whole.operatorCodes.append(expansion)
    operators = []
    for index in _large(kernels):
        tensor = graph.tensors[index]
        whole.buffers[tensor.buffer].data = kernels[index].astype(np.float16).view(np.uint8)
        stored = copy.copy(tensor)
        stored.type = schema.TensorType.FLOAT16
        stored.name = tensor.name + b"/float16"
        # The first buffer of a model is that of all tensors that are not constant.
        tensor.buffer = 0
        graph.tensors.append(stored)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(whole.operatorCodes) - 1
        operator.inputs, operator.outputs = [len(graph.tensors) - 1], [index]
        operators.append(operator)
    graph.operators = [*operators, *graph.operators]
    return keras_internals.lite_bytes(whole)


def _large(kernels: dict[int, np.ndarray]) -> list[int]:
    """Return the indices of all kernels but the smallest ones."""
    order = sorted(kernels, key=lambda index: (kernels[index].size, index))
    seen = np.cumsum([kernels[index].size for index in order])
    return sorted(
        index
        for index, count in zip(order, seen, strict=True)
        if count > _SHARE_IN_32_BITS * seen[-1]
    )
