"""Temporary files: nobody can guess or plant them, and what dead processes left is found."""

import os
import socket
import time

import pytest

from deeplab.testing import tiny
from deeplab.utils import files, temporary_files


def _fill(folder, content):
    with open(os.path.join(folder, "content"), "w") as file:
        file.write(content)


def test_a_temporary_file_follows_no_link(tmp_path, monkeypatch):
    """Somebody who knew its name in a shared folder could have it written elsewhere."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    monkeypatch.setattr(temporary_files.secrets, "token_hex", lambda count: "0" * 2 * count)
    with temporary_files.temporary_name(str(tmp_path / "file")) as trap:
        os.symlink(victim, trap)
    with pytest.raises(FileExistsError):
        files.write_text(tmp_path / "file", "new")
    assert victim.read_text() == "precious"
    assert not (tmp_path / "file").exists()


class TestRecoverFolder:
    def test_one_whose_replacement_was_killed_comes_back(self, tmp_path, gone):
        host = socket.gethostname().replace(".", "-")
        for name in (
            f".1.{host}.{gone}.0123456789abcdef.old",
            f".1.{host}.{gone}.fedcba9876543210.tmp",
        ):
            (tmp_path / name).mkdir()
            _fill(tmp_path / name, name[-3:])
        temporary_files.recover_folder(str(tmp_path / "1"))
        assert (tmp_path / "1" / "content").read_text() == "old"
        temporary_files.remove_leftovers(str(tmp_path), ".*")
        assert tiny.files(tmp_path) == ["1/content"]

    def test_the_form_of_earlier_versions_comes_back_too(self, tmp_path, gone):
        (tmp_path / f".1.{gone}.old").mkdir()
        _fill(tmp_path / f".1.{gone}.old", "good")
        (tmp_path / f".1.{gone}.tmp").mkdir()
        temporary_files.remove_leftovers(str(tmp_path), ".*")
        assert (tmp_path / "1" / "content").read_text() == "good"
        assert os.listdir(tmp_path) == ["1"]

    def test_that_of_another_host_comes_back_at_once(self, tmp_path, monkeypatch, gone):
        """A job that starts again on another host must not wait a week for its export."""
        monkeypatch.setattr(time, "sleep", lambda _: None)
        for name in ("1", "other"):
            (tmp_path / f".{name}.elsewhere.{gone}.0123456789abcdef.old").mkdir()
        _fill(tmp_path / f".1.elsewhere.{gone}.0123456789abcdef.old", "good")
        temporary_files.remove_leftovers_of(str(tmp_path / "1"))
        assert (tmp_path / "1" / "content").read_text() == "good"
        assert len(os.listdir(tmp_path)) == 2

    def test_another_host_has_the_time_to_rename(self, tmp_path, monkeypatch, gone):
        aside = tmp_path / f".1.elsewhere.{gone}.0123456789abcdef.old"
        aside.mkdir()
        monkeypatch.setattr(time, "sleep", lambda _: (tmp_path / "1").mkdir())
        temporary_files.recover_folder(str(tmp_path / "1"))
        assert sorted(os.listdir(tmp_path)) == [aside.name, "1"]


class TestRemoveLeftovers:
    def test_only_those_of_dead_processes_of_this_host(self, tmp_path, gone):
        host = socket.gethostname().replace(".", "-")
        ends = "0123456789abcdef.tmp"
        stay = {
            f".a.{host}.{os.getppid()}.{ends}",
            f".a.elsewhere.{gone}.{ends}",
            "a",
            ".a.tmp",
            f"a.{host}.{gone}.{ends}",
        }
        go = {f".a.{host}.{gone}.{ends}", f".b.c.{host}.{gone}.{ends}", f".a.{gone}.tmp.json"}
        for name in stay | go:
            (tmp_path / name).touch()
        removed = temporary_files.remove_leftovers(str(tmp_path), ".*")
        assert set(os.listdir(tmp_path)) == stay
        assert {os.path.basename(path) for path in removed} == go

    def test_those_of_another_host_only_when_nobody_has_touched_them_for_a_week(
        self, tmp_path, monkeypatch, gone
    ):
        (tmp_path / f".a.elsewhere.{gone}.0123456789abcdef.tmp").touch()
        aside = tmp_path / f".1.elsewhere.{gone}.0123456789abcdef.old"
        aside.mkdir()
        # An export of long ago that is put aside now.
        os.utime(aside, (0, 0))
        now = time.time()
        for days, left in ((6, 2), (8, 1)):
            monkeypatch.setattr(time, "time", lambda days=days: now + days * 86400)
            temporary_files.remove_leftovers(str(tmp_path), ".*")
            assert len(os.listdir(tmp_path)) == left
        assert os.listdir(tmp_path) == ["1"]

    def test_only_those_of_some_names(self, tmp_path, gone):
        host = socket.gethostname().replace(".", "-")
        for name in ("train-1", "val-1"):
            (tmp_path / f".{name}.{host}.{gone}.0123456789abcdef.tmp").touch()
        temporary_files.remove_leftovers(str(tmp_path), r"train-\d")
        (left,) = os.listdir(tmp_path)
        assert left.startswith(".val-1.")

    def test_only_those_of_one_file(self, tmp_path, monkeypatch, gone):
        for name in ("a.b", "aXb"):
            (tmp_path / f".{name}.{gone}.tmp").touch()
        monkeypatch.chdir(tmp_path)
        temporary_files.remove_leftovers_of("a.b")
        assert os.listdir(tmp_path) == [f".aXb.{gone}.tmp"]

    def test_not_what_this_process_is_writing(self, tmp_path):
        with files.replacing(tmp_path / "file") as temporary:
            temporary_files.remove_leftovers(str(tmp_path), ".*")
            with open(temporary, "w") as file:
                file.write("whole")
        assert (tmp_path / "file").read_text() == "whole"

    def test_a_number_that_an_earlier_process_had(self, tmp_path):
        """As process 1 of a container that was started again."""
        with (
            temporary_files.temporary_name(str(tmp_path / "file")) as temporary,
            open(temporary, "w"),
        ):
            pass
        temporary_files.remove_leftovers(str(tmp_path), ".*")
        assert not os.listdir(tmp_path)

    def test_a_folder_that_is_not_there(self, tmp_path):
        assert temporary_files.remove_leftovers(str(tmp_path / "none"), ".*") == []
