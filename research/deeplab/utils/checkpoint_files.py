"""The files of checkpoints: which are in a folder, which is the newest, and how they are removed.

The state file `checkpoint` of a folder names its newest checkpoint and older ones. A checkpoint is
an `.index` file and `.data-*` files with a common prefix, such as `train_log/model.ckpt-30000`.
"""

import os
import re
from collections.abc import Sequence

import tensorflow as tf
from absl import logging

from deeplab.core import error_text, regular_files
from deeplab.utils import file_systems, files, temporary_files

# Extensions of the files in which Keras saves networks.
KERAS = (".keras", ".h5")


def latest(path: str) -> str | None:
    """Return the checkpoint that `path` names, or the newest one of a folder; None without any.

    Args:
        path: A folder with a `checkpoint` state file; or a prefix such as `model.ckpt-30000`, or a
            file of Keras, which is returned as it is.
    """
    if tf.io.gfile.exists(f"{path}.index") or is_keras_file(path):
        return path
    newest = known(path)[-1:]
    return newest[0] if newest and tf.io.gfile.exists(f"{newest[0]}.index") else None


def is_keras_file(path: str) -> bool:
    """Return whether there is a file with an extension of Keras: `.keras` or `.h5`."""
    return path.endswith(KERAS) and tf.io.gfile.exists(path) and not tf.io.gfile.isdir(path)


def known(folder: str) -> list[str]:
    """Return the checkpoints that a folder's state file names, the newest last.

    The list is empty without folder or file. A damaged file is logged and counts as missing.

    Raises:
        OSError: It is a named pipe or a device.
    """
    regular_files.require(os.path.join(folder, "checkpoint"))
    try:
        state = tf.train.get_checkpoint_state(folder)
    except ValueError as error:
        file = os.path.join(folder, "checkpoint")
        logging.warning("skipping %s, which is damaged: %s", file, error_text.one_line(error))
        return []
    if state is None:
        return []
    newest = state.model_checkpoint_path
    return [path for path in state.all_model_checkpoint_paths if path != newest] + [newest]


def names(folder: str) -> list[str]:
    """Return the names of all checkpoints in a folder, also those that no state file names."""
    return sorted(
        entry.removesuffix(".index")
        for entry in file_systems.names_in(folder)
        if entry.endswith(".index") and not entry.startswith(".")
    )


def plainly_named(folder: str) -> list[str]:
    """Return the checkpoints that the state file names plainly, the newest last.

    Only these may be removed, and nothing that a path or a pattern names.
    """
    state = os.path.join(folder, "checkpoint")
    if not tf.io.gfile.exists(state):
        return []
    with tf.io.gfile.GFile(state, "rb") as file:
        named = set(re.findall(rb'^\s*\w+:\s*"([\w.-]+)"\s*$', file.read(), re.MULTILINE))
    names = [os.path.basename(path) for path in known(folder)]
    return [name for name in names if name.encode() in named]


def files_of(prefix: str) -> list[str]:
    """Return the paths of a checkpoint's files, however many there are; the index comes first."""
    folder, name = os.path.split(prefix)
    found = [
        each
        for each in file_systems.names_in(folder or ".")
        if each == f"{name}.index" or each.startswith(f"{name}.data-")
    ]
    return [os.path.join(folder, each) for each in sorted(found, reverse=True)]


def remove(prefix: str) -> None:
    """Remove the files of a checkpoint.

    The index is first renamed to a temporary name. After a kill in between, this name tells which
    data files remain to be removed.
    """
    index = f"{prefix}.index"
    if not file_systems.is_remote(prefix) and os.path.exists(index):
        with temporary_files.temporary_name(prefix) as temporary:
            os.replace(index, f"{temporary}.index")
            _remove_files(prefix)
            os.remove(f"{temporary}.index")
    else:
        _remove_files(prefix)


def _remove_files(prefix: str) -> None:
    for file in files_of(prefix):
        tf.io.gfile.remove(file)


def write_state(logdir: str, names: Sequence[str]) -> None:
    """Write the `checkpoint` state file. Its names are relative, so the folder can be moved."""
    lines = [f'model_checkpoint_path: "{names[-1]}"']
    lines += [f'all_model_checkpoint_paths: "{name}"' for name in names]
    files.write_text(os.path.join(logdir, "checkpoint"), "\n".join(lines) + "\n")
