"""Identifies files that are not checkpoints."""

import os

import tensorflow as tf

from deeplab.core import regular_files

# What files are by their first bytes, which follow a number of others.
_BY_CONTENT = (
    (0, b"\x80\x02", "a pickle of PyTorch or Python"),
    (0, b"\x80\x04", "a pickle of PyTorch or Python"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, such as weights of Keras"),
    (0, b"\x1f\x8b", "a compressed archive: unpack it"),
    (0, b"\x93NUMPY", "an array of NumPy"),
)
_BY_EXTENSION = {
    **dict.fromkeys((".pth", ".pt", ".torch"), "a file of PyTorch"),
    ".safetensors": "a file of safetensors",
    ".onnx": "an ONNX model",
    ".tflite": "a TensorFlow Lite model",
    ".pb": "a graph, such as an export",
    ".pbtxt": "a graph in text form",
    ".caffemodel": "a file of Caffe",
    ".meta": "a TensorFlow 1 graph, whose weights are beside it: give the name without .meta",
    ".tar": "an archive: unpack it",
    ".npz": "arrays of NumPy",
}
_ZIP = b"PK\x03\x04"
_WANTED = (
    "give a checkpoint, such as train_log/model.ckpt-30000, its folder, or a DeepLab saved by"
    " Keras (.keras or .weights.h5)"
)


def describe(path: str) -> str | None:
    """Return the kind of a file or folder; None if it is not known, or does not exist."""
    if tf.io.gfile.isdir(path):
        if tf.io.gfile.exists(os.path.join(path, "saved_model.pb")):
            return "a SavedModel, which is an export"
        return None
    if not tf.io.gfile.exists(path):
        return None
    regular_files.require(path)
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            start = file.read(1 << 16)
    except tf.errors.OpError:
        return None
    if start.startswith(_ZIP):
        # The names of the first files in the archive are in its first bytes.
        if b"data.pkl" in start:
            return "a file of PyTorch"
        if b"config.json" in start and b"metadata.json" in start:
            return "a model saved by Keras"
    extension = os.path.splitext(path)[1].lower()
    if extension in _BY_EXTENSION:
        return _BY_EXTENSION[extension]
    for skipped, beginning, meaning in _BY_CONTENT:
        if start[skipped:].startswith(beginning):
            return meaning
    if start.startswith(_ZIP):
        return "a zip archive"
    return None


def refuse(path: str) -> None:
    """Raise an error that names the kind of a file, if it is known and not a checkpoint.

    Raises:
        ValueError: It is known.
    """
    if meaning := describe(path):
        raise ValueError(f"{path} is {meaning}; {_WANTED}")
