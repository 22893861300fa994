"""Folders for what a long run will write."""

import tensorflow as tf

from deeplab.utils import error_text


def make_folder(flag: str, path: str) -> None:
    """Make the folder that a flag names, before long work is done for its content.

    Args:
        flag: the flag's name.
        path: the folder, of any file system that TensorFlow knows.

    Raises:
        ValueError: It cannot be made.
    """
    try:
        tf.io.gfile.makedirs(path)
    except tf.errors.OpError as error:
        raise ValueError(
            f"--{flag}={path} cannot be a folder: {error_text.one_line(error)}"
        ) from None
