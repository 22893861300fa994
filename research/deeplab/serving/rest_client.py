"""The REST interface of TensorFlow Serving."""

import base64
import http.client
import json
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deeplab.core import error_text
from deeplab.core.options import ServerOptions
from deeplab.export.service_messages import Shape, SignatureShapes
from deeplab.serving import certificates, retrying

# Codes of a server that is starting or overloaded, and of a proxy in front of it.
_UNAVAILABLE = (429, 502, 503, 504)
_NOT_FOUND = 404


class RestClient:
    """A model on a server that is called by HTTP.

    As text, the numbers of an image would take many times its size. So only files are sent and
    returned, as base64.

    Example:
        client = RestClient(ServerOptions(server="http://localhost:8501"))
        outputs = client.call("serving_png", {"image_bytes": files}, ["label_png_bytes"])

    Args:
        options: The server and the model.
    """

    def __init__(self, options: ServerOptions):
        self._options = options
        self._context = certificates.context(options) if options.is_encrypted else None
        name = urllib.parse.quote(options.model_name, safe="")
        self._url = f"{options.server.rstrip('/')}/v1/models/{name}"
        if options.model_version is not None:
            self._url += f"/versions/{options.model_version}"

    def signatures(self) -> dict[str, SignatureShapes]:
        """Return the signatures of the model; for errors see `call`."""
        answer = self._ask("/metadata")
        try:
            # First the name of the metadata, then the field of its message with the same name.
            found = answer["metadata"]["signature_def"]["signature_def"]
            return {
                name: SignatureShapes(
                    _shapes(each.get("inputs", {})), _shapes(each.get("outputs", {}))
                )
                for name, each in found.items()
            }
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
            raise self._wrong_answer() from None

    def call(
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Return outputs of a signature.

        Args:
            signature: Its name.
            inputs: Strings [batch] by their names, as arrays of objects.
            outputs: Names of all its outputs, strings or numbers [batch].

        Raises:
            ServerError: The server or the model cannot be used.
            Refused: The server rejects this request, or does not answer in time.
        """
        rows = zip(*inputs.values(), strict=True)
        instances = [
            {
                name: {"b64": base64.b64encode(value).decode()}
                for name, value in zip(inputs, row, strict=True)
            }
            for row in rows
        ]
        request = {"signature_name": signature, "instances": instances}
        answer = self._ask(":predict", json.dumps(request).encode())
        try:
            rows = answer["predictions"]
            if len(outputs) == 1:
                # The server leaves out the name of a single output.
                rows = [{outputs[0]: row} for row in rows]
            return {name: np.array([_value(row[name]) for row in rows], object) for name in outputs}
        except (KeyError, TypeError, ValueError):
            raise self._wrong_answer() from None

    def _ask(self, path: str, body: bytes | None = None) -> Any:
        """Return the parsed JSON answer to a GET or, with a body, to a POST."""
        data = retrying.call(lambda: self._send(path, body))
        try:
            return json.loads(data)
        except (RecursionError, ValueError):
            raise self._wrong_answer() from None

    def _send(self, path: str, body: bytes | None) -> bytes:
        request = urllib.request.Request(
            self._url + path, body, {"Content-Type": "application/json"} if body else {}
        )
        seconds = self._options.server_timeout
        try:
            with urllib.request.urlopen(request, timeout=seconds, context=self._context) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise self._named(error.code, _reason(error)) from None
        except TimeoutError:
            raise retrying.Refused(retrying.too_late(self._options)) from None
        except http.client.HTTPException as error:
            if not isinstance(error, http.client.IncompleteRead | ConnectionError):
                raise self._wrong_answer() from None
            raise self._not_available(error) from None
        except OSError as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise retrying.Refused(retrying.too_late(self._options)) from None
            if isinstance(reason, ssl.SSLError):
                raise retrying.ServerError(
                    retrying.not_trusted(self._options, error_text.one_line(reason))
                ) from None
            if isinstance(reason, socket.gaierror):
                raise retrying.ServerError(
                    f"--server={self._options.server} cannot be reached: {reason}"
                ) from None
            raise self._not_available(reason) from None

    def _named(self, code: int, reason: str) -> Exception:
        """Return the exception for a status code, with the flag that it is about."""
        options = self._options
        if code in _UNAVAILABLE:
            return self._not_available(f"{code} {reason}")
        if code == _NOT_FOUND:
            return retrying.ServerError(retrying.no_model(options, reason))
        return retrying.Refused(
            f"--server={options.server} has refused the request: {code} {reason}"
        )

    def _not_available(self, reason: Any) -> retrying.Unavailable:
        reason = getattr(reason, "strerror", None) or reason
        return retrying.Unavailable(
            f"--server={self._options.server} is not available by HTTP (the server's"
            f" --rest_api_port, 8501 by default): {error_text.one_line(str(reason))}"
        )

    def _wrong_answer(self) -> retrying.ServerError:
        return retrying.ServerError(
            f"--server={self._options.server} does not answer as the REST interface of TensorFlow"
            " Serving does; give its gRPC interface without http://"
        )


def _reason(error: urllib.error.HTTPError) -> str:
    """Return the server's own message about its error."""
    try:
        text = error.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        text = ""
    try:
        text = json.loads(text)["error"]
    except (KeyError, RecursionError, TypeError, ValueError):
        text = text or error.reason
    return error_text.shortened(error_text.one_line(str(text)))


def _value(value: Any) -> bytes | float:
    """Return a string or a number of an answer."""
    if isinstance(value, Mapping):
        return base64.b64decode(value["b64"], validate=True)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError
    return value


def _shapes(tensors: Mapping[str, Any]) -> dict[str, Shape]:
    return {name: _shape(tensor.get("tensor_shape", {})) for name, tensor in tensors.items()}


def _shape(shape: Mapping[str, Any]) -> Shape:
    if shape.get("unknown_rank"):
        return None
    # JSON has 64-bit numbers as strings.
    sides = (int(each["size"]) for each in shape.get("dim", ()))
    return tuple(None if side < 0 else side for side in sides)
