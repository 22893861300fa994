"""DeepLab networks that Keras saved, `.keras` and `.weights.h5`, read like checkpoints."""

import contextlib
import functools
import io
import os
import tempfile
import zipfile
from collections.abc import Iterator

import h5py
import numpy as np
import tensorflow as tf
from absl import logging

from deeplab import common, model
from deeplab.core import json_text, scopes
from deeplab.core.wording import counted, with_article
from deeplab.weights.variable_values import VariableValues

_KERAS, _WEIGHTS = ".keras", ".weights.h5"
# Files inside a `.keras` file.
_CONFIG, _ARCHIVED = "config.json", "model.weights.h5"
# Where Keras puts the variables of the parts of the network, and the number of updates of the
# optimizer.
_PARTS = frozenset({"backbone", "heads", "decoder", "logits", "layers"})
_STEP = "optimizer/vars/0"
_GLOBAL_STEP = "global_step"


def is_deeplab(path: str) -> bool:
    """Return whether a Keras file is there and holds a DeepLab; a damaged one does not."""
    return fault(path) is None


def fault(path: str) -> str | None:
    """Return why a Keras file cannot be used as a DeepLab, with its path; None if it can."""
    try:
        _check(path)
    except (ValueError, OSError, tf.errors.OpError) as error:
        return _first_line(error)
    return None


def stored_options(path: str) -> common.ModelOptions | None:
    """Return the options in a `.keras` file; None for weights alone.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file does not hold a DeepLab, or is damaged.
    """
    _check(path)
    if not path.endswith(_KERAS):
        return None
    text = _options_text(path)
    try:
        return common.ModelOptions.from_json(text)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}, {_CONFIG}: {error}") from None


class SavedNetwork(VariableValues):
    """The variables of a saved network by official names.

    The number of updates of the optimizer, if it was saved, is the global step. The network is
    built when a value is first asked for.

    Args:
        path: Path of the file.
        options: Options of the network, where the file does not hold them. None: not known.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file does not hold a DeepLab, or is damaged; or its options are not known.
    """

    def __init__(self, path: str, options: common.ModelOptions | None = None):
        self._path = path
        self._options = stored_options(path)
        if self._options is None and options is not None:
            self._options = _with_classes_of(path, options)

    @functools.cached_property
    def _values(self) -> dict[str, np.ndarray]:
        if self._options is None:
            raise ValueError(
                f"{self._path} holds weights without the options of their network: save it as"
                f" .keras, or put its {common.OPTIONS_FILE} beside it"
            )
        net = model.DeepLab(self._options, random_weights=False)
        try:
            with _local(self._path) as path:
                net.load_weights(path)
        except Exception as error:  # Of Keras, h5py and zip: almost everything.
            raise ValueError(
                f"{self._path} holds another network than the flags and {common.OPTIONS_FILE} say,"
                f" or is damaged: {_first_line(error)}"
            ) from None
        values = {
            scopes.official_name(variable.path, net.name): variable.numpy()
            for variable in net.weights
        }
        with _weights(self._path) as file:
            if (more := len(_shapes(file)) - len(net.weights)) > 0:
                logging.warning(
                    "%s holds %s that the network does not have: results are wrong if a"
                    " flag such as --decoder_output_stride is missing",
                    *(self._path, counted(more, "variable")),
                )
            if isinstance(step := file.get(_STEP), h5py.Dataset) and step.shape == ():
                values[_GLOBAL_STEP] = np.int64(step[()])
        return values


def _with_classes_of(path: str, options: common.ModelOptions) -> common.ModelOptions:
    """Return options with the number of classes of the weights in a file."""
    with _weights(path) as file:
        shapes = _shapes(file)
    kernels = [
        shape for name, shape in shapes.items() if "logits" in name.split("/") and len(shape) == 4
    ]
    return options.replace(num_classes=kernels[0][-1]) if kernels else options


def _shapes(file: h5py.File) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a network's variables by their places in a file."""
    found: dict[str, tuple[int, ...]] = {}

    def note(name: str, item: h5py.Dataset | h5py.Group) -> None:
        is_part = name.split("/")[0] in _PARTS and "seed_generator" not in name
        if is_part and isinstance(item, h5py.Dataset):
            found[name] = item.shape

    file.visititems(note)
    return found


def _check(path: str) -> None:
    """Reject a file that does not hold a DeepLab."""
    if not tf.io.gfile.exists(path):
        raise FileNotFoundError(f"no file at {path}")
    if path.endswith(_KERAS):
        _options_text(path)
        return
    with _weights(path) as file:
        names = sorted(file)
    if "backbone" not in names:
        known = ", ".join(names[:3]) or "nothing"
        raise ValueError(
            f"{path} holds a network of Keras that is not a DeepLab: its first parts are {known}"
        )
    if not path.endswith(_WEIGHTS):
        raise ValueError(f"{path} holds the weights of a DeepLab: rename it to end in {_WEIGHTS}")


def _options_text(path: str) -> str:
    """Return the options of the network in a `.keras` file, as JSON."""
    data = io.BytesIO(_read(path))
    try:
        with zipfile.ZipFile(data) as archive:
            text = archive.read(_CONFIG)
    except Exception as error:  # Of zip and what it decompresses with: almost everything.
        raise ValueError(
            f"{path} is not a file of Keras, or is damaged: {_first_line(error)}"
        ) from None
    config = json_text.parse(text, f"{path}, {_CONFIG}")
    inner = config.get("config") if isinstance(config, dict) else None
    options = inner.get("options") if isinstance(inner, dict) else None
    if not isinstance(options, str):
        kind = config.get("class_name") if isinstance(config, dict) else None
        raise ValueError(f"{path} holds {with_article(str(kind))} of Keras, which is not a DeepLab")
    return options


def open_weights(path: str) -> h5py.File:
    """Open the weights in a file of Keras, in any file system that TensorFlow knows.

    Raises:
        FileNotFoundError: There is no such file.
        Exception: The readers of zip and HDF5 raise almost everything for damaged or foreign files.
    """
    try:
        source = path if os.path.exists(path) else io.BytesIO(_read(path))
    except tf.errors.NotFoundError:
        raise FileNotFoundError(f"no file at {path}") from None
    if path.endswith(_KERAS):
        with zipfile.ZipFile(source) as archive:
            source = io.BytesIO(archive.read(_ARCHIVED))
    return h5py.File(source, "r")


@contextlib.contextmanager
def _weights(path: str) -> Iterator[h5py.File]:
    """Open the weights in a file."""
    try:
        with open_weights(path) as file:
            yield file
    except Exception as error:  # Of h5py and zip: almost everything.
        raise ValueError(
            f"{path} is not a weights file of Keras, or is damaged: {_first_line(error)}"
        ) from None


@contextlib.contextmanager
def _local(path: str) -> Iterator[str]:
    """Yield the path of a file on this machine with the content of a file."""
    if os.path.exists(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, os.path.basename(path))
        tf.io.gfile.copy(path, copy)
        yield copy


def _read(path: str) -> bytes:
    with tf.io.gfile.GFile(path, "rb") as file:
        return file.read()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
