"""A server for tests that speaks the protocol buffers of TensorFlow Serving.

TensorFlow Serving itself comes as a container image only. This server follows its rules where
exports depend on them: how versions are found, warmed up and replaced, how batches are made, and
what the two interfaces take and return. It serves tests, not users.
"""

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from http import server as http_server
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from deeplab.testing import tf_serving_models, tf_serving_rest
from deeplab.testing.tf_serving_models import Batching, Model, Polling, ServingError

_THREADS = 64
# Sizes in bytes of messages are not limited; those of a client are, by default.
_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_TensorProto = type(tf.make_tensor_proto(0))
# By default a server writes numbers one by one, in a field of their type.
_FIELDS = {
    **dict.fromkeys(("int32", "uint8", "int8", "uint16", "int16"), "int_val"),
    "float32": "float_val",
    "float64": "double_val",
    "int64": "int64_val",
    "bool": "bool_val",
}
_METADATA = "signature_def"


@dataclasses.dataclass(frozen=True)
class Server:
    """A server that runs.

    Args:
        grpc_address: Host and port of the gRPC interface.
        rest_address: `http://host:port` of the REST interface.
        models: By their names.
    """

    grpc_address: str
    rest_address: str
    models: Mapping[str, Model]


@contextlib.contextmanager
def serving(
    models: Mapping[str, str],
    batching: Batching | None = None,
    polling: Polling | None = None,
    *,
    wait: bool = True,
) -> Iterator[Server]:
    """Yield a server of models.

    Args:
        models: The folder of the versions of each model.
        batching: How requests share batches. None: each is run alone.
        polling: How versions are looked for. None: as TensorFlow Serving does.
        wait: Until a version of each model is served.

    Example:
        with tf_serving.serving({"deeplab": "models/deeplab"}) as server:
            channel = grpc.insecure_channel(server.grpc_address)
    """
    with contextlib.ExitStack() as stack:
        found = {}
        for name, path in models.items():
            found[name] = Model(name, path, batching, polling or Polling())
            stack.callback(found[name].close)
        rpc = grpc.server(futures.ThreadPoolExecutor(_THREADS), options=_OPTIONS)
        predictions = _Predictions(found)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(predictions, rpc)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Models(found), rpc)
        port = rpc.add_insecure_port("localhost:0")
        rpc.start()
        stack.callback(lambda: rpc.stop(grace=None).wait())
        rest = http_server.ThreadingHTTPServer(("localhost", 0), tf_serving_rest.handler(found))
        thread = threading.Thread(target=rest.serve_forever, name="REST", daemon=True)
        thread.start()
        stack.callback(rest.server_close)
        stack.callback(rest.shutdown)
        if wait:
            for model in found.values():
                _wait_for_any(model)
        yield Server(f"localhost:{port}", f"http://localhost:{rest.server_port}", found)


def _wait_for_any(model: Model) -> None:
    for _ in range(1200):
        with contextlib.suppress(ServingError), model.version():
            return
        threading.Event().wait(0.1)
    raise TimeoutError(f"no version of {model.name} is served: {model.states()}")


def typed_proto(value: np.ndarray) -> Any:
    """Return a tensor as a server writes it: number by number, not as one piece of memory."""
    value = np.asarray(value)
    if value.dtype.name not in _FIELDS:
        return tf.make_tensor_proto(value)
    shape = tf.TensorShape(value.shape).as_proto()
    proto = _TensorProto(dtype=tf.as_dtype(value.dtype).as_datatype_enum, tensor_shape=shape)
    getattr(proto, _FIELDS[value.dtype.name]).extend(value.ravel().tolist())
    return proto


def _answered(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make errors of a method the errors of its call."""

    def call(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return function(self, request)
        except ServingError as error:
            return context.abort(error.code, error.message)

    return call


class _Service:
    def __init__(self, models: Mapping[str, Model]):
        self._models = models

    def _model(self, spec: Any) -> Model:
        if spec.name not in self._models:
            raise ServingError(grpc.StatusCode.NOT_FOUND, f"there is no model {spec.name!r}")
        return self._models[spec.name]


def _number(spec: Any) -> int | None:
    return spec.version.value if spec.HasField("version") else None


class _Predictions(_Service, prediction_service_pb2_grpc.PredictionServiceServicer):
    @_answered
    def Predict(self, request: Any) -> Any:  # noqa: N802
        """Answer a request to predict."""
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        name = request.model_spec.signature_name
        with self._model(request.model_spec).version(_number(request.model_spec)) as version:
            outputs = version.predict(name, inputs, request.output_filter)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.signature_name = name or tf_serving_models.DEFAULT_SIGNATURE
        response.model_spec.version.value = version.number
        for each, value in outputs.items():
            response.outputs[each].CopyFrom(typed_proto(value))
        return response

    @_answered
    def GetModelMetadata(self, request: Any) -> Any:  # noqa: N802
        """Tell the signatures of a model."""
        if list(request.metadata_field) != [_METADATA]:
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT, f"the only metadata field is {_METADATA}"
            )
        with self._model(request.model_spec).version(_number(request.model_spec)) as version:
            response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version.number
        response.metadata[_METADATA].Pack(tf_serving_rest.signature_map(version))
        return response


class _Models(_Service, model_service_pb2_grpc.ModelServiceServicer):
    @_answered
    def GetModelStatus(self, request: Any) -> Any:  # noqa: N802
        """Tell the state of the versions of a model."""
        model, number = self._model(request.model_spec), _number(request.model_spec)
        response = get_model_status_pb2.GetModelStatusResponse()
        for found, (state, message) in sorted(model.states().items(), reverse=True):
            if number in (None, found):
                status = response.model_version_status.add(version=found, state=state)
                status.status.error_message = message
        if not response.model_version_status:
            raise ServingError(grpc.StatusCode.NOT_FOUND, f"there is no version {number}")
        return response
