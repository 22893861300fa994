"""Runs a SavedModel of `export_model.py`, with TensorFlow alone: no network is built for it."""

import os

import numpy as np
import tensorflow as tf

from deeplab.datasets import descriptors

# What was known of the classes when the network was exported.
DATASET_FILE = "dataset.json"

_LABELS, _PROBABILITIES = "SemanticPredictions", "SemanticProbabilities"


class SavedModel:
    """A network that was exported.

    Example:
        network = SavedModel("export/1")
        labels = network.predict(image)

    Attributes:
        num_classes: the number of classes.
        descriptor: the data set that was exported with it; None where there is none.
    """

    def __init__(self, path: str):
        """Loads it.

        Args:
            path: its folder.

        Raises:
            FileNotFoundError: there is no SavedModel.
            ValueError: it is none of `export_model.py`.
        """
        if not tf.saved_model.contains_saved_model(path):
            raise FileNotFoundError(
                f"--export_path={path} is no SavedModel: a folder that holds saved_model.pb, as"
                " export_model writes it where its --export_path does not end in .pb"
            )
        loaded = tf.saved_model.load(path)
        self._signature = loaded.signatures.get("serving_default")
        outputs = self._signature.structured_outputs if self._signature else {}
        if not {_LABELS, _PROBABILITIES} <= set(outputs):
            raise ValueError(
                f"--export_path={path} has no {_LABELS} and {_PROBABILITIES} in its default"
                " signature: export_model did not write it"
            )
        self.num_classes = outputs[_PROBABILITIES].shape[-1]
        file = os.path.join(path, DATASET_FILE)
        self.descriptor = descriptors.load(file) if os.path.exists(file) else None
        # The signature's variables live as long as what was loaded does.
        self._loaded = loaded

    def predict(self, image: np.ndarray) -> np.ndarray:
        """The labels, int32 [height, width], of an image, uint8 [height, width, 3], RGB."""
        outputs = self._signature(ImageTensor=tf.constant(image)[tf.newaxis])
        return outputs[_LABELS][0].numpy()
