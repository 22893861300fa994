"""Stores the weights of TensorFlow Lite models in 16 bits.

TensorFlow Lite's own conversion rounds every constant. Most of the labels that then change do so
because of the kernels of depthwise convolutions, in whose short sums rounding errors do not cancel
out, and of the biases. Both are a few percent of the weights, so they stay as they are.
"""

import copy

import numpy as np

from deeplab.core import keras_internals


def store(model: bytes) -> bytes:
    """Store the kernels of all convolutions but depthwise ones in 16 bits.

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
    expansion = schema.OperatorCodeT()
    expansion.builtinCode = schema.BuiltinOperator.DEQUANTIZE
    expansion.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    # The first version that takes 16 bits.
    expansion.version = 3
    whole.operatorCodes.append(expansion)
    operators = []
    for index in sorted(weights):
        tensor = graph.tensors[index]
        users = sum(each.buffer == tensor.buffer for each in graph.tensors)
        content = whole.buffers[tensor.buffer]
        if tensor.type != schema.TensorType.FLOAT32 or content.data is None or users > 1:
            continue
        values = np.asarray(content.data, np.uint8).view(np.float32)
        content.data = values.astype(np.float16).view(np.uint8)
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
