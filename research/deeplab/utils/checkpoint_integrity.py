"""Which checkpoint of a folder a run goes on from, whatever became of the newest one."""

import contextlib
import os
import re

import tensorflow as tf
from absl import logging

from deeplab.utils import checkpoint, error_text, files

# The index of a checkpoint that is being written; its name is that of `files.temporary_name`.
_INDEX_ASIDE = re.compile(r"(?P<aside>\.(?P<name>model\.ckpt-\d+)\..*\.tmp)\.index")
# What processes of earlier versions left when they were killed while they wrote a checkpoint.
_EARLIER_LEFTOVER = re.compile(
    r"model\.ckpt-\d+\.(index|data-\d{5}-of-\d{5})\.tempstate\d+|checkpoint\.tmp"
)


def fault(prefix: str) -> str | None:
    """Why a checkpoint cannot be used, in a few words; None: it is whole, every byte was read.

    Args:
        prefix: of the checkpoint, such as `train_log/model.ckpt-30000`.
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
    """The newest checkpoint of a folder that is whole.

    The newest one is that of the `checkpoint` state file, then come the others that it names. A
    process that was killed while it saved its first checkpoint has left none: then that of the
    highest step counts. Says which ones are passed over, and why.

    Args:
        folder: of checkpoints; it need not exist.

    Returns:
        Its prefix; None: there are no checkpoints.

    Raises:
        ValueError: there are some, none of which can be used. The message lists them.
    """
    faults = {}
    for prefix in (*reversed(checkpoint.known(folder)), *reversed(_numbered(folder))):
        if prefix in faults:
            continue
        faults[prefix] = fault(prefix)
        if faults[prefix] is None:
            return prefix
        logging.warning("%s is passed over, it is damaged: %s", prefix, faults[prefix])
    others = [name for name in checkpoint.names(folder) if os.path.join(folder, name) not in faults]
    if not faults and not others:
        return None
    listed = [f"{os.path.basename(prefix)} ({reason})" for prefix, reason in faults.items()]
    raise ValueError(
        f"--train_logdir={folder} has no checkpoint to go on from, but holds"
        f" {', '.join(listed + others)}: name another folder, or bring a good one back together"
        " with its state file `checkpoint`"
    )


def _numbered(folder: str) -> list[str]:
    """Prefixes of the checkpoints that the trainer wrote, by step."""
    steps = {}
    for name in checkpoint.names(folder):
        if match := re.fullmatch(r"model\.ckpt-(\d+)", name):
            steps[int(match[1])] = os.path.join(folder, name)
    return [steps[step] for step in sorted(steps)]


def remove_leftovers(folder: str) -> None:
    """Remove what a process that was killed while it wrote a checkpoint has left unfinished."""
    removed = files.remove_leftovers(folder)
    for index in removed:
        match = _INDEX_ASIDE.fullmatch(os.path.basename(index))
        if match and f"{match['aside']}.data" not in "\n".join(removed):
            # It was killed between the two renames.
            _remove_data_without_index(folder, match["name"])
    if not tf.io.gfile.isdir(folder):
        return
    for name in tf.io.gfile.listdir(folder):
        if _EARLIER_LEFTOVER.fullmatch(name):
            _remove(os.path.join(folder, name))


def _remove(path: str) -> None:
    logging.info("removing %s: a process was killed while it wrote it", path)
    # Another host may be faster.
    with contextlib.suppress(tf.errors.NotFoundError):
        tf.io.gfile.remove(path)


def _remove_data_without_index(folder: str, name: str) -> None:
    """Remove the data files of a checkpoint whose index, which comes after them, never came.

    One that the state file names was whole once, and is damaged: that is for its owner to see.
    """
    known = [os.path.basename(path) for path in checkpoint.known(folder)]
    if name in known or tf.io.gfile.exists(os.path.join(folder, f"{name}.index")):
        return
    for file in checkpoint.files_of(os.path.join(folder, name)):
        _remove(file)
