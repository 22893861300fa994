"""Waits for the checkpoints that a training run writes."""

import os
import time
from collections.abc import Iterator

import tensorflow as tf
from absl import logging

from deeplab.utils import checkpoint

_LOOK_EVERY_SECS = 5


def wait(path: str, last: str | None = None, pause_secs: float = 0.0) -> str:
    """The newest checkpoint of a folder, as soon as there is one that is not `last`.

    Says once, before it waits, what for.

    Args:
        path: a folder, which need not be there yet, or the prefix of one checkpoint, which must.
        last: prefix of a checkpoint that is done with.
        pause_secs: seconds to wait in any case.

    Returns:
        Its prefix.

    Raises:
        FileNotFoundError: `path` is not the prefix of any checkpoint, or a folder of checkpoints
            of which none is known to be the newest.
        ValueError: it is a file that is no checkpoint.
    """
    newest = None if pause_secs > 0 else _latest(path)
    if newest not in (None, last):
        return newest
    _say_what_for(path, last, pause_secs)
    time.sleep(max(pause_secs, 0.0))
    names: list[str] = []
    while (newest := _latest(path)) in (None, last):
        before, names = names, [] if newest else checkpoint.names(path)
        # A folder is like this for a moment, between a checkpoint and the state that names it.
        if names and names == before:
            raise FileNotFoundError(
                f"{path} holds {', '.join(names)}, but its state file `checkpoint` is missing or"
                " names none of them; give the one that is meant:"
                f" --checkpoint_dir={os.path.join(path, names[-1])}"
            )
        time.sleep(_LOOK_EVERY_SECS)
    return newest


def new_checkpoints(
    path: str, min_interval_secs: float = 0.0, max_number: int = 0
) -> Iterator[str]:
    """Yields the newest checkpoint of a folder, then each newer one as it comes, none twice.

    Those that are outdated before their turn are left out.

    Args:
        path: the folder, or the prefix of one checkpoint, which then is the only one.
        min_interval_secs: least time between two of them.
        max_number: how many; 0 or less: without end.

    Yields:
        Prefixes of checkpoints.

    Raises:
        FileNotFoundError: see `wait`.
        ValueError: see `wait`.

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
    newest = checkpoint.latest(path)
    # A folder may be made later; a checkpoint that is named is expected to be there.
    named = tf.io.gfile.exists(path) or ".ckpt" in os.path.basename(path)
    if newest is None and named and not tf.io.gfile.isdir(path):
        checkpoint.read(path)
    return newest


def _say_what_for(path: str, last: str | None, pause_secs: float) -> None:
    if last:
        what = f"for a checkpoint newer than {os.path.basename(last)} in {path}"
    elif tf.io.gfile.isdir(path):
        what = f"for the first checkpoint in {path}"
    else:
        what = f"for the first checkpoint in {path}, a folder that is not there yet"
    begin = f", not before {pause_secs:.0f} s have passed" if pause_secs > 0 else ""
    logging.info("waiting %s: looking every %d s%s", what, _LOOK_EVERY_SECS, begin)
