import os

import pytest

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
        assert temporary.endswith(".png")
        with open(temporary, "w") as file:
            file.write("whole")
        assert not path.exists()
    assert path.read_text() == "whole"


def test_a_relative_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.write_bytes("file", b"x")
    assert os.listdir(tmp_path) == ["file"]
