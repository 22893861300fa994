"""Finds the newest intact checkpoint of a folder, and removes unfinished ones."""

import contextlib
import os
import re

import tensorflow as tf
from absl import logging

from deeplab.core import error_text
from deeplab.utils import (
    checkpoint,
    checkpoint_files,
    file_systems,
    temporary_files,
)

# What this project writes in a folder of checkpoints, or wrote in earlier versions. Nothing else is
# removed: the folder belongs to its owner, who may keep other files in it.
WRITTEN = (
    r"model\.ckpt-\d+(\.index)?|checkpoint|check"
    r"|(model_options|dense_prediction_cell|run_record|precision|eval)\.json"
)
# The temporary name of a checkpoint's index; see `temporary_files.temporary_name`.
_INDEX_ASIDE = re.compile(r"(?P<aside>\.(?P<name>model\.ckpt-\d+)\..*\.tmp)\.index")
# Names of unfinished files of earlier versions.
_EARLIER_LEFTOVER = re.compile(
    r"model\.ckpt-\d+\.(index|data-\d{5}-of-\d{5})\.tempstate\d+|checkpoint\.tmp"
)


def fault(prefix: str) -> str | None:
    """Read every byte of a checkpoint and return why it cannot be used; None if it is intact.

    Args:
        prefix: Prefix of the checkpoint, such as `train_log/model.ckpt-30000`.
    """
    if not tf.io.gfile.exists(f"{prefix}.index"):
        return "its .index file is missing"
    try:
        reader = checkpoint.read(prefix)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)  # Compares checksums.
    except (ValueError, LookupError, RuntimeError, tf.errors.OpError) as error:
        return error_text.one_line(error)
    return None


def newest_whole(folder: str) -> str | None:
    """Return the newest intact checkpoint of a folder.

    The order is: the newest one of the `checkpoint` state file, the others that it names from the
    newest to the oldest, then all others by step. The last ones matter after a kill between the
    first checkpoint and its state file. Logs which checkpoints are skipped, and why.

    Args:
        folder: Folder of checkpoints; it need not exist.

    Returns:
        The prefix of the checkpoint; None if there are no checkpoints.

    Raises:
        ValueError: None of the checkpoints can be used. The message lists them.
    """
    faults = {}
    for prefix in (*reversed(checkpoint_files.known(folder)), *reversed(_numbered(folder))):
        if prefix in faults:
            continue
        faults[prefix] = fault(prefix)
        if faults[prefix] is None:
            return prefix
        logging.warning("skipping %s, which is damaged: %s", prefix, faults[prefix])
    others = [
        name for name in checkpoint_files.names(folder) if os.path.join(folder, name) not in faults
    ]
    if not faults and not others:
        return None
    listed = [f"{os.path.basename(prefix)} ({reason})" for prefix, reason in faults.items()]
    raise ValueError(
        f"--train_logdir={folder} has no checkpoint to resume from, but holds"
        f" {', '.join(listed + others)}: name another folder, or restore an intact checkpoint and"
        " its state file `checkpoint`"
    )


def _numbered(folder: str) -> list[str]:
    """Return the prefixes of the checkpoints that training wrote, by step."""
    steps = {}
    for name in checkpoint_files.names(folder):
        if match := re.fullmatch(r"model\.ckpt-(\d+)", name):
            steps[int(match[1])] = os.path.join(folder, name)
    return [steps[step] for step in sorted(steps)]


def remove_leftovers(folder: str) -> None:
    """Remove the files of checkpoints that killed processes did not finish."""
    removed = temporary_files.remove_leftovers(folder, WRITTEN)
    for index in removed:
        match = _INDEX_ASIDE.fullmatch(os.path.basename(index))
        if match and f"{match['aside']}.data" not in "\n".join(removed):
            # Killed after data and before index were renamed.
            _remove_data_without_index(folder, match["name"])
    for name in file_systems.names_in(folder):
        if _EARLIER_LEFTOVER.fullmatch(name):
            _remove(os.path.join(folder, name))


def _remove(path: str) -> None:
    logging.info("removing %s: a process was killed while it wrote it", path)
    # Another host may have removed it.
    with contextlib.suppress(tf.errors.NotFoundError):
        tf.io.gfile.remove(path)


def _remove_data_without_index(folder: str, name: str) -> None:
    """Remove the data files of a checkpoint that never got its index.

    A checkpoint that the state file names was intact once: it is damaged, and stays as it is.
    """
    known = [os.path.basename(path) for path in checkpoint_files.known(folder)]
    if name in known or tf.io.gfile.exists(os.path.join(folder, f"{name}.index")):
        return
    for file in checkpoint_files.files_of(os.path.join(folder, name)):
        _remove(file)
