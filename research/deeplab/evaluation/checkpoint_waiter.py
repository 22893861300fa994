"""Waits for checkpoints of a training run."""

import os
import time
from collections.abc import Iterator

import tensorflow as tf
from absl import logging

from deeplab.utils import checkpoint, checkpoint_files, file_systems

_LOOK_EVERY_SECS = 5


def wait(path: str, last: str | None = None, pause_secs: float = 0.0) -> str:
    """Return the newest checkpoint of a folder as soon as there is one that is not `last`.

    Before it waits, it logs the path once.

    Args:
        path: A folder, which may be made later, or the prefix of an existing checkpoint, or an
            existing file of Keras.
        last: Prefix of the checkpoint that was used last.
        pause_secs: Least number of seconds to wait.

    Returns:
        The prefix of the checkpoint.

    Raises:
        FileNotFoundError: There is no checkpoint with the prefix `path`, or the folder has
            checkpoints but no state file that names one of them.
        ValueError: `path` is a file that is not a checkpoint.
    """
    newest = None if pause_secs > 0 else _latest(path)
    if newest not in (None, last):
        return newest
    _log_waiting(path, last, pause_secs)
    time.sleep(max(pause_secs, 0.0))
    names: list[str] = []
    while (newest := _latest(path)) in (None, last):
        before, names = names, [] if newest else _names(path)
        # For a moment this is normal: the state file is written after the checkpoint.
        if names and names == before:
            raise FileNotFoundError(
                f"{path} holds {', '.join(names)}, but its state file `checkpoint` is missing or"
                " names none of them; name one checkpoint:"
                f" --checkpoint_dir={os.path.join(path, names[-1])}"
            )
        time.sleep(_LOOK_EVERY_SECS)
    return newest


def new_checkpoints(
    path: str, min_interval_secs: float = 0.0, max_number: int = 0
) -> Iterator[str]:
    """Yield the newest checkpoint of a folder, then wait for newer ones.

    No checkpoint is yielded twice. A checkpoint that is no longer the newest is skipped.

    Args:
        path: The folder, or the prefix of one checkpoint, which is then the only one.
        min_interval_secs: Least number of seconds between two checkpoints.
        max_number: Number of checkpoints; 0: keep waiting for new ones.

    Yields:
        Prefixes of checkpoints.

    Raises:
        FileNotFoundError: See `wait`.
        ValueError: See `wait`.

    Reference: TensorFlow 1's `contrib.training.checkpoints_iterator`.
    """
    newest, number, due = None, 0, time.monotonic()
    while True:
        newest = wait(path, newest, due - time.monotonic())
        due = time.monotonic() + min_interval_secs
        yield newest
        number += 1
        if newest == path or number == max_number:
            return


def _latest(path: str) -> str | None:
    newest = checkpoint_files.latest(path)
    # A folder may be made later, but a checkpoint that is named must be there.
    named = ".ckpt" in os.path.basename(path) or path.endswith(checkpoint_files.KERAS)
    named = named or tf.io.gfile.exists(path)
    if newest is None and named and not tf.io.gfile.isdir(path):
        checkpoint.read(path)
    return newest


def _names(folder: str) -> list[str]:
    """Return the names of the checkpoints in a folder, or of the files of Keras."""
    entries = file_systems.names_in(folder)
    saved = [entry for entry in entries if entry.endswith(checkpoint_files.KERAS)]
    return checkpoint_files.names(folder) or saved


def _log_waiting(path: str, last: str | None, pause_secs: float) -> None:
    if last:
        what = f"for a checkpoint newer than {os.path.basename(last)} in {path}"
    elif tf.io.gfile.isdir(path):
        what = f"for the first checkpoint in {path}"
    else:
        what = f"for the first checkpoint in {path}, which is not there yet"
    begin = f", after a pause of {pause_secs:.0f} s" if pause_secs > 0 else ""
    logging.info("waiting %s (checked every %d s%s)", what, _LOOK_EVERY_SECS, begin)
