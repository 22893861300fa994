"""The REST interface of a stand-in server."""

import base64
import json
import re
from collections.abc import Mapping
from http import server as http_server
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2

from deeplab.testing.tf_serving_models import Model, ServingError, State, Version

_PATH = re.compile(r"/v1/models/(?P<name>[^/:]+)(/versions/(?P<version>\d+))?(?P<what>.*)")
_HTTP_CODES = {grpc.StatusCode.INVALID_ARGUMENT: 400, grpc.StatusCode.NOT_FOUND: 404}
_BASE64 = "b64"


def handler(models: Mapping[str, Model]) -> type[http_server.BaseHTTPRequestHandler]:
    """Return the class that answers the requests to models."""

    class Handler(http_server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # noqa: N802
            """Tell the states or the signatures of a model."""
            self._answer(self._get)

        def do_POST(self) -> None:  # noqa: N802
            """Predict."""
            self._answer(self._post)

        def log_message(self, *arguments: Any) -> None:
            """Log nothing."""

        def _answer(self, method: Any) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                match = _PATH.fullmatch(self.path)
                if match is None or match["name"] not in models:
                    raise ServingError(grpc.StatusCode.NOT_FOUND, f"there is no {self.path}")
                number = int(match["version"]) if match["version"] else None
                code, value = 200, method(models[match["name"]], number, match["what"], body)
            except ServingError as error:
                code, value = _HTTP_CODES.get(error.code, 500), {"error": error.message}
            data = json.dumps(value).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _get(self, model: Model, number: int | None, what: str, body: bytes) -> Any:
            if what == "":
                return _states(model, number)
            if what == "/metadata":
                with model.version(number) as version:
                    found = json_format.MessageToDict(
                        signature_map(version), preserving_proto_field_name=True
                    )
                spec = {"name": model.name, "signature_name": "", "version": str(version.number)}
                return {"model_spec": spec, "metadata": {"signature_def": found}}
            raise ServingError(grpc.StatusCode.NOT_FOUND, f"there is no {self.path}")

        def _post(self, model: Model, number: int | None, what: str, body: bytes) -> Any:
            if what != ":predict":
                raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, f"there is no {self.path}")
            try:
                request = json.loads(body)
            except ValueError as error:
                raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None
            with model.version(number) as version:
                return predict(version, request)

    return Handler


def signature_map(version: Version) -> Any:
    """Return the message that holds the signatures of a version."""
    found = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in version.definitions.items():
        found.signature_def[name].CopyFrom(definition)
    return found


def _states(model: Model, number: int | None) -> Any:
    states = [
        {
            "version": str(found),
            "state": State.Name(state),
            "status": {"error_code": "UNKNOWN" if message else "OK", "error_message": message},
        }
        for found, (state, message) in sorted(model.states().items(), reverse=True)
        if number in (None, found)
    ]
    if not states:
        raise ServingError(grpc.StatusCode.NOT_FOUND, f"there is no version {number}")
    return {"model_version_status": states}


def predict(version: Version, request: Any) -> Any:
    """Answer a request, the content of its JSON text."""
    if not isinstance(request, dict) or ("instances" in request) == ("inputs" in request):
        raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, "give instances or inputs")
    if unknown := request.keys() - {"instances", "inputs", "signature_name"}:
        raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, f"unknown key {min(unknown)}")
    name = request.get("signature_name", "")
    specs = version.signature(name).inputs
    if "inputs" in request:
        outputs = version.predict(name, _columns(request["inputs"], specs))
        return {"outputs": _only_or_all({n: _shown(n, v) for n, v in outputs.items()})}
    inputs = _rows(request["instances"], specs)
    outputs = version.predict(name, inputs)
    if len({value.shape[:1] for value in outputs.values()}) != 1:
        raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, "outputs have no common batch")
    shown = {name: _shown(name, value) for name, value in outputs.items()}
    rows = zip(*shown.values(), strict=True)
    return {"predictions": [_only_or_all(dict(zip(shown, row, strict=True))) for row in rows]}


def _only_or_all(values: dict[str, Any]) -> Any:
    return next(iter(values.values())) if len(values) == 1 else values


def _is_named(value: Any) -> bool:
    """Return whether an object has tensors by their names; one of base64 is a value itself."""
    return isinstance(value, dict) and value.keys() != {_BASE64}


def _columns(value: Any, specs: Mapping[str, tf.TensorSpec]) -> dict[str, np.ndarray]:
    if not _is_named(value):
        value = {_only_input(specs): value}
    return {name: _tensor(name, each, specs) for name, each in value.items()}


def _rows(instances: Any, specs: Mapping[str, tf.TensorSpec]) -> dict[str, np.ndarray]:
    if not isinstance(instances, list) or not instances:
        raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, "instances must be a list with values")
    if not any(map(_is_named, instances)):
        instances = [{_only_input(specs): each} for each in instances]
    if not all(_is_named(each) and each.keys() == instances[0].keys() for each in instances):
        raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, "instances have different names")
    return {name: _tensor(name, [each[name] for each in instances], specs) for name in instances[0]}


def _only_input(specs: Mapping[str, tf.TensorSpec]) -> str:
    if len(specs) != 1:
        raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, f"name the inputs: {sorted(specs)}")
    return next(iter(specs))


def _tensor(name: str, value: Any, specs: Mapping[str, tf.TensorSpec]) -> np.ndarray:
    if name not in specs:
        raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, f"there is no input {name}")
    dtype = specs[name].dtype
    try:
        if dtype == tf.string:
            return np.array(_decoded(value), object)
        found = np.array(value)
        result = found.astype(dtype.as_numpy_dtype)
        if found.dtype.kind not in "iuf" or not np.array_equal(found, result):
            raise ValueError(f"values do not fit into {dtype.name}")
    except (ValueError, OverflowError) as error:
        raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, f"{name}: {error}") from None
    return result


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(each) for each in value]
    if isinstance(value, dict) and value.keys() == {_BASE64}:
        return base64.b64decode(value[_BASE64], validate=True)
    if not isinstance(value, str):
        raise ValueError("neither a text nor an object with base64")
    return value.encode()


def _shown(name: str, value: np.ndarray) -> list[Any]:
    if value.dtype != object:
        return value.tolist()
    is_binary = name.endswith("_bytes")

    def shown(data: bytes) -> Any:
        return {_BASE64: base64.b64encode(data).decode()} if is_binary else data.decode()

    flat = [shown(each) for each in value.ravel()]
    return _nested(flat, value.shape)


def _nested(flat: list[Any], shape: tuple[int, ...]) -> list[Any]:
    for size in reversed(shape[1:]):
        flat = [flat[start : start + size] for start in range(0, len(flat), size)]
    return flat
