"""The gRPC interface of TensorFlow Serving."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import grpc
import numpy as np

from deeplab.core import error_text
from deeplab.core.options import ServerOptions
from deeplab.export import service_messages
from deeplab.serving import certificates, retrying

_Answer = TypeVar("_Answer")

_SERVICE = "/tensorflow.serving.PredictionService"
# The largest message. The default of gRPC is 4 MB.
_MOST_BYTES = 2**31 - 1
# In messages about certificates: of another authority or another name, or no encryption.
_IS_UNTRUSTED = re.compile("CERTIFICATE_VERIFY_FAILED|WRONG_VERSION_NUMBER|Hostname Verification")
_OPTIONS = (
    ("grpc.max_send_message_length", _MOST_BYTES),
    ("grpc.max_receive_message_length", _MOST_BYTES),
)


class GrpcClient:
    """A model on a server that is called by gRPC.

    Only the base packages are needed: `service_messages` writes the messages.

    Example:
        client = GrpcClient(ServerOptions(server="localhost:8500"))
        outputs = client.call("serving_labels", {"ImageTensor": images}, ["SemanticPredictions"])

    Args:
        options: The server and the model.
    """

    def __init__(self, options: ServerOptions):
        self._options = options
        if options.is_encrypted:
            credentials = grpc.ssl_channel_credentials(certificates.roots(options))
            target = options.server.removeprefix("grpcs://")
            self._channel = grpc.secure_channel(target, credentials, _OPTIONS)
        else:
            self._channel = grpc.insecure_channel(options.server, _OPTIONS)

    def signatures(self) -> dict[str, service_messages.SignatureShapes]:
        """Return the signatures of the model; for errors see `call`."""
        request = service_messages.encode_metadata_request(
            self._options.model_name, self._options.model_version
        )
        return self._call("GetModelMetadata", request, service_messages.decode_metadata)

    def call(
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Iterable[str]
    ) -> dict[str, np.ndarray]:
        """Return outputs of a signature.

        Args:
            signature: Its name.
            inputs: The tensors by their names.
            outputs: Names of the outputs.

        Raises:
            ServerError: The server or the model cannot be used.
            Refused: The server rejects this request, or does not answer in time.
        """
        request = service_messages.encode_request(
            service_messages.Request(signature, inputs),
            self._options.model_name,
            self._options.model_version,
            outputs,
        )
        return self._call("Predict", request, service_messages.decode_response)

    def _call(self, method: str, request: bytes, decode: Callable[[bytes], _Answer]) -> _Answer:
        send = self._channel.unary_unary(f"{_SERVICE}/{method}")

        def answer() -> bytes:
            try:
                return send(request, timeout=self._options.server_timeout)
            except grpc.RpcError as error:
                raise self._named(error) from None

        message = retrying.call(answer)
        try:
            return decode(message)
        except Exception:  # The protocol buffers' error has no public name.
            raise retrying.ServerError(
                f"--server={self._options.server} does not answer as TensorFlow Serving does"
            ) from None

    def _named(self, error: grpc.RpcError) -> Exception:
        """Return the exception for an error of gRPC, with the flag that it is about."""
        options, code = self._options, error.code()
        reason = error_text.shortened(error_text.one_line(error.details() or code.name.lower()))
        if code == grpc.StatusCode.UNAVAILABLE and _IS_UNTRUSTED.search(reason):
            return retrying.ServerError(retrying.not_trusted(options, reason))
        if code == grpc.StatusCode.UNAVAILABLE:
            return retrying.Unavailable(
                f"--server={options.server} is not available by gRPC (the server's --port, 8500 by"
                f" default): {reason}"
            )
        if code == grpc.StatusCode.NOT_FOUND:
            return retrying.ServerError(retrying.no_model(options, reason))
        if code == grpc.StatusCode.UNIMPLEMENTED:
            return retrying.ServerError(
                f"--server={options.server} is not the gRPC interface of a TensorFlow Serving:"
                f" {reason}"
            )
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return retrying.Refused(retrying.too_late(options))
        return retrying.Refused(f"--server={options.server} has refused the request: {reason}")
