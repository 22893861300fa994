"""The address of a running server, its model, and the time to wait for answers."""

import dataclasses
import re
import urllib.parse
from typing import Annotated

from deeplab.core.options.fields import NonNegativeInt, PositiveFloat, describe, validate

_GRPC = re.compile(r"(grpcs://)?(\[[0-9A-Fa-f:.%\w]+\]|[^\[\]:/@?#\s]+):\d{1,5}")
_REST = re.compile(r"https?://[^/?#\s]+(/[^?#\s]*)?")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """A model of a running TensorFlow Serving.

    Example:
        server = ServerOptions(server="localhost:8500", model_name="pascal")

    Raises:
        ValueError: A value is out of range, or has no effect; the message names the flag.
    """

    server: Annotated[
        str | None,
        "Address of a running TensorFlow Serving: HOST:PORT of its gRPC interface, such as"
        " localhost:8500, or http://HOST:PORT of its REST interface, such as"
        " http://localhost:8501; grpcs://HOST:PORT or https://HOST:PORT for encrypted connections.",
    ] = None
    model_name: Annotated[str, "Name of the model in the server."] = "deeplab"
    model_version: Annotated[
        NonNegativeInt | None, "Version of the model in the server. Default: the newest."
    ] = None
    server_timeout: Annotated[PositiveFloat, "Seconds to wait for an answer of the server."] = 60.0
    server_ca_certificate: Annotated[
        str | None,
        "PEM file of the authority that has signed the certificate of a grpcs:// or https://"
        " server, or of a certificate that has signed itself. Default: what the system trusts.",
    ] = None

    def __post_init__(self):
        validate(self)
        if not self.server:
            for name, field in describe(ServerOptions).items():
                value = getattr(self, name)
                if name != "server" and value != field.default:
                    raise ValueError(f"--{name}={value} has no effect without --server")
        elif not _is_address(self.server):
            raise ValueError(
                f"--server={self.server} is not an address: give HOST:PORT of the gRPC interface,"
                " such as localhost:8500, or http://HOST:PORT of the REST interface, such as"
                " http://localhost:8501 (grpcs:// or https:// for encrypted connections)"
            )
        elif self.server_ca_certificate and not self.is_encrypted:
            raise ValueError(
                f"--server_ca_certificate={self.server_ca_certificate} has no effect with"
                f" --server={self.server}, which is not encrypted: give grpcs://HOST:PORT or"
                " https://HOST:PORT"
            )

    @property
    def is_rest(self) -> bool:
        """Whether the address is one of the REST interface."""
        return bool(self.server and _REST.fullmatch(self.server))

    @property
    def is_encrypted(self) -> bool:
        """Whether the connection is encrypted, and the server's certificate checked."""
        return bool(self.server and self.server.startswith(("grpcs://", "https://")))


def _is_address(server: str) -> bool:
    """Return whether a string is an address of one of the interfaces."""
    if not (_GRPC.fullmatch(server) or _REST.fullmatch(server)):
        return False
    try:
        parts = urllib.parse.urlsplit(server if "://" in server else f"//{server}")
        # Both raise: of a port beyond 65535, and of a name that is too long.
        return parts.port != 0 and bool((parts.hostname or "").encode("idna"))
    except ValueError:
        return False
