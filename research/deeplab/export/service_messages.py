"""Messages of TensorFlow Serving's prediction service (`predict.proto` and its neighbors).

Tensors and signatures are messages of TensorFlow. The few fields around them are written and read
here, so that no extra package is needed.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from deeplab.core import wire_format

# Field numbers: of a model's specification,
_MODEL_NAME, _MODEL_VERSION, _SIGNATURE_NAME = 1, 2, 3
# of requests and responses,
_MODEL_SPEC, _INPUTS, _OUTPUT_FILTER = 1, 2, 3
_OUTPUTS = 1
_METADATA_FIELD, _METADATA = 2, 2
# of an entry of a map, a wrapped number, a message of any type and a map of signatures.
_KEY, _VALUE = 1, 2
_WRAPPED = 1
_ANY_VALUE = 2
_SIGNATURE_MAP = 1

# The service's name for the signatures in a model's metadata.
_SIGNATURES = "signature_def"
# These classes have no public names.
_TensorProto = type(tf.make_tensor_proto(0))
_SignatureDef = type(tf.compat.v1.saved_model.build_signature_def({}, {}))

# Sizes of the axes of a tensor, None for a size that is not fixed. None: the rank is unknown.
Shape = tuple[int | None, ...] | None


@dataclasses.dataclass(frozen=True, eq=False)
class Request:
    """A request to a signature.

    Args:
        signature: Its name.
        inputs: The tensors by their names; an array of objects holds strings.
    """

    signature: str
    inputs: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class SignatureShapes:
    """The tensors of a signature: names and shapes.

    Args:
        inputs: The shapes of the inputs.
        outputs: The shapes of the outputs.
    """

    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]


def encode_request(
    request: Request, model_name: str, version: int | None = None, outputs: Iterable[str] = ()
) -> bytes:
    """Return a `PredictRequest`.

    Args:
        request: The request.
        model_name: Name of the model on the server.
        version: Version of the model. None: the server chooses it.
        outputs: Names of the outputs to return. Default: all.
    """
    field = wire_format.bytes_field
    message = field(_MODEL_SPEC, _model_spec(model_name, version, request.signature))
    for name, value in request.inputs.items():
        tensor = tf.make_tensor_proto(value).SerializeToString()
        message += field(_INPUTS, field(_KEY, name) + field(_VALUE, tensor))
    return message + b"".join(field(_OUTPUT_FILTER, name) for name in outputs)


def decode_request(message: bytes) -> Request:
    """Return the request of a `PredictRequest`.

    Raises:
        Exception: It is not such a message. The error of protocol buffers has no public name.
    """
    # A message without a name is to the default signature.
    (spec,) = wire_format.values(message, _MODEL_SPEC)[-1:] or [b""]
    (signature,) = wire_format.values(spec, _SIGNATURE_NAME)[-1:] or [b""]
    return Request(signature.decode(), _tensors(message, _INPUTS))


def decode_response(message: bytes) -> dict[str, np.ndarray]:
    """Return the outputs in a `PredictResponse`; an array of objects holds strings.

    Raises:
        Exception: It is not such a message.
    """
    return _tensors(message, _OUTPUTS)


def encode_metadata_request(model_name: str, version: int | None = None) -> bytes:
    """Return a `GetModelMetadataRequest` for the signatures of a model; see `encode_request`."""
    spec = wire_format.bytes_field(_MODEL_SPEC, _model_spec(model_name, version))
    return spec + wire_format.bytes_field(_METADATA_FIELD, _SIGNATURES)


def decode_metadata(message: bytes) -> dict[str, SignatureShapes]:
    """Return the signatures in a `GetModelMetadataResponse`, by name.

    Raises:
        Exception: It is not such a message.
    """
    found = {}
    for entry in wire_format.values(message, _METADATA):
        (packed,) = wire_format.values(entry, _VALUE)
        (signatures,) = wire_format.values(packed, _ANY_VALUE)
        for each in wire_format.values(signatures, _SIGNATURE_MAP):
            (name,) = wire_format.values(each, _KEY)
            (data,) = wire_format.values(each, _VALUE)
            signature = _SignatureDef.FromString(data)
            found[name.decode()] = SignatureShapes(
                _shapes(signature.inputs), _shapes(signature.outputs)
            )
    return found


def _model_spec(name: str, version: int | None, signature: str | None = None) -> bytes:
    spec = wire_format.bytes_field(_MODEL_NAME, name)
    if version is not None:
        number = wire_format.number_field(_WRAPPED, version)
        spec += wire_format.bytes_field(_MODEL_VERSION, number)
    if signature is not None:
        spec += wire_format.bytes_field(_SIGNATURE_NAME, signature)
    return spec


def _tensors(message: bytes, field: int) -> dict[str, np.ndarray]:
    """Return the tensors of a map, by their names."""
    tensors = {}
    for entry in wire_format.values(message, field):
        (name,) = wire_format.values(entry, _KEY)
        (tensor,) = wire_format.values(entry, _VALUE)
        tensors[name.decode()] = tf.make_ndarray(_TensorProto.FromString(tensor))
    return tensors


def _shapes(tensors: Mapping[str, Any]) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    for name, info in tensors.items():
        sides = tuple(None if each.size < 0 else each.size for each in info.tensor_shape.dim)
        shapes[name] = None if info.tensor_shape.unknown_rank else sides
    return shapes
