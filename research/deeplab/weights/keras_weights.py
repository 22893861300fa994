"""Reads the weights files of Keras' own networks like checkpoints."""

import h5py
import numpy as np
import tensorflow as tf

from deeplab.core import feature_extractor
from deeplab.core.weight_sources import KerasWeights, WeightSources
from deeplab.weights import saved_networks
from deeplab.weights.variable_values import VariableValues


def open_file(path: str, sources: WeightSources) -> "KerasFile":
    """Open a weights file of Keras for a network that starts from it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file does not hold the counterpart of the network, or there is none.
    """
    if not tf.io.gfile.exists(path):
        raise FileNotFoundError(f"no file at {path}")
    if sources.keras_weights is None:
        known = [
            name
            for name, backbone in feature_extractor.BACKBONES.items()
            if backbone.weight_sources.keras_weights
        ]
        raise ValueError(
            f"--tf_initial_checkpoint={path} has none of the network's variables:"
            f" {saved_networks.fault(path)}, and of Keras' own networks only that of"
            f" {', '.join(known)} is known; is --model_variant right?"
        )
    return KerasFile(path, sources.keras_weights)


class KerasFile(VariableValues):
    """The weights of a network of `keras.applications` by official names.

    Reads the published files, such as `vgg16_weights_tf_dim_ordering_tf_kernels.h5` and its
    `_notop` form, and files of `save` and `save_weights`. Values are float32.

    Args:
        path: Path of the file.
        network: Whose weights they are.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file does not hold that network.
    """

    def __init__(self, path: str, network: KerasWeights):
        self._values: dict[str, np.ndarray] = {}
        try:
            with saved_networks.open_weights(path) as file:
                self._read(file, network)
        except FileNotFoundError:
            raise
        except ValueError as error:
            raise ValueError(f"{path} holds no {network.name} of Keras: {error}") from None
        except Exception as error:
            # The readers of zip and HDF5 raise almost everything for damaged or foreign files.
            raise ValueError(f"{path} is not a weights file of Keras: {error}") from None

    def _read(self, file: h5py.File, network: KerasWeights) -> None:
        datasets: dict[str, list[h5py.Dataset]] = {}

        def note(name: str, item: h5py.Dataset | h5py.Group) -> None:
            if isinstance(item, h5py.Dataset) and not name.startswith("optimizer"):
                for part in set(name.split("/")[:-1]):
                    datasets.setdefault(part, []).append(item)

        file.visititems(note)
        self._values = network.convert(datasets)
