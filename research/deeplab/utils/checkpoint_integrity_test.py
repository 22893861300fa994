"""Checkpoints that were damaged, cut off while they were written, or did not fit on the disk."""

import contextlib
import os
import pathlib
import resource
import socket
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab.utils import checkpoint, checkpoint_files, checkpoint_integrity, temporary_files

_SHAPE = (100, 100)


def _save(folder: pathlib.Path, step: int, max_to_keep: int = 5) -> str:
    """A checkpoint whose variable holds the step."""
    variables = {"weights": keras.Variable(np.full(_SHAPE, step, np.float32))}
    return checkpoint.save(str(folder), step, variables, max_to_keep)


def _step(prefix: str | None) -> int | None:
    """The step that a checkpoint holds, all of whose values are right; None: no checkpoint."""
    if prefix is None:
        return None
    reader = checkpoint.read(prefix)
    step = checkpoint.global_step(reader)
    np.testing.assert_array_equal(reader.get_tensor("weights"), np.full(_SHAPE, step))
    return step


def _newest(folder: pathlib.Path) -> int | None:
    return _step(checkpoint_integrity.newest_whole(str(folder)))


def _data(prefix: str) -> pathlib.Path:
    return pathlib.Path(f"{prefix}.data-00000-of-00001")


class _Killed(BaseException):
    """Passes every handler for errors, as a kill does."""


@contextlib.contextmanager
def _kill_at(number: int):
    """The kill comes at the n-th thing that is done to a file; a write is half done then.

    A dead process does nothing more: its temporary files stay.
    """
    done = 0

    def before(action):
        def call(*args, **kwargs):
            nonlocal done
            done += 1
            if done == number:
                if action is save:
                    for suffix in ("data-00000-of-00001.tempstate1234", "index.tempstate5678"):
                        pathlib.Path(f"{kwargs['prefix']}.{suffix}").write_bytes(b"half")
                elif action is temporary_files.create:
                    pathlib.Path(args[0]).write_bytes(b"half")
            if done >= number:
                raise _Killed
            return action(*args, **kwargs)

        return call

    save = tf.raw_ops.SaveV2
    with (
        mock.patch.object(tf.raw_ops, "SaveV2", before(save)),
        mock.patch.object(temporary_files, "create", before(temporary_files.create)),
        mock.patch.object(os, "replace", before(os.replace)),
        mock.patch.object(os, "remove", before(os.remove)),
        mock.patch.object(tf.io.gfile, "remove", before(tf.io.gfile.remove)),
    ):
        yield


@pytest.mark.parametrize("earlier", [0, 2], ids=["first", "later"])
def test_a_kill_at_any_moment_of_a_save_leaves_a_good_checkpoint(tmp_path, earlier):
    """The one before or the new one, and what is left behind is removed at the next start."""
    for number in range(1, 20):
        folder = tmp_path / str(number)
        for step in range(1, earlier + 1):
            _save(folder, step, max_to_keep=2)
        new = earlier + 1
        try:
            with _kill_at(number):
                _save(folder, new, max_to_keep=2)
        except _Killed:
            assert _newest(folder) in (earlier or None, new)
            checkpoint_integrity.remove_leftovers(str(folder))
            assert not [path for path in folder.iterdir() if path.name.startswith(".")]
            assert not list(folder.glob("*temp*"))
            with_data = {path.name.split(".data-")[0] for path in folder.glob("*.data-*")}
            assert with_data == set(checkpoint_files.names(str(folder)))
            _save(folder, new, max_to_keep=2)
            assert _newest(folder) == new
        else:
            break
    # Files, renamed one by one, state (begun, renamed, nothing left to remove); where there are
    # older ones, the oldest (index aside, data, index).
    assert number == 7 + (3 if earlier else 0)


def test_leftovers_of_every_kind_are_removed_and_nothing_else(tmp_path, gone):
    _save(tmp_path, 1)
    host = socket.gethostname().replace(".", "-")
    for name in (
        "model_options.json",
        # Of a process that runs, and of one of which nobody here can tell.
        f".model.ckpt-3.{host}.{os.getppid()}.0123456789abcdef.tmp.index",
        f".model.ckpt-3.another-host.{gone}.0123456789abcdef.tmp.index",
        # Of others.
        "my.tempstate",
        "model.ckpt-2.data-00000-of-00001.mine",
        ".hidden.tmp",
        f".notes.{host}.{gone}.tmp.txt~",
        f".notes.{gone}.tmp",
        f".a.{gone}.tmp.csv",
        f".cfg.{gone}.old",
        f".notes.{host}.{gone}.0123456789abcdef.tmp",
    ):
        (tmp_path / name).touch()
    before = sorted(path.name for path in tmp_path.iterdir())
    for name in (
        f".model.ckpt-2.{host}.{gone}.0123456789abcdef.tmp.data-00000-of-00001.tempstate179072054",
        f".model.ckpt-2.{host}.{gone}.0123456789abcdef.tmp.index.tempstate123",
        f".checkpoint.{host}.{gone}.0123456789abcdef.tmp",
        f".run_record.json.{host}.{gone}.0123456789abcdef.tmp",
        f".check.{host}.{gone}.0123456789abcdef.tmp",
        # Those of earlier versions.
        "model.ckpt-2.data-00000-of-00001.tempstate17907205460634269901",
        "model.ckpt-2.index.tempstate123",
        "checkpoint.tmp",
        f".model_options.{gone}.tmp.json",
    ):
        (tmp_path / name).touch()
    checkpoint_integrity.remove_leftovers(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_kill_before_the_first_state_file_loses_nothing(tmp_path):
    for step in (1, 10, 9):
        _save(tmp_path, step)
    (tmp_path / "checkpoint").unlink()
    assert _newest(tmp_path) == 10


@pytest.mark.parametrize("damage", ["truncated", "flipped", "data lost", "index lost", "no index"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path, caplog, damage):
    _save(tmp_path, 1)
    prefix = _save(tmp_path, 2)
    index = pathlib.Path(f"{prefix}.index")
    match damage:
        case "truncated":
            os.truncate(_data(prefix), 1000)
        case "flipped":
            content = bytearray(_data(prefix).read_bytes())
            content[1000] ^= 1
            _data(prefix).write_bytes(content)
        case "data lost":
            _data(prefix).unlink()
        case "index lost":
            index.unlink()
        case "no index":
            index.write_bytes(b"")
    assert _newest(tmp_path) == 1
    assert f"skipping {prefix}, which is damaged: " in caplog.text
    # The next save of that step takes its place.
    _save(tmp_path, 2)
    assert _newest(tmp_path) == 2


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"model_checkpoint_path"])
def test_a_damaged_state_file_loses_nothing(tmp_path, content):
    """As a power cut may leave it. The checkpoint of the highest step counts then."""
    for step in (1, 10, 9):
        _save(tmp_path, step)
    (tmp_path / "checkpoint").write_bytes(content)
    assert _newest(tmp_path) == 10
    assert checkpoint_files.latest(str(tmp_path)) is None
    _save(tmp_path, 11)
    assert _newest(tmp_path) == 11


def test_nothing_but_damaged_checkpoints_is_an_error(tmp_path):
    prefix = _save(tmp_path, 3)
    os.truncate(_data(prefix), 10)
    with pytest.raises(
        ValueError, match=r"no checkpoint to resume from, but holds model.ckpt-3 \("
    ):
        checkpoint_integrity.newest_whole(str(tmp_path))


def test_a_folder_without_checkpoints_has_none(tmp_path):
    assert checkpoint_integrity.newest_whole(str(tmp_path)) is None
    assert checkpoint_integrity.newest_whole(str(tmp_path / "absent")) is None


def test_the_one_that_the_state_file_names_comes_first(tmp_path):
    """As in TensorFlow, it can be edited to go back."""
    for step in (1, 2):
        _save(tmp_path, step)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-1"\n')
    assert _newest(tmp_path) == 1


def test_data_whose_index_never_came_stays_unless_a_killed_process_left_it(tmp_path, gone):
    """A kill between the two renames of a save leaves the index aside, which tells it."""
    for step in (1, 2, 3):
        prefix = _save(tmp_path, step)
        pathlib.Path(f"{prefix}.index").unlink()
    checkpoint_files.write_state(str(tmp_path), ["model.ckpt-1"])
    host = socket.gethostname().replace(".", "-")
    for step in (1, 3):
        (tmp_path / f".model.ckpt-{step}.{host}.{gone}.0123456789abcdef.tmp.index").touch()
    checkpoint_integrity.remove_leftovers(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint",
        "model.ckpt-1.data-00000-of-00001",
        "model.ckpt-2.data-00000-of-00001",
    ]


@pytest.mark.parametrize(
    "line",
    [
        'all_model_checkpoint_paths: "*"',
        'all_model_checkpoint_paths: "model.ckpt-?"',
        'all_model_checkpoint_paths: "model.ckpt-[12]"',
        'all_model_checkpoint_paths: "../other/model.ckpt-1"',
        'all_model_checkpoint_paths: "/elsewhere/model.ckpt-1"',
        'all_model_checkpoint_paths: "model"',
    ],
)
def test_a_save_removes_only_what_the_state_file_names_plainly(tmp_path, line):
    folder, other = tmp_path / "run", tmp_path / "other"
    for step in (1, 2):
        _save(folder, step)
    _save(other, 1)
    (folder / "checkpoint").write_text(
        f'model_checkpoint_path: "model.ckpt-2"\n{line}\n'
        'all_model_checkpoint_paths: "model.ckpt-2"\n'
    )
    _save(folder, 3, max_to_keep=1)
    assert checkpoint_files.names(str(folder)) == ["model.ckpt-1", "model.ckpt-3"]
    assert checkpoint_files.names(str(other)) == ["model.ckpt-1"]
    assert _newest(folder) == 3


@contextlib.contextmanager
def _full_disk(size: int):
    """No file can grow beyond so many bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("size", [0, 30, 1000], ids=["at once", "in the state", "in the data"])
def test_a_full_disk_leaves_everything_as_it_was(tmp_path, size):
    _save(tmp_path, 1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    real = tf.raw_ops.SaveV2

    def save_on_free_disk(**arguments):
        with _full_disk(resource.RLIM_INFINITY):
            real(**arguments)

    patched = mock.patch.object(tf.raw_ops, "SaveV2", save_on_free_disk if size == 30 else real)
    with (
        pytest.raises(OSError, match="model.ckpt-2 cannot be written: File too large$"),
        patched,
        _full_disk(size),
    ):
        _save(tmp_path, 2)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_state_file_that_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "checkpoint")
    with pytest.raises(OSError, match=f"{tmp_path}/checkpoint is a named pipe, not a file"):
        checkpoint_files.latest(str(tmp_path))
