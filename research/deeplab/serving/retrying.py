"""Errors of a server, and requests that are sent again where that may help."""

import time
from collections.abc import Callable
from typing import TypeVar

from absl import logging

from deeplab.core.options import ServerOptions

_Answer = TypeVar("_Answer")

# Seconds to wait before a request is sent again. A server that loads a model needs some.
_WAITS = (0.5, 1.0, 2.0, 4.0)


class ServerError(ConnectionError):
    """The server, or its model, cannot be used; no other request would help."""


class Unavailable(ServerError):
    """The server does not answer, or does not yet; it may later."""


class Refused(ValueError):
    """The server rejects this request; others may succeed."""


def call(request: Callable[[], _Answer]) -> _Answer:
    """Send a request, a few times if the server is not available.

    Args:
        request: Sends it, and returns the answer or raises `Unavailable`.

    Raises:
        Unavailable: The server is not available.
    """
    for wait in _WAITS:
        try:
            return request()
        except Unavailable as error:
            logging.warning("%s; trying again in %g s", error, wait)
            time.sleep(wait)
    return request()


def no_model(options: ServerOptions, reason: str) -> str:
    """Return the message that the server does not have the model."""
    version = "" if options.model_version is None else f" of version {options.model_version}"
    flags = "--model_name" if options.model_version is None else "--model_name, --model_version"
    model = f"{options.model_name!r}{version} ({flags})"
    return f"--server={options.server} has no model {model}: {reason}"


def too_late(options: ServerOptions) -> str:
    """Return the message that the server needs too long."""
    return (
        f"--server={options.server} has not answered within {options.server_timeout:g} seconds"
        " (--server_timeout)"
    )


def not_trusted(options: ServerOptions, reason: str) -> str:
    """Return the message that an encrypted connection fails, most likely by the certificate."""
    return (
        f"--server={options.server}: there is no encrypted connection, as the server's certificate"
        f" or answer is not right (--server_ca_certificate names an authority to trust): {reason}"
    )
