"""Reads the weights of Keras' VGG16 like slim's checkpoint of `vgg_16`."""

import io
import zipfile
from collections.abc import Iterator

import h5py
import numpy as np

from deeplab.core import vgg

_SUFFIXES = (".h5", ".keras")
# The weights file inside a `.keras` file.
_ARCHIVED = "model.weights.h5"
# Kernel size of fc6 in the image classifier.
_FC6_SIZE = max(vgg.FC6_KERNEL_SIZES)


def is_keras_file(path: str) -> bool:
    """Return whether a path has the extension of a Keras file: `.h5` or `.keras`."""
    return path.endswith(_SUFFIXES)


def _layers() -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield slim's name of each layer and its two possible names in Keras, named and numbered."""
    number = 0
    for block, (count, _) in enumerate(vgg.BLOCKS, start=1):
        for conv in range(1, count + 1):
            numbered = f"conv2d_{number}" if number else "conv2d"
            yield f"conv{block}/conv{block}_{conv}", (f"block{block}_conv{conv}", numbered)
            number += 1
    yield "fc6", ("fc1", "dense")
    yield "fc7", ("fc2", "dense_1")


class KerasVGG16:
    """The weights of a VGG16 of `keras.applications` by slim's names.

    Reads `vgg16_weights_tf_dim_ordering_tf_kernels.h5`, its `_notop` form, and files of `save` and
    `save_weights`. Has the methods of what `tf.train.load_checkpoint` returns:
    `get_variable_to_shape_map`, `has_tensor` and `get_tensor`.

    Args:
        path: Path of the file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file holds no VGG16.
    """

    def __init__(self, path: str):
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
        except ValueError as error:
            raise ValueError(f"{path} holds no VGG16 of Keras: {error}") from None
        except Exception as error:
            # The readers of zip and HDF5 raise almost everything for damaged or foreign files.
            raise ValueError(f"{path} is no weights file of Keras: {error}") from None

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
        """Return the shapes of the variables by name."""
        return {name: value.shape for name, value in self._values.items()}

    def has_tensor(self, name: str) -> bool:
        """Return whether there is a variable of that name."""
        return name in self._values

    def get_tensor(self, name: str) -> np.ndarray:
        """Return the value of a variable, float32."""
        return self._values[name]


def _as_in_slim(scope: str, value: np.ndarray) -> np.ndarray:
    """Convert a value of Keras to the form of slim; biases are the same."""
    if value.ndim == 1:
        return value
    if scope == "conv1/conv1_1":
        # Keras' VGG16 takes BGR images (`keras.applications.vgg16.preprocess_input`), slim's RGB.
        return value[:, :, ::-1]
    if scope in ("fc6", "fc7"):
        # Keras flattens the pixels: [height * width * inputs, outputs].
        size = _FC6_SIZE if scope == "fc6" else 1
        return value.reshape(size, size, -1, value.shape[-1])
    return value
