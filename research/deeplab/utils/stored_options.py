"""The options of a network in a file beside its checkpoints or in its export."""

import os

import tensorflow as tf

from deeplab import common
from deeplab.core import dense_prediction_cell
from deeplab.utils import checkpoint_files, files
from deeplab.weights import saved_networks

# File name of the copy of the dense prediction cell.
_CELL_FILE = "dense_prediction_cell.json"


def save(folder: str, options: common.ModelOptions) -> None:
    """Write `model_options.json` into a folder of checkpoints or an export.

    The file of a dense prediction cell is copied beside it, so the folder can be moved.

    Raises:
        FileNotFoundError: The file of the dense prediction cell is missing.
    """
    if options.dense_prediction_cell_json:
        cell = dense_prediction_cell.find(options.dense_prediction_cell_json)
        with tf.io.gfile.GFile(cell) as stream:
            files.write_text(os.path.join(folder, _CELL_FILE), stream.read())
        options = options.replace(dense_prediction_cell_json=_CELL_FILE)
    files.write_text(os.path.join(folder, common.OPTIONS_FILE), options.to_json())


def read(path: str) -> common.ModelOptions | None:
    """Return the options stored beside a checkpoint, as they are; None if there are none.

    Args:
        path: Folder of the checkpoints, which need not exist, or prefix of a checkpoint; or a file
            of Keras, which has its options in it (`.keras`) or beside it (`.weights.h5`).

    Returns:
        The options. The path of a dense prediction cell is that of its copy in the folder.

    Raises:
        ValueError: `save` did not write the file.
    """
    is_keras = checkpoint_files.is_keras_file(path)
    is_prefix = tf.io.gfile.exists(f"{path}.index") or ".ckpt" in os.path.basename(path)
    folder = os.path.dirname(path) if is_prefix or is_keras else path
    if is_keras and (options := saved_networks.stored_options(path)):
        return options
    file = os.path.join(folder, common.OPTIONS_FILE)
    if not tf.io.gfile.exists(file):
        return None
    try:
        options = common.ModelOptions.from_json(files.read_bytes(file))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file}: {error}") from None
    if cell := options.dense_prediction_cell_json:
        options = options.replace(dense_prediction_cell_json=os.path.join(folder, cell))
    return options
