"""Paths that cannot be written are named with their flag before the work that they are for."""

import os

import pytest
import tensorflow as tf

from deeplab.cli import writable
from deeplab.utils import files

_ANY = writable.Result("a file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_found_first(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match=f"--train_logdir={tmp_path} cannot be written: .*denied"):
        writable.make_folder("train_logdir", str(tmp_path))


@pytest.mark.parametrize("path", ["file", "file/folder", "/proc/folder"])
def test_a_folder_that_cannot_be_made_is_found_first(tmp_path, path):
    (tmp_path / "file").touch()
    folder = tmp_path / path
    with pytest.raises(ValueError, match=f"^--train_logdir={folder} cannot be written: "):
        writable.make_folder("train_logdir", str(folder))
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_that_is_made_is_empty(tmp_path):
    writable.make_folder("train_logdir", str(tmp_path / "a" / "b"))
    assert os.listdir(tmp_path / "a" / "b") == []


def test_a_file_that_cannot_be_written_is_found_first(tmp_path):
    (tmp_path / "file").write_text("")
    for path, reason in (
        (tmp_path, "it is a folder"),
        (tmp_path / "file" / "new.json", f"{tmp_path}/file is not a folder"),
        ("/proc/new.json", "/proc: "),
    ):
        with pytest.raises(ValueError, match=f"^--flag={path} cannot be written: {reason}"):
            writable.check_file("flag", str(path), _ANY)
    with pytest.raises(ValueError, match=f"^--flag is {tmp_path}/a.jpg; .* must end in .png$"):
        writable.check_file("flag", str(tmp_path / "a.jpg"), writable.PNG)
    writable.check_file("flag", str(tmp_path / "a" / "b" / "new.json"), _ANY)
    writable.check_file("flag", str(tmp_path / "a" / "b" / "new.PNG"), writable.PNG)
    writable.check_file("flag", "ram://new.json", _ANY)
    (tmp_path / "a" / "check").mkdir(parents=True)
    writable.check_folder("flag", str(tmp_path / "a"))
    writable.check_folder("flag", str(tmp_path / "a" / "b" / "c"))
    (tmp_path / "a" / "check").rmdir()
    (tmp_path / "a").rmdir()
    assert os.listdir(tmp_path) == ["file"]


def test_a_remote_file_that_cannot_be_written_is_found_first():
    files.write_text("ram://files_test/check/file", "")
    for path, reason in (
        ("ram://files_test/check", "it is a folder"),
        ("ram://files_test/check/file/new.json", ""),
        ("xyz://folder/new.json", "File system scheme 'xyz' not implemented"),
    ):
        with pytest.raises(ValueError, match=f"^--flag={path} cannot be written: {reason}"):
            writable.check_file("flag", path, _ANY)
    writable.check_file("flag", "ram://files_test/check/new.json", _ANY)
    assert tf.io.gfile.listdir("ram://files_test/check") == ["file"]


_KINDS = {
    writable.PNG: [b"\x89PNG\r\n\x1a\n..."],
    writable.LITE_MODEL: [b"\x1c\0\0\0TFL3..."],
    writable.DESCRIPTOR: [b'{"num_classes": 3}'],
    writable.DATA_REPORT: [b'{"dataset": "a", "splits": [], "findings": [], "more": 1}'],
    writable.EXPORT_REPORT: [b'{"export_path": "a", "versions": [], "findings": []}'],
}
_OTHERS = [b"photo", b"{", b"[]", b"{}", b'{"categories": []}', b"\xff\xd8\xff", b"--flag=3"]


@pytest.mark.parametrize("kind", _KINDS)
def test_a_file_of_another_kind_is_not_replaced(tmp_path, kind):
    """It may be one that is read: a flag is easily given to the wrong file."""
    path = str(tmp_path / f"result{kind.extension}")
    own = _KINDS[kind]
    for content in (b"", *own):
        files.write_bytes(path, content)
        writable.check_file("flag", path, kind)
    for content in _OTHERS + [each for name in _KINDS if name is not kind for each in _KINDS[name]]:
        files.write_bytes(path, content)
        with pytest.raises(ValueError, match=f"^--flag={path} would replace a file that is not "):
            writable.check_file("flag", path, kind)


def test_a_pipe_is_not_replaced(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(ValueError, match=f"--flag={path} cannot be written: .* is a named pipe"):
        writable.check_file("flag", str(path), writable.DATA_REPORT)
    with pytest.raises(ValueError, match="--flag=/dev/zero cannot be written: .* is a device"):
        writable.check_file("flag", "/dev/zero", writable.DATA_REPORT)
    for path in ("/dev/stdout", "/dev/null"):
        with pytest.raises(ValueError, match=f"--flag={path} cannot be written: .* is a stream"):
            writable.check_file("flag", path, writable.DATA_REPORT)
