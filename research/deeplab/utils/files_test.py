import errno
import os
import re
import socket
import subprocess
import sys

import pytest
import tensorflow as tf

from deeplab.testing import tiny
from deeplab.utils import files


def test_writes_into_a_folder_that_is_not_there(tmp_path):
    path = tmp_path / "a" / "b" / "c.txt"
    files.write_text(path, "größer\n")
    assert path.read_text(encoding="utf-8") == "größer\n"
    assert os.listdir(path.parent) == ["c.txt"]


def test_replaces_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a long old content")
    files.write_bytes(path, b"new")
    assert path.read_bytes() == b"new"


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(KeyError), files.replacing(path) as temporary:
        with open(temporary, "w") as file:
            file.write("half")
        raise KeyError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_nothing_at_the_wanted_path_until_the_block_ends(tmp_path):
    path = tmp_path / "image.png"
    with files.replacing(path) as temporary:
        host = socket.gethostname().replace(".", "-")
        expected = rf"\.image\.png\.{re.escape(host)}\.{os.getpid()}\.[0-9a-f]{{16}}\.tmp"
        assert re.fullmatch(expected, os.path.basename(temporary))
        with open(temporary, "w") as file:
            file.write("whole")
        assert not path.exists()
    assert path.read_text() == "whole"


def test_a_relative_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.write_bytes("file", b"x")
    assert os.listdir(tmp_path) == ["file"]


def test_several_files_take_their_places_together(tmp_path):
    paths = [tmp_path / "a" / "one", tmp_path / "b" / "two"]
    with files.replacing_all(paths) as temporaries:
        for temporary in temporaries:
            with open(temporary, "w") as file:
                file.write("new")
        assert not any(path.exists() for path in paths)
    assert [path.read_text() for path in paths] == ["new", "new"]
    assert tiny.files(tmp_path) == ["a/one", "b/two"]


def test_of_several_files_an_error_leaves_none(tmp_path):
    paths = [tmp_path / "one", tmp_path / "two"]
    paths[0].write_text("old")
    with pytest.raises(OSError, match="full"), files.replacing_all(paths) as temporaries:
        with open(temporaries[0], "w") as file:
            file.write("new")
        raise OSError("the disk is full")
    assert tiny.files(tmp_path) == ["one"]
    assert paths[0].read_text() == "old"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (
            tf.errors.ResourceExhaustedError(None, None, "{folder}/variables; No space left"),
            "No space left",
        ),
        (OSError(errno.EFBIG, "File too large", "{folder}/a"), "File too large"),
    ],
)
def test_a_full_disk_names_the_folder_and_not_what_lies_aside(tmp_path, error, message):
    path = tmp_path / "export"
    wanted = pytest.raises(OSError, match=f"^{path} cannot be written: {message}$")
    with wanted, files.replacing_folder(path) as temporary:
        if isinstance(error, tf.errors.OpError):
            text = error.message.format(folder=temporary)
            error = tf.errors.ResourceExhaustedError(None, None, text)
        raise error
    assert not os.listdir(tmp_path)


def test_other_errors_in_a_folder_stay_as_they_are(tmp_path):
    wanted = pytest.raises(ValueError, match="^the export differs$")
    with wanted, files.replacing_folder(tmp_path / "export"):
        raise ValueError("the export differs")


def test_a_file_that_cannot_be_made_is_named_itself(tmp_path, monkeypatch):
    def create(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(files.temporary_files, "create", create)
    with pytest.raises(
        PermissionError, match="^.*/report.json cannot be written: Permission denied$"
    ):
        files.write_text(tmp_path / "report.json", "{}")


def _fill(folder, content):
    with open(os.path.join(folder, "content"), "w") as file:
        file.write(content)


class TestReplacingFolder:
    def test_a_new_folder(self, tmp_path):
        with files.replacing_folder(tmp_path / "a" / "b") as temporary:
            _fill(temporary, "new")
            assert not (tmp_path / "a" / "b").exists()
        assert tiny.files(tmp_path) == ["a/b/content"]

    @pytest.mark.parametrize("exchanges", [True, False])
    def test_a_folder_that_is_there(self, tmp_path, monkeypatch, exchanges):
        if not exchanges:
            monkeypatch.setattr(files, "_exchange_at_once", lambda *_: False)
        path = tmp_path / "1"
        path.mkdir()
        (path / "old").touch()
        with files.replacing_folder(path) as temporary:
            _fill(temporary, "new")
            assert os.listdir(path) == ["old"]
        assert tiny.files(tmp_path) == ["1/content"]

    def test_an_error_leaves_it_as_it_was(self, tmp_path):
        path = tmp_path / "1"
        path.mkdir()
        (path / "old").touch()
        with pytest.raises(KeyError), files.replacing_folder(path) as temporary:
            _fill(temporary, "new")
            raise KeyError
        assert tiny.files(tmp_path) == ["1/old"]

    def test_a_link_to_a_folder_stays_one(self, tmp_path):
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        with files.replacing_folder(tmp_path / "link") as temporary:
            _fill(temporary, "new")
        assert (tmp_path / "link").is_symlink()
        assert os.listdir(tmp_path / "real") == ["content"]

    def test_a_reader_sees_a_whole_folder_at_any_moment(self, tmp_path):
        """A server must not find its export missing."""
        path = tmp_path / "1"
        _fill(os.makedirs(path) or path, "0")
        code = (
            "import os, sys\n"
            "while not os.path.exists(sys.argv[2]):\n"
            "    open(os.path.join(sys.argv[1], 'content')).read()\n"
        )
        stop = tmp_path / "stop"
        with subprocess.Popen([sys.executable, "-c", code, path, stop]) as reader:
            for number in range(1, 200):
                with files.replacing_folder(path) as temporary:
                    _fill(temporary, str(number))
            stop.touch()
        assert reader.returncode == 0
        assert (path / "content").read_text() == "199"

    def test_an_error_that_is_none_of_the_file_system_is_told(self, tmp_path, monkeypatch):
        (tmp_path / "1").mkdir()

        def refuse(*_):
            raise OSError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(files, "_exchange_at_once", refuse)
        with pytest.raises(OSError, match="denied"), files.replacing_folder(tmp_path / "1"):
            pass
        assert os.listdir(tmp_path) == ["1"]


class TestReplacingPrefix:
    def test_the_last_file_comes_last(self, tmp_path, monkeypatch):
        renamed, real = [], os.replace
        monkeypatch.setattr(os, "replace", lambda a, b: renamed.append(b) or real(a, b))
        with files.replacing_prefix(str(tmp_path / "model"), last=".index") as temporary:
            for suffix in (".index", ".data-0"):
                with open(temporary + suffix, "w"):
                    pass
        assert [os.path.basename(path) for path in renamed] == ["model.data-0", "model.index"]
        assert sorted(os.listdir(tmp_path)) == ["model.data-0", "model.index"]

    def test_an_error_leaves_nothing(self, tmp_path):
        with (
            pytest.raises(KeyError),
            files.replacing_prefix(str(tmp_path / "model"), last=".index") as temporary,
        ):
            with open(f"{temporary}.data-0.tempstate", "w"):
                pass
            raise KeyError
        assert not os.listdir(tmp_path)


class TestRemote:
    def test_a_file(self):
        files.write_text("ram://files_test/a/b.txt", "old")
        files.write_text("ram://files_test/a/b.txt", "new")
        with tf.io.gfile.GFile("ram://files_test/a/b.txt") as file:
            assert file.read() == "new"
        assert tf.io.gfile.listdir("ram://files_test/a") == ["b.txt"]

    def test_a_folder_is_copied_with_its_last_file_at_the_end(self, monkeypatch):
        copied, real = [], files._copy_to_remote
        monkeypatch.setattr(files, "_copy_to_remote", lambda a, b: copied.append(b) or real(a, b))
        path = "ram://files_test/export/1"
        with files.replacing_folder(path, last="content") as temporary:
            _fill(temporary, "new")
            _fill(os.makedirs(os.path.join(temporary, "variables")) or temporary, "new")
            with open(os.path.join(temporary, "variables", "data"), "w"):
                pass
        assert copied == [f"{path}/variables/data", f"{path}/content"]
        with tf.io.gfile.GFile(f"{path}/content") as file:
            assert file.read() == "new"

    def test_a_folder_that_is_there_is_not_replaced(self):
        path = "ram://files_test/export/2"
        files.write_text(f"{path}/content", "old")
        with (
            pytest.raises(FileExistsError, match="export/2 is there already.*name a new folder"),
            files.replacing_folder(path),
        ):
            raise AssertionError
        assert tf.io.gfile.listdir(path) == ["content"]

    def test_a_copy_that_breaks_off_leaves_nothing_in_the_way_of_the_next(self, monkeypatch):
        path, real = "ram://files_test/export/3", files._copy_to_remote

        def break_off(source, target):
            if target.endswith("/content"):
                raise OSError("the connection broke off")
            real(source, target)

        def write():
            with files.replacing_folder(path, last="content") as temporary:
                _fill(temporary, "new")
                with open(os.path.join(temporary, "data"), "w"):
                    pass

        with monkeypatch.context() as broken:
            broken.setattr(files, "_copy_to_remote", break_off)
            with pytest.raises(OSError, match="broke off"):
                write()
        assert not tf.io.gfile.exists(path)
        write()
        assert sorted(tf.io.gfile.listdir(path)) == ["content", "data"]

    def test_what_another_process_writes_meanwhile_stays(self):
        path = "ram://files_test/export/4"
        with (
            pytest.raises(FileExistsError, match="export/4 is there already"),
            files.replacing_folder(path) as temporary,
        ):
            _fill(temporary, "ours")
            files.write_text(f"{path}/content", "theirs")
        assert files.read_bytes(f"{path}/content") == b"theirs"


def test_a_pipe_with_a_name_or_a_device_is_not_waited_for(tmp_path):
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    link = tmp_path / "link.jpg"
    link.symlink_to(pipe)
    for path, kind in ((pipe, "a named pipe"), (link, "a named pipe"), ("/dev/zero", "a device")):
        for read in (files.read_bytes, files.read_json):
            with pytest.raises(OSError, match=f"^{path} is {kind}, not a file: copy what it hold"):
                read(path)


def test_a_pipe_that_a_shell_opened_is_read(tmp_path):
    read_end, write_end = os.pipe()
    os.write(write_end, b"[1]")
    os.close(write_end)
    try:
        assert files.read_json(f"/dev/fd/{read_end}") == [1]
    finally:
        os.close(read_end)
    assert files.read_bytes(os.devnull) == b""


def test_a_pipe_is_not_replaced_by_a_file(tmp_path):
    """Nor is a device: root could do it, for all programs of the machine."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(OSError, match=f"{tmp_path}/{name} is a named pipe, which a file m"):
            files.write_bytes(tmp_path / name, b"x")
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]


def test_a_file_that_fails_while_it_is_read_is_named():
    with pytest.raises(OSError, match="^/proc/self/mem cannot be read: "):
        files.read_bytes("/proc/self/mem")
