"""Certificates of the authorities that a client trusts, for encrypted connections."""

import glob
import os
import ssl

from deeplab.core.options import ServerOptions
from deeplab.utils import files

_BEGINNING = b"-----BEGIN CERTIFICATE-----"


def context(options: ServerOptions) -> ssl.SSLContext:
    """Return what the standard library needs to check the certificate of a server.

    Raises:
        OSError: `--server_ca_certificate` cannot be read.
        ValueError: It is no certificate.
    """
    path = options.server_ca_certificate
    if not path:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cadata=files.read_bytes(path).decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise ValueError(
            f"--server_ca_certificate={path} is no file of certificates in PEM format (text with"
            f" {_BEGINNING.decode()})"
        ) from None


def roots(options: ServerOptions) -> bytes | None:
    """Return the trusted certificates as PEM; None: let gRPC choose, because the system has none.

    gRPC by itself takes a list of its own, which lacks what an administrator has added.

    Raises:
        OSError: `--server_ca_certificate` cannot be read.
        ValueError: It is no certificate.
    """
    trusted = context(options).get_ca_certs(binary_form=True)
    if trusted or options.server_ca_certificate:
        return "".join(map(ssl.DER_cert_to_PEM_cert, trusted)).encode()
    # A folder of certificates is searched only when a certificate is checked.
    folder = ssl.get_default_verify_paths().capath
    found = {os.path.realpath(path) for path in glob.glob(os.path.join(folder or "", "*"))}
    contents = [files.read_bytes(path) for path in sorted(found) if os.path.isfile(path)]
    return b"\n".join(each for each in contents if _BEGINNING in each) or None
