"""Warm-up requests: what TensorFlow Serving runs after it has loaded a SavedModel.

They are a TFRecord file of `PredictionLog` messages (TensorFlow Serving's `prediction_log.proto`).
The few fields that they need are written here, so that no extra package is needed.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from deeplab.core import wire_format

# In the folder of a SavedModel.
FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")

# Numbers of the fields of a message within the one before.
_PREDICT_LOG, _REQUEST, _MODEL_SPEC, _SIGNATURE_NAME = 6, 1, 1, 3
_MODEL_NAME = 1
_INPUTS, _KEY, _VALUE = 2, 1, 2
# It has no public name.
_TensorProto = type(tf.make_tensor_proto(0))


@dataclasses.dataclass(frozen=True, eq=False)
class Request:
    """A request to a signature.

    Args:
        signature: Its name.
        inputs: The tensors by their names; an array of objects holds strings.
    """

    signature: str
    inputs: Mapping[str, np.ndarray]


def write(folder: str, model_name: str, requests: Sequence[Request]) -> None:
    """Write the requests to the folder of a SavedModel.

    Args:
        folder: Of the SavedModel, on this machine.
        model_name: Name of the model in the server.
        requests: What to send, in this order.
    """
    path = os.path.join(folder, FILE)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with tf.io.TFRecordWriter(path) as writer:
        for request in requests:
            writer.write(_encode(request, model_name))


def read(folder: str) -> list[Request]:
    """Return the requests in the folder of a SavedModel; none where it has no such file.

    Raises:
        ValueError: The file is damaged, or holds something other than requests to predict.
    """
    path = os.path.join(folder, FILE)
    if not tf.io.gfile.exists(path):
        return []
    try:
        records = [record.numpy() for record in tf.data.TFRecordDataset([path])]
    except tf.errors.DataLossError:
        raise ValueError(f"{path} is damaged") from None
    requests = []
    for number, record in enumerate(records, start=1):
        try:
            requests.append(_decode(record))
        except Exception:  # The protocol buffers' error has no public name.
            raise ValueError(f"{path}, record {number}: no request to predict") from None
    return requests


def _encode(request: Request, model_name: str) -> bytes:
    field = wire_format.bytes_field
    spec = field(_MODEL_NAME, model_name) + field(_SIGNATURE_NAME, request.signature)
    message = field(_MODEL_SPEC, spec)
    for name, value in request.inputs.items():
        tensor = tf.make_tensor_proto(value).SerializeToString()
        message += field(_INPUTS, field(_KEY, name) + field(_VALUE, tensor))
    return field(_PREDICT_LOG, field(_REQUEST, message))


def _decode(record: bytes) -> Request:
    (log,) = wire_format.values(record, _PREDICT_LOG)
    (message,) = wire_format.values(log, _REQUEST)
    (spec,) = wire_format.values(message, _MODEL_SPEC)
    (signature,) = wire_format.values(spec, _SIGNATURE_NAME)
    inputs = {}
    for entry in wire_format.values(message, _INPUTS):
        (name,) = wire_format.values(entry, _KEY)
        (tensor,) = wire_format.values(entry, _VALUE)
        inputs[name.decode()] = tf.make_ndarray(_TensorProto.FromString(tensor))
    return Request(signature.decode(), inputs)
