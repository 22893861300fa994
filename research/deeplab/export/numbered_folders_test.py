"""Numbered folders: the next number, whatever else lies there and happens."""

import contextlib
import os
import subprocess
import sys

import pytest
import tensorflow as tf

from deeplab.export import numbered_folders


def _add(base):
    with numbered_folders.adding(str(base)) as folder:
        open(os.path.join(folder.temporary, "file"), "w").close()
    return os.path.basename(folder.path)


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        ([], "1"),
        (["1", "3"], "4"),
        (["9", "10"], "11"),
        (["007", "notes", "12a", "-5"], "8"),
        ([str(2**63)], "1"),
    ],
)
def test_the_next_number_is_one_more_than_the_largest(tmp_path, present, expected):
    for name in present:
        (tmp_path / name).mkdir()
    assert _add(tmp_path) == expected
    assert set(os.listdir(tmp_path)) == {*present, expected}
    assert os.listdir(tmp_path / expected) == ["file"]


def test_there_is_no_number_after_the_largest(tmp_path):
    largest = 2**63 - 1
    for number in (largest, largest + 1):
        (tmp_path / str(number)).mkdir()
    before = set(os.listdir(tmp_path))
    with pytest.raises(ValueError, match=f"holds a folder {largest}, the largest number"):
        _add(tmp_path)
    assert set(os.listdir(tmp_path)) == before


def test_two_at_once_get_two_numbers(tmp_path):
    base = str(tmp_path / "new" / "base")
    with contextlib.ExitStack() as stack:
        folders = [stack.enter_context(numbered_folders.adding(base)) for _ in range(3)]
        for folder in folders:
            open(os.path.join(folder.temporary, "file"), "w").close()
        assert numbered_folders.numbers(base) == []
    assert sorted(folder.path for folder in folders) == [f"{base}/{n}" for n in (1, 2, 3)]


def test_a_number_that_is_taken_meanwhile_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "1").write_text("a file")
    found = iter([[], [], [1]])
    monkeypatch.setattr(numbered_folders, "numbers", lambda base: next(found))
    assert _add(tmp_path) == "2"
    assert (tmp_path / "1").read_text() == "a file"


def test_an_error_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), numbered_folders.adding(str(tmp_path)):
        raise KeyError
    assert os.listdir(tmp_path) == []


def test_what_a_killed_process_left_is_removed(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    (tmp_path / f".version.{process.pid}.tmp").mkdir()
    assert _add(tmp_path) == "1"
    assert os.listdir(tmp_path) == ["1"]


def test_a_remote_folder():
    base = "ram://numbered_folders_test/base"
    assert [_add(base), _add(base)] == ["1", "2"]
    assert tf.io.gfile.exists(f"{base}/2/file")
