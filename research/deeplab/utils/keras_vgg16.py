"""Reads the weights of Keras' own VGG16 as if they were slim's checkpoint of `vgg_16`."""

import io
import zipfile
from collections.abc import Iterator

import h5py
import numpy as np

from deeplab.core import vgg

_SUFFIXES = (".h5", ".keras")
# Where a `.keras` file keeps its weights.
_ARCHIVED = "model.weights.h5"
# The kernel of the image classifier's fc6 is the whole one.
_FC6_SIZE = max(vgg.FC6_KERNEL_SIZES)


def is_keras_file(path: str) -> bool:
    """Whether a path is called as Keras calls its files: `.h5`, `.weights.h5` or `.keras`."""
    return path.endswith(_SUFFIXES)


def _layers() -> Iterator[tuple[str, tuple[str, str]]]:
    """Slim's name of each layer and Keras' two: that of the layer, and its number by kind."""
    number = 0
    for block, (count, _) in enumerate(vgg.BLOCKS, start=1):
        for conv in range(1, count + 1):
            numbered = f"conv2d_{number}" if number else "conv2d"
            yield f"conv{block}/conv{block}_{conv}", (f"block{block}_conv{conv}", numbered)
            number += 1
    yield "fc6", ("fc1", "dense")
    yield "fc7", ("fc2", "dense_1")


class KerasVGG16:
    """The weights of a VGG16 of `keras.applications`, with or without its top, by slim's names.

    Such files are `vgg16_weights_tf_dim_ordering_tf_kernels.h5`, its `_notop` form, and what
    `save` and `save_weights` write. It has what `tf.train.load_checkpoint` returns:
    `get_variable_to_shape_map`, `has_tensor` and `get_tensor`.
    """

    def __init__(self, path: str):
        """Reads the file.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it holds no VGG16.
        """
        self._values: dict[str, np.ndarray] = {}
        try:
            source = path
            if path.endswith(".keras"):
                with zipfile.ZipFile(path) as archive:
                    source = io.BytesIO(archive.read(_ARCHIVED))
            with h5py.File(source, "r") as file:
                self._read(file)
        except FileNotFoundError:
            raise FileNotFoundError(f"no file at {path}") from None
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is no weights file of Keras: {error}") from None
        except ValueError as error:
            raise ValueError(f"{path} holds no VGG16 of Keras: {error}") from None

    def _read(self, file: h5py.File) -> None:
        datasets: dict[str, list[h5py.Dataset]] = {}

        def note(name: str, item: h5py.Dataset | h5py.Group) -> None:
            if isinstance(item, h5py.Dataset) and not name.startswith("optimizer"):
                for part in set(name.split("/")[:-1]):
                    datasets.setdefault(part, []).append(item)

        file.visititems(note)
        if not {"block1_conv1", "conv2d"} & set(datasets):
            raise ValueError("it has no layer block1_conv1 or conv2d")
        for scope, names in _layers():
            for item in next((datasets[name] for name in names if name in datasets), ()):
                value = np.asarray(item, np.float32)
                leaf = "biases" if value.ndim == 1 else "weights"
                self._values[f"vgg_16/{scope}/{leaf}"] = _as_in_slim(scope, value)

    def get_variable_to_shape_map(self) -> dict[str, tuple[int, ...]]:
        """Name to shape."""
        return {name: value.shape for name, value in self._values.items()}

    def has_tensor(self, name: str) -> bool:
        """Whether there is a value of that name."""
        return name in self._values

    def get_tensor(self, name: str) -> np.ndarray:
        """The value of a variable, float32."""
        return self._values[name]


def _as_in_slim(scope: str, value: np.ndarray) -> np.ndarray:
    """Weights of Keras as slim has them; biases are the same."""
    if value.ndim == 1:
        return value
    if scope == "conv1/conv1_1":
        # These take blue, green and red, as `keras.applications.vgg16.preprocess_input` gives them.
        return value[:, :, ::-1]
    if scope in ("fc6", "fc7"):
        # Of pixels in a row, each with its channels.
        size = _FC6_SIZE if scope == "fc6" else 1
        return value.reshape(size, size, -1, value.shape[-1])
    return value
