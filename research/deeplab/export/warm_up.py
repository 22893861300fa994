"""Warm-up requests, which TensorFlow Serving runs after it has loaded a SavedModel.

They are a TFRecord file of `PredictionLog` messages (TensorFlow Serving's `prediction_log.proto`).
"""

import os
from collections.abc import Sequence

import tensorflow as tf

from deeplab.core import error_text, wire_format
from deeplab.export import service_messages
from deeplab.export.service_messages import Request

# Path in the folder of a SavedModel.
FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")

# Field numbers of nested messages.
_PREDICT_LOG, _REQUEST = 6, 1
# Those of requests to classify, to regress, and to do both.
_OTHER_LOGS = (2, 3, 4)


class OtherRequest(ValueError):
    """A request that a server runs, but that is none to predict."""


def write(folder: str, model_name: str, requests: Sequence[Request]) -> None:
    """Write the requests to the folder of a SavedModel.

    Args:
        folder: Folder of the SavedModel, on this machine.
        model_name: Name of the model on the server.
        requests: The requests, in the order in which they are sent.
    """
    path = os.path.join(folder, FILE)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with tf.io.TFRecordWriter(path) as writer:
        for request in requests:
            writer.write(_encode(request, model_name))


def read(folder: str) -> list[Request]:
    """Return the requests in the folder of a SavedModel; none if it has no such file.

    Raises:
        OtherRequest: There are requests to classify or to regress.
        ValueError: The file cannot be read, is damaged, or holds something other than requests.
    """
    path = os.path.join(folder, FILE)
    if not tf.io.gfile.exists(path):
        return []
    try:
        records = [record.numpy() for record in tf.data.TFRecordDataset([path])]
    except tf.errors.DataLossError:
        raise ValueError(f"{path} is damaged") from None
    except tf.errors.OpError as error:
        raise ValueError(f"{path} cannot be read: {error_text.one_line(error)}") from None
    requests = []
    for number, record in enumerate(records, start=1):
        try:
            if any(wire_format.values(record, field) for field in _OTHER_LOGS):
                raise OtherRequest(
                    f"{path}, record {number} is a request to classify or to regress"
                )
            requests.append(_decode(record))
        except OtherRequest:
            raise
        except Exception:  # The protocol buffers' error has no public name.
            raise ValueError(f"{path}, record {number}: no request to predict") from None
    return requests


def _encode(request: Request, model_name: str) -> bytes:
    message = service_messages.encode_request(request, model_name)
    return wire_format.bytes_field(_PREDICT_LOG, wire_format.bytes_field(_REQUEST, message))


def _decode(record: bytes) -> Request:
    (log,) = wire_format.values(record, _PREDICT_LOG)
    (message,) = wire_format.values(log, _REQUEST)
    return service_messages.decode_request(message)
