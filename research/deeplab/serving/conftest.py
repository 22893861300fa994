"""Stand-ins for a TensorFlow Serving: the class of a pixel is its red channel modulo 4."""

import base64
import contextlib
import dataclasses
import http.server
import json
import pathlib
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent import futures

import cv2
import grpc
import numpy as np
import pytest
import tensorflow as tf

from deeplab.core import wire_format
from deeplab.export import service_messages
from deeplab.serving import retrying
from deeplab.testing import tiny

_MODEL = "deeplab"
_SHAPES = {"SemanticPredictions": (-1, -1, -1), "SemanticProbabilities": (-1, -1, -1, 4)}
_PIXELS = {"ImageTensor": (-1, -1, -1, 3)}
_FILES = {"image_bytes": (-1,)}
# Inputs and outputs of each signature.
SIGNATURES = {
    "serving_default": (_PIXELS, _SHAPES),
    "serving_labels": (_PIXELS, {"SemanticPredictions": (-1, -1, -1)}),
    "serving_png": (_FILES, {"Status": (-1,), "label_png_bytes": (-1,)}),
}


@dataclasses.dataclass
class Server:
    """The state of a stand-in, which a test may change.

    Args:
        address: For `--server`.
        signatures: Inputs and outputs of each signature.
        errors: Errors with which to answer the next requests: gRPC codes, or numbers of HTTP.
        largest: Images of more pixels are refused.
        requests: The requests that came.
    """

    address: str = ""
    signatures: dict = dataclasses.field(default_factory=lambda: dict(SIGNATURES))
    errors: list = dataclasses.field(default_factory=list)
    largest: int = 10**9
    requests: list = dataclasses.field(default_factory=list)


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """Send requests again at once."""
    monkeypatch.setattr(retrying, "_WAITS", (0.0, 0.0))


@pytest.fixture(params=["grpc", "rest"])
def server(request) -> Iterator[Server]:
    """A stand-in for a server, by both interfaces."""
    with _STARTS[request.param]() as started:
        yield started


@pytest.fixture
def grpc_server() -> Iterator[Server]:
    """A stand-in for a server by gRPC."""
    with _grpc_server() as started:
        yield started


@pytest.fixture
def rest_server() -> Iterator[Server]:
    """A stand-in for a server by REST."""
    with _rest_server() as started:
        yield started


def _tensor_info(shape: tuple[int, ...]):
    return tf.compat.v1.saved_model.build_tensor_info(
        tf.compat.v1.placeholder(tf.uint8, [None if side < 0 else side for side in shape])
    )


def metadata(signatures: dict) -> bytes:
    """Return a `GetModelMetadataResponse`."""
    field = wire_format.bytes_field
    entries = b""
    with tf.Graph().as_default():
        for name, tensors in signatures.items():
            inputs, outputs = (
                {key: _tensor_info(shape) for key, shape in each.items()} for each in tensors
            )
            proto = tf.compat.v1.saved_model.build_signature_def(inputs, outputs)
            entries += field(1, field(1, name) + field(2, proto.SerializeToString()))
    packed = field(1, "type.googleapis.com/tensorflow.serving.SignatureDefMap") + field(2, entries)
    return field(1, field(1, _MODEL)) + field(2, field(1, "signature_def") + field(2, packed))


def response(outputs: dict[str, np.ndarray]) -> bytes:
    """Return a `PredictResponse`."""
    field = wire_format.bytes_field
    return b"".join(
        field(1, field(1, name) + field(2, tf.make_tensor_proto(value).SerializeToString()))
        for name, value in outputs.items()
    )


@dataclasses.dataclass(frozen=True)
class Certificate:
    """Files of a certificate for `localhost` that has signed itself, and of its key."""

    path: pathlib.Path
    key: pathlib.Path


@pytest.fixture(scope="session")
def certificate(tmp_path_factory) -> Certificate:
    """Make a certificate."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed, which makes the certificate")
    folder = tmp_path_factory.mktemp("certificate")
    made = Certificate(folder / "server.pem", folder / "server.key")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-days", "1", "-subj", "/CN=localhost"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(made.key), "-out", str(made.path)),
        ],
        check=True,
        capture_output=True,
    )
    return made


@pytest.fixture(params=["grpcs", "https"])
def encrypted_server(request, certificate) -> Iterator[Server]:
    """A stand-in for a server with encrypted connections, by both interfaces."""
    start = _grpc_server if request.param == "grpcs" else _rest_server
    with start(certificate) as started:
        started.address = f"{request.param}://{started.address.removeprefix('http://')}"
        yield started


@contextlib.contextmanager
def _grpc_server(certificate: Certificate | None = None) -> Iterator[Server]:
    state = Server()

    def check(request: bytes, context: grpc.ServicerContext) -> None:
        state.requests.append(request)
        (spec,) = wire_format.values(request, 1)
        if state.errors:
            context.abort(state.errors.pop(0), "as asked")
        if wire_format.values(spec, 1) != [_MODEL.encode()]:
            context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found")

    def get_metadata(request: bytes, context: grpc.ServicerContext) -> bytes:
        check(request, context)
        return metadata(state.signatures)

    def predict(request: bytes, context: grpc.ServicerContext) -> bytes:
        check(request, context)
        asked = service_messages.decode_request(request)
        (images,) = asked.inputs.values()
        if images[..., 0].size > state.largest:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "too large")
        return response({"SemanticPredictions": images[..., 0] % 4})

    handlers = {"GetModelMetadata": get_metadata, "Predict": predict}
    most = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    started = grpc.server(futures.ThreadPoolExecutor(2), options=most)
    started.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(
                "tensorflow.serving.PredictionService",
                {
                    name: grpc.unary_unary_rpc_method_handler(each)
                    for name, each in handlers.items()
                },
            )
        ]
    )
    if certificate:
        pair = certificate.key.read_bytes(), certificate.path.read_bytes()
        port = started.add_secure_port("localhost:0", grpc.ssl_server_credentials([pair]))
    else:
        port = started.add_insecure_port("localhost:0")
    state.address = f"localhost:{port}"
    started.start()
    try:
        yield state
    finally:
        started.stop(0)


@contextlib.contextmanager
def _rest_server(certificate: Certificate | None = None) -> Iterator[Server]:
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        """Answers as TensorFlow Serving does."""

        def log_message(self, *arguments):
            """Keep quiet."""

        def do_GET(self):  # noqa: N802 (the name is that of the standard library)
            """Answer with the metadata."""
            shown = {
                name: {
                    side: {key: {"tensor_shape": _json_shape(shape)} for key, shape in each.items()}
                    for side, each in zip(("inputs", "outputs"), tensors, strict=True)
                }
                for name, tensors in state.signatures.items()
            }
            self._answer({"metadata": {"signature_def": {"signature_def": shown}}}, "/metadata")

        def do_POST(self):  # noqa: N802
            """Answer with labels."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            predictions = []
            for instance in json.loads(body)["instances"]:
                data = np.frombuffer(base64.b64decode(instance["image_bytes"]["b64"]), np.uint8)
                image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
                small = image[..., 0].size <= state.largest
                png = tiny.png(image[..., 0] % 4) if small else b""
                predictions.append(
                    {
                        "Status": 0 if small else 4,
                        "label_png_bytes": {"b64": base64.b64encode(png).decode()},
                    }
                )
            self._answer({"predictions": predictions}, ":predict")

        def _answer(self, answer: dict, end: str) -> None:
            state.requests.append(self.path)
            code = state.errors.pop(0) if state.errors else 200
            if code == 200 and not (self.path.startswith(f"/v1/models/{_MODEL}")):
                code = 404
            assert self.path.endswith(end)
            data = json.dumps(answer if code == 200 else {"error": "as asked"}).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    started = http.server.ThreadingHTTPServer(("localhost", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.path, certificate.key)
        # Otherwise a client that ends the handshake is an error of the server's loop.
        started.socket = context.wrap_socket(
            started.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=started.serve_forever, args=(0.01,))
    thread.start()
    state.address = f"http://localhost:{started.server_port}"
    try:
        yield state
    finally:
        started.shutdown()
        thread.join()
        started.server_close()


def _json_shape(shape: tuple[int, ...]) -> dict:
    return {"dim": [{"size": str(side), "name": ""} for side in shape], "unknown_rank": False}


_STARTS = {"grpc": _grpc_server, "rest": _rest_server}
