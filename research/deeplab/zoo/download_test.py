"""Downloads: whole or not there, verified, nothing outside the folder."""

import errno
import gzip
import hashlib
import http.server
import io
import os
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterable

import pytest

from deeplab.testing import tiny
from deeplab.zoo import download

_FILES = {"model/model.ckpt.index": b"index", "model/model.ckpt.data-00000-of-00001": b"x" * 5000}


def _file(name: str, content: bytes = b"content") -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    return member, content


def _special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member, b""


def _archive(members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """A .tar.gz archive; its bytes are always the same."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(stream.getvalue(), mtime=0)


_GOOD = _archive([_file(name, content) for name, content in _FILES.items()])


class _Server(http.server.ThreadingHTTPServer):
    """Answers with `content`, or as the next of `faults` says.

    Attributes:
        content: The file.
        tag: The ETag of its version; None: the server names none.
        faults: For each request to come a status, the number of bytes after which the connection
            ends, or what to do in place of an answer.
        ranges: The Range header of each request.
        states_length: Whether the size is said before the file is sent.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = _GOOD
        self.tag: str | None = '"one"'
        self.faults: list[Callable[[_Handler], None] | int] = []
        self.ranges: list[str | None] = []
        self.states_length = True
        self.url = f"http://127.0.0.1:{self.server_port}/model.tar.gz"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:  # noqa: N802
        server = self.server
        wanted = self.headers.get("Range")
        server.ranges.append(wanted)
        fault = server.faults.pop(0) if server.faults else None
        if callable(fault):
            fault(self)
            return
        if fault and fault >= 400:
            self.send_error(fault)
            return
        start, total = 0, len(server.content)
        if wanted and server.tag and self.headers.get("If-Range") == server.tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if server.states_length:
            self.send_header("Content-Length", str(total - start))
        if server.tag:
            self.send_header("ETag", server.tag)
        self.end_headers()
        self.wfile.write(server.content[start : fault if fault else total])

    def log_message(self, *_) -> None:
        """Says nothing."""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "_PAUSE_SECS", 0.0)
    with _Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def _check_installed(folder):
    assert tiny.files(folder) == sorted(_FILES)
    for name, content in _FILES.items():
        assert (folder / name).read_bytes() == content
    assert os.listdir(folder.parent) == [folder.name]


def test_an_archive_is_fetched_and_unpacked(server, tmp_path):
    folder = tmp_path / "new" / "zoo"
    digest = f"sha256:{hashlib.sha256(_GOOD).hexdigest()}"
    download.install(server.url, folder, (len(_GOOD), len(_GOOD)), digest)
    _check_installed(folder)
    assert folder.stat().st_mode & 0o700 == 0o700


def test_an_address_that_is_not_ascii_says_so(tmp_path):
    url = "http://127.0.0.1/größe.tar"
    with pytest.raises(ValueError, match="gr.*e.tar' cannot be downloaded: write its characters"):
        download.fetch(url, str(tmp_path / "file"))


def test_what_is_there_is_left_alone(server, tmp_path):
    (tmp_path / "zoo").mkdir()
    with pytest.raises(FileExistsError, match="zoo is there already"):
        download.install(server.url, tmp_path / "zoo")
    assert not server.ranges


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ((len(_GOOD) + 1, len(_GOOD) + 1), f"has {len(_GOOD)} bytes where {len(_GOOD) + 1} are"),
        ((0, len(_GOOD) - 1), f"has {len(_GOOD)} bytes where 0 to {len(_GOOD) - 1} are"),
        ((len(_GOOD) + 1, 2 * len(_GOOD)), "it is not the expected file"),
    ],
)
def test_another_size_is_refused_before_the_file_is_fetched(server, tmp_path, limits, message):
    with pytest.raises(ValueError, match=message) as error:
        download.install(server.url, tmp_path / "zoo", limits)
    assert server.url in str(error.value)
    assert not os.listdir(tmp_path)
    assert len(server.ranges) == 1


@pytest.mark.parametrize("limits", [(0, len(_GOOD) - 1), (len(_GOOD) + 1, None)])
def test_another_size_is_refused_where_the_server_does_not_say_it(server, tmp_path, limits):
    server.states_length = False
    with pytest.raises(ValueError, match="it is not the expected file"):
        download.install(server.url, tmp_path / "zoo", limits)
    assert not os.listdir(tmp_path)


def test_a_size_that_is_not_said_may_be_right(server, tmp_path):
    server.states_length = False
    download.install(server.url, tmp_path / "zoo", (len(_GOOD), len(_GOOD)))
    _check_installed(tmp_path / "zoo")


def test_another_digest_is_refused(server, tmp_path):
    with pytest.raises(ValueError, match=f"^{server.url} is not the published file: its sha384 is"):
        download.install(server.url, tmp_path / "zoo", digest="sha384:" + 96 * "0")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([_file("model/good"), _file("../outside")], r"\.\./outside leaves the folder"),
        ([_file("model/../../outside")], "leaves the folder"),
        ([_file("/outside")], "/outside leaves the folder"),
        ([_special("model/link", tarfile.SYMTYPE, "/etc")], "model/link is a link or a device"),
        (
            [_special("link", tarfile.SYMTYPE, ".."), _file("link/outside")],
            "link is a link or a device",
        ),
        ([_file("a"), _special("b", tarfile.LNKTYPE, "../../outside")], "b is a link or a device"),
        ([_special("null", tarfile.CHRTYPE)], "null is a link or a device"),
        ([_special("pipe", tarfile.FIFOTYPE)], "pipe is a link or a device"),
    ],
)
def test_nothing_leaves_the_folder(server, tmp_path, members, message):
    server.content = _archive(members)
    below = tmp_path / "below"
    with pytest.raises(ValueError, match=f"^{server.url} is not unpacked: .*{message}"):
        download.install(server.url, below / "zoo")
    assert not os.listdir(below)
    assert os.listdir(tmp_path) == ["below"]


def _sparse(name: str, size: int) -> bytes:
    """An archive with a GNU sparse file of that size, of which no byte is stored."""
    header = tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT)
    fields = bytearray(header)
    fields[156:157] = tarfile.GNUTYPE_SPARSE
    fields[386:410] = b"%011o\0%011o\0" % (size, 0)
    fields[483:495] = b"%011o\0" % size
    fields[148:156] = b" " * 8
    fields[148:156] = b"%06o\0 " % sum(fields)
    return gzip.compress(bytes(fields) + bytes(1024), mtime=0)


def test_a_sparse_file_is_refused(server, tmp_path):
    server.content = _sparse("model/hole", 2**33)
    with pytest.raises(ValueError, match=f"^{server.url} is not unpacked: .*hole is a sparse file"):
        download.install(server.url, tmp_path / "zoo")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("place", ["in a file", "behind the files"])
def test_an_archive_that_unpacks_to_far_more_than_its_size_is_refused(
    server, tmp_path, monkeypatch, place
):
    monkeypatch.setattr(download, "_MIN_UNPACKED_BYTES", 2**20)
    zeros = bytes(2**23)
    if place == "in a file":
        server.content = _archive([_file("model/zeros", zeros)])
    else:
        server.content = gzip.compress(gzip.decompress(_GOOD) + zeros, mtime=0)
    with pytest.raises(ValueError, match=f"^{server.url} is not unpacked: it holds more than"):
        download.install(server.url, tmp_path / "zoo")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
@pytest.mark.parametrize("size", [2**21, 2**60])
def test_a_header_that_would_fill_the_memory_is_refused(server, tmp_path, kind, size):
    header = tarfile.TarInfo("header")
    header.type, header.size = kind, size
    server.content = gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(2**21), mtime=0)
    with pytest.raises(ValueError, match=f"^{server.url} is not unpacked: it has a header of"):
        download.install(server.url, tmp_path / "zoo")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/model.tar.gz"])
def test_redirects_lead_to_the_web_only(server, tmp_path, target):
    def redirect(handler: _Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.end_headers()

    server.faults = [redirect] * 10
    message = f"^{server.url} cannot be downloaded: .*(redirected|[Rr]edirection)"
    with pytest.raises(OSError, match=message):
        download.install(server.url, tmp_path / "zoo")
    assert not os.listdir(tmp_path)


def test_a_redirect_within_the_web_is_followed(server, tmp_path):
    def redirect(handler: _Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", f"{server.url}?elsewhere")
        handler.end_headers()

    server.faults = [redirect]
    download.install(server.url, tmp_path / "zoo")
    _check_installed(tmp_path / "zoo")


def test_a_redirect_to_no_address_names_the_first_one(server, tmp_path):
    def redirect(handler: _Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", "http://[1/model.tar.gz")
        handler.end_headers()

    server.faults = [redirect]
    with pytest.raises(ValueError, match=f"^{server.url} cannot be downloaded: .*IPv6"):
        download.install(server.url, tmp_path / "zoo")
    assert not os.listdir(tmp_path)


def test_a_size_that_no_file_has_is_none(server, tmp_path):
    def answer(handler: _Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "9" * 5000)
        handler.end_headers()
        handler.wfile.write(_GOOD)

    server.faults = [answer]
    download.install(server.url, tmp_path / "zoo")
    _check_installed(tmp_path / "zoo")


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://host/a.tar.gz", "a.tar.gz"])
def test_another_scheme_is_refused(tmp_path, url):
    with pytest.raises(ValueError, match=f"^{url} cannot be downloaded: it begins with neither"):
        download.install(url, tmp_path / "zoo")
    assert not os.listdir(tmp_path)


def test_a_full_disk_names_the_archive_and_leaves_nothing(server, tmp_path, monkeypatch):
    def full(*_) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "makefile", full)
    message = f"^{server.url} cannot be unpacked to {tmp_path}/.*: No space left on device"
    with pytest.raises(OSError, match=message):
        download.install(server.url, tmp_path / "zoo")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"<html>Not found</html>",
        _GOOD[: len(_GOOD) // 2],
        # The checksum, behind all of the files.
        _GOOD[:-8] + bytes(8),
        gzip.compress(b"no archive", mtime=0),
        b"",
    ],
    ids=["a page", "half", "no checksum", "no archive", "empty"],
)
def test_a_damaged_archive_is_refused(server, tmp_path, content):
    server.content = content
    with pytest.raises(ValueError, match=f"^{server.url} is damaged: ."):
        download.install(server.url, tmp_path / "zoo")
    assert not os.listdir(tmp_path)


def _tar_with(key: str, value: str) -> bytes:
    """A .tar archive whose only member has a pax header."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member, content = _file("model/file")
        member.pax_headers = {key: value}
        tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def _zip_with(name: str, kind: int, old: bytes, new: bytes) -> bytes:
    """A .zip archive in which bytes are exchanged."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", kind) as archive:
        archive.writestr(name, bytes(range(256)) * 9)
    assert old in stream.getvalue()
    return stream.getvalue().replace(old, new)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tar", _tar_with("mtime", "nan")),
        ("a.tar", _tar_with("mtime", "inf")),
        ("a.tar", _tar_with("path", "model/a\0b")),
        # The properties of the compression follow their length.
        ("a.zip", _zip_with("file", zipfile.ZIP_LZMA, b"\x05\0]", b"\x05\0\xff")),
        ("a.zip", _zip_with("é", zipfile.ZIP_STORED, "é".encode(), b"\xff\xff")),
    ],
    ids=["no time", "no finite time", "zero byte", "lzma", "no text"],
)
def test_what_no_archive_has_is_an_error_that_names_it(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^https://host/{name} is damaged: .") as raised:
        download.unpack(str(path), str(tmp_path / "unpacked"), f"https://host/{name}")
    assert "\n" not in str(raised.value)


def test_a_transfer_is_taken_up_where_it_broke(server, tmp_path):
    server.faults = [20, 50]
    download.install(server.url, tmp_path / "zoo")
    _check_installed(tmp_path / "zoo")
    assert server.ranges == [None, "bytes=20-", "bytes=50-"]


def test_a_transfer_begins_again_where_the_server_names_no_version(server, tmp_path):
    server.tag = None
    server.faults = [20]
    download.install(server.url, tmp_path / "zoo")
    _check_installed(tmp_path / "zoo")
    assert server.ranges == [None, None]


def test_a_transfer_begins_again_when_the_file_has_changed(server, tmp_path):
    def change(handler: _Handler) -> None:
        server.content, server.tag = _GOOD, '"two"'
        handler.close_connection = True

    server.content = _archive([_file("old", b"y" * 5000)])
    server.faults = [30, change]
    download.install(server.url, tmp_path / "zoo")
    _check_installed(tmp_path / "zoo")
    assert server.ranges == [None, "bytes=30-", "bytes=30-"]


def test_a_transfer_that_never_ends_well_is_given_up(server, tmp_path):
    server.tag = None
    server.faults = [20] * 100
    message = f"{server.url} cannot be downloaded: .* after 20 of {len(_GOOD)} bytes"
    with pytest.raises(OSError, match=message):
        download.install(server.url, tmp_path / "zoo")
    assert not os.listdir(tmp_path)
    assert 1 < len(server.ranges) < 10


def test_a_server_that_fails_is_asked_again(server, tmp_path):
    server.faults = [503, 500]
    download.install(server.url, tmp_path / "zoo")
    _check_installed(tmp_path / "zoo")


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (503, 4)])
def test_the_error_of_a_server_is_named(server, tmp_path, status, requests):
    server.faults = [status] * 10
    with pytest.raises(OSError, match=f"^{server.url} cannot be downloaded: HTTP {status} "):
        download.install(server.url, tmp_path / "zoo")
    assert len(server.ranges) == requests
    assert not os.listdir(tmp_path)


def test_no_server_is_an_error_that_names_the_address(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(OSError, match=f"^{server.url} cannot be downloaded: .*refused"):
        download.install(server.url, tmp_path / "zoo")
    assert not os.listdir(tmp_path)
