"""Runs a SavedModel of `export_model.py` with TensorFlow alone; no network is built."""

import contextlib
import os

import numpy as np
import tensorflow as tf

from deeplab.datasets import descriptors
from deeplab.utils import checkpoint, checkpoint_files, error_text, file_systems
from deeplab.weights import foreign_files

# The description of the dataset, if it was known at export.
DATASET_FILE = "dataset.json"

_LABELS, _PROBABILITIES = "SemanticPredictions", "SemanticProbabilities"
# The signature that is there whatever else was exported, and that of earlier exports.
_SIGNATURES = ("serving_labels", "serving_default")


class ExportedNetwork:
    """An exported network.

    Example:
        network = ExportedNetwork("export/1")
        labels = network.predict(image)

    Args:
        path: its folder.
        device: name of the device that it runs on. None: TensorFlow chooses it.

    Attributes:
        num_classes: the number of classes.
        descriptor: the dataset that was exported with it, or None.

    Raises:
        FileNotFoundError: There is no SavedModel.
        ValueError: `export_model.py` did not write it.
    """

    def __init__(self, path: str, device: str | None = None):
        self._device = device
        if not tf.saved_model.contains_saved_model(path):
            if checkpoint_files.latest(path):
                raise ValueError(
                    f"--export_path={path} is a checkpoint, not an export: export it first, with"
                    f" deeplab-export-model --checkpoint_path={path} --export_path=FOLDER"
                )
            if meaning := foreign_files.describe(path):
                raise ValueError(f"--export_path={path} is {meaning}, not the folder of an export")
            raise FileNotFoundError(
                f"--export_path={path} is not a SavedModel, which is a folder with saved_model.pb;"
                " export_model writes one if its --export_path does not end in .pb"
            )
        try:
            with file_systems.without_wildcards(path) as plain, self._on_device():
                loaded = tf.saved_model.load(plain)
        except Exception as error:  # TensorFlow raises almost everything for damaged files.
            raise ValueError(
                f"--export_path={path} cannot be read: {error_text.one_line(error)}"
            ) from None
        found = (loaded.signatures.get(name) for name in _SIGNATURES)
        self._signature = next((each for each in found if each is not None), None)
        outputs = self._signature.structured_outputs if self._signature else {}
        options = checkpoint.load_options(path)
        if _LABELS not in outputs or not (options or _PROBABILITIES in outputs):
            raise ValueError(
                f"--export_path={path} has no {_LABELS} of pixels, or does not say how many"
                " classes there are: export_model did not write it"
            )
        self.num_classes = options.num_classes if options else outputs[_PROBABILITIES].shape[-1]
        file = os.path.join(path, DATASET_FILE)
        self.descriptor = descriptors.load(file) if file_systems.exists(file) else None
        # The signature's variables live as long as the loaded object does.
        self._loaded = loaded

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Return the labels, int32 [height, width], of an image, uint8 [height, width, 3], RGB."""
        with self._on_device():
            outputs = self._signature(ImageTensor=tf.constant(image)[tf.newaxis])
        return outputs[_LABELS][0].numpy().astype(np.int32)

    def _on_device(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._device is None else tf.device(self._device)
