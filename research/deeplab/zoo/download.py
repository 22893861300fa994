"""Downloads archives, verifies them and unpacks them into a folder, completely or not at all."""

import gzip
import hashlib
import http.client
import lzma
import os
import pathlib
import stat
import struct
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, BinaryIO

from absl import logging

from deeplab.utils import files, temporary_files

_CHUNK = 2**20
_TIMEOUT_SECS = 60.0
_ATTEMPTS = 4
_PAUSE_SECS = 2.0
_PROGRESS_SECS = 10.0
_SCHEMES = ("http://", "https://")
# No file has a size of more digits.
_SIZE_DIGITS = 19
# Checkpoints and photographs can hardly be compressed. An archive of them does not unpack to more
# than `_MIN_UNPACKED_BYTES` plus `_MAX_RATIO` times its size.
_MIN_UNPACKED_BYTES = 64 * 2**20
_MAX_RATIO = 20
# Bytes of a header, with the name of a member. It is read at once; contents are read in smaller
# parts.
_MAX_HEADER_BYTES = 2**20


def install(
    url: str,
    folder: str | os.PathLike[str],
    size_limits: tuple[int, int | None] = (0, None),
    digest: str | None = None,
) -> None:
    """Download an archive, verify it and unpack it into a new folder.

    This happens in a temporary folder, which is renamed at the end and removed after an error.

    Args:
        url: URL of the archive: .tar.gz, .tar or .zip.
        folder: Path of the new folder, which must not exist.
        size_limits: Least and largest number of bytes of the archive; None: any.
        digest: Digest of the archive, such as "sha256:..."; None: unknown.

    Raises:
        FileExistsError: The folder exists.
        OSError: The archive cannot be downloaded; the message names the URL.
        ValueError: It is not the expected archive, or it is not safe to unpack.

    Example:
        install("https://host/model.tar.gz", "checkpoints/model", digest="sha256:...")
    """
    folder = os.path.abspath(folder)
    if os.path.lexists(folder):
        raise FileExistsError(f"{folder} is there already")
    with (
        files.replacing_folder(folder) as unpacked,
        temporary_files.temporary_file(folder) as archive,
    ):
        fetch(url, archive, size_limits)
        if digest:
            verify(archive, digest, url)
        unpack(archive, unpacked, url)


def fetch(url: str, path: str, size_limits: tuple[int, int | None] = (0, None)) -> None:
    """Download a file. Broken transfers are resumed a few times.

    Args:
        url: URL of the file.
        path: Path of the file to write.
        size_limits: Least and largest number of bytes of the file; None: any.

    Raises:
        OSError: The file cannot be downloaded; the message says why, and names the URL.
        ValueError: The file has another size, or the URL is none.
    """
    if not url.lower().startswith(_SCHEMES):
        raise ValueError(f"{url} cannot be downloaded: it begins with neither http:// nor https://")
    transfer, problem = _Transfer(url, path, size_limits), ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            logging.warning("%s: %s; trying again", url, problem)
            time.sleep(_PAUSE_SECS)
        try:
            if transfer.run():
                return
            problem = f"the connection ended after {transfer.received} of {transfer.total} bytes"
        except urllib.error.HTTPError as error:
            problem = f"HTTP {error.code} {error.reason}"
            if error.code < 500:
                break
        except urllib.error.URLError as error:
            problem = str(error.reason)
        except (ConnectionError, TimeoutError, http.client.HTTPException) as error:
            problem = str(error) or type(error).__name__
        except UnicodeError:
            raise ValueError(
                f"{url!a} cannot be downloaded: write its characters that are not ASCII as %XX"
            ) from None
        except ValueError as error:  # The URL, or that of a redirect, is invalid.
            if url in str(error):
                raise
            raise ValueError(f"{url} cannot be downloaded: {error}") from None
        except OSError as error:
            raise OSError(f"{url} cannot be saved to {path}: {error.strerror or error}") from None
    raise OSError(f"{url} cannot be downloaded: {problem}")


class _WebRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only."""

    def redirect_request(self, *arguments: Any) -> urllib.request.Request | None:
        url = arguments[-1]
        if not url.lower().startswith(_SCHEMES):
            raise urllib.error.URLError(f"redirected to {url}, which is neither http nor https")
        return super().redirect_request(*arguments)


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_WebRedirects)


class _Transfer:
    """A download that can be resumed.

    Attributes:
        received: Number of bytes that have arrived.
        total: Number of bytes of the file; None: the server does not tell.
    """

    def __init__(self, url: str, path: str, size_limits: tuple[int, int | None]):
        self.url = url
        self.path = path
        self.least, self.most = size_limits
        self.received = 0
        self.total: int | None = None
        # ETag of the server's version of the file, which a resumed transfer needs.
        self._version: str | None = None

    def run(self) -> bool:
        """Download the missing part; return whether the file is complete."""
        request = urllib.request.Request(self.url)
        if self.received and self._version:
            request.add_header("Range", f"bytes={self.received}-")
            request.add_header("If-Range", self._version)
        with _opener().open(request, timeout=_TIMEOUT_SECS) as response:
            self._read_headers(response.status, response.headers)
            with open(self.path, "ab" if self.received else "wb") as file:
                said = time.monotonic()
                while chunk := response.read(_CHUNK):
                    file.write(chunk)
                    self.received += len(chunk)
                    self._check_size(self.received, least=0)
                    if time.monotonic() - said >= _PROGRESS_SECS:
                        said = time.monotonic()
                        logging.info("downloaded %s", self._progress())
        if self.total is not None and self.received < self.total:
            return False
        self._check_size(self.received, self.least)
        return True

    def _read_headers(self, status: int, headers: Mapping[str, str]) -> None:
        if status == http.client.PARTIAL_CONTENT:
            span = headers.get("Content-Range", "")
            if not span.startswith(f"bytes {self.received}-"):
                self.received = 0
                raise http.client.HTTPException(f"the server sent another part, {span!r}")
            return
        # The whole file: it is the first answer, or the file has changed, or parts are not served.
        self.received = 0
        length = headers.get("Content-Length", "")
        is_size = length.isdecimal() and len(length) <= _SIZE_DIGITS
        self.total = int(length) if is_size else None
        tag = headers.get("ETag", "")
        self._version = tag if tag.startswith('"') else headers.get("Last-Modified")
        if self.total is not None:
            self._check_size(self.total, self.least)

    def _check_size(self, size: int, least: int) -> None:
        if size >= least and (self.most is None or size <= self.most):
            return
        limits = f"{self.least}" if self.least == self.most else f"{self.least} to {self.most}"
        raise ValueError(
            f"{self.url} has {size} bytes where {limits} are expected: it is not the expected file"
        )

    def _progress(self) -> str:
        received = f"{self.received / 1e6:.0f}"
        return f"{received} of {self.total / 1e6:.0f} MB" if self.total else f"{received} MB"


def verify(path: str, digest: str, url: str) -> None:
    """Compare a file with its digest.

    Args:
        path: Path of the file.
        digest: Name of a hash function, a colon and the hexadecimal digest.
        url: URL of the file, for messages.

    Raises:
        ValueError: They differ.
    """
    algorithm, _, expected = digest.partition(":")
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != expected:
        raise ValueError(
            f"{url} is not the published file: its {algorithm} is {found}, not {expected}"
        )


def unpack(archive: str, folder: str, name: str | None = None) -> None:
    """Unpack a .tar.gz, .tar or .zip archive of plain files and folders into a folder.

    Args:
        archive: Path of the archive.
        folder: Folder to unpack it to; it is made if needed.
        name: URL or file name of the archive, for its extension and messages. Default: that of
            the path.

    Raises:
        ValueError: The archive is damaged, or holds a link, a device, or a path that leaves the
            folder. Members before the bad one are left in the folder.
    """
    if not hasattr(tarfile, "data_filter"):
        raise OSError("this Python cannot unpack archives safely: use 3.11.4 or later")
    os.makedirs(folder, exist_ok=True)
    name = name or os.path.basename(archive)
    check = _MemberCheck(_MIN_UNPACKED_BYTES + _MAX_RATIO * os.path.getsize(archive))
    try:
        if name.endswith(".zip"):
            _unpack_zip(archive, folder, check)
        elif name.endswith(".tar"):
            with open(archive, "rb") as stream:
                _unpack_tar(stream, folder, check)
        else:
            _unpack_tar_gz(archive, folder, check)
    except _UnsafeError as error:
        raise ValueError(f"{name} is not unpacked: {error}") from None
    except (
        *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError),
        *(lzma.LZMAError, struct.error),
        # How zipfile refuses passwords and kinds of compression.
        *(RuntimeError, NotImplementedError),
        # Names that are no text, paths with a zero byte, and times that no file has.
        *(ValueError, OverflowError),
    ) as error:
        raise ValueError(f"{name} is damaged: {error}") from None
    except OSError as error:
        raise OSError(f"{name} cannot be unpacked to {folder}: {error.strerror or error}") from None


def _unpack_tar_gz(archive: str, folder: str, check: "_MemberCheck") -> None:
    with gzip.open(archive) as stream:
        _unpack_tar(stream, folder, check)
        # The checksum is at the end, which the tar reader does not read.
        while chunk := stream.read(_CHUNK):
            check.count(len(chunk))


def _unpack_tar(stream: BinaryIO, folder: str, check: "_MemberCheck") -> None:
    with tarfile.open(fileobj=_SmallReads(stream), mode="r:") as tar:
        tar.extractall(folder, filter=check.tar_member)


class _SmallReads:
    """A stream for tarfile, which reads as much at once as a header asks for."""

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int) -> bytes:
        """Return the next bytes; reject a size that no header has."""
        if not 0 <= size <= _MAX_HEADER_BYTES:
            raise _UnsafeError(f"it has a header of {size} bytes")
        return self._stream.read(size)


def _unpack_zip(archive: str, folder: str, check: "_MemberCheck") -> None:
    with zipfile.ZipFile(archive) as members:
        for member in members.infolist():
            check.zip_member(member)
            # This compares checksums, too.
            members.extract(member, folder)


class _UnsafeError(Exception):
    """Raised for a member of an archive that is not unpacked."""


class _MemberCheck:
    """Rejects all members of an archive but files and folders inside, of a reasonable size.

    Args:
        max_bytes: Largest size of all files together.
    """

    def __init__(self, max_bytes: int):
        self._max_bytes = max_bytes
        self._num_bytes = 0

    def tar_member(self, member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
        """Check a member of a tar archive, then apply tarfile's own filter for data."""
        _check_inside(member.name)
        if not (member.isreg() or member.isdir()):
            raise _UnsafeError(f"{member.name} is a link or a device")
        if member.issparse():
            raise _UnsafeError(f"{member.name} is a sparse file")
        self.count(member.size)
        try:
            return tarfile.data_filter(member, folder)
        except tarfile.FilterError as error:
            raise _UnsafeError(str(error)) from None

    def zip_member(self, member: zipfile.ZipInfo) -> None:
        """Check a member of a zip archive."""
        _check_inside(member.filename)
        # The upper half holds the mode of a file that Unix packed.
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _UnsafeError(f"{member.filename} is a link or a device")
        self.count(member.file_size)

    def count(self, num_bytes: int) -> None:
        """Count unpacked bytes."""
        self._num_bytes += num_bytes
        if self._num_bytes > self._max_bytes:
            raise _UnsafeError(
                f"it holds more than {self._max_bytes} bytes, which is far more than its own size"
            )


def _check_inside(name: str) -> None:
    path = pathlib.PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise _UnsafeError(f"{name} leaves the folder")
