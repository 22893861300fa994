"""Runs a SavedModel of `export_model.py` with TensorFlow alone, without building the network."""

import contextlib
import os
from typing import Any

import numpy as np
import tensorflow as tf

from deeplab.core import dense_crf, error_text, windows
from deeplab.core.options import CrfOptions, WindowOptions
from deeplab.datasets import descriptors
from deeplab.utils import checkpoint, checkpoint_files, file_systems, files
from deeplab.weights import foreign_files

# The descriptor of the dataset, if it was known at export.
DATASET_FILE = "dataset.json"
# How the network is applied, and the options of the export. Earlier exports lack it.
OPTIONS_FILE = os.path.join("assets", "options.json")

_LABELS, _PROBABILITIES = "SemanticPredictions", "SemanticProbabilities"
# The probabilities before a CRF, with the padding.
_RAW_PROBABILITIES = "RawSemanticProbabilities"
# The signature that every export has, and the one of earlier exports.
_SIGNATURES = ("serving_labels", "serving_default")
# The signatures that may return probabilities of pixels.
_PIXELS = ("serving_pixels", "serving_default")


class ExportedNetwork:
    """An exported network.

    Example:
        network = ExportedNetwork("export/1")
        labels = network.predict(image)

    Args:
        path: Its folder.
        device: Name of the device that it runs on. None: TensorFlow chooses it.
        window: Predict images that are larger than this in windows. None: predict them whole.

    Attributes:
        num_classes: The number of classes.
        descriptor: The dataset that was exported with it, or None.

    Raises:
        FileNotFoundError: There is no SavedModel.
        ValueError: `export_model.py` did not write it, or it cannot be used with windows.
    """

    def __init__(self, path: str, device: str | None = None, window: WindowOptions | None = None):
        self._path = path
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
        self._window = window
        if window:
            self._crf = self._prepare_windows(path, options)

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Return the labels, int32 [height, width], of an image, uint8 [height, width, 3], RGB.

        Raises:
            ValueError: This TensorFlow has no implementation of an operation.
        """
        try:
            with self._on_device():
                images = tf.constant(image)[tf.newaxis]
                if self._window and np.greater(image.shape[:2], self._window.size).any():
                    return self._in_windows(images)[0].numpy()
                outputs = self._signature(ImageTensor=images)
        except tf.errors.UnimplementedError as error:
            raise ValueError(
                f"--export_path={self._path} does not run here: {error_text.one_line(error)}; an"
                " export with --target=cpu needs a TensorFlow with oneDNN, one with"
                " --target=portable does not"
            ) from None
        return outputs[_LABELS][0].numpy().astype(np.int32)

    def _on_device(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._device is None else tf.device(self._device)

    def _prepare_windows(self, path: str, options: Any) -> CrfOptions | None:
        """Find the signature for windows; return the CRF of the export, if it has one."""
        found = (self._loaded.signatures.get(name) for name in _PIXELS)
        self._pixels = next(
            (each for each in found if each and _RAW_PROBABILITIES in each.structured_outputs), None
        )
        if self._pixels is None:
            raise ValueError(
                f"--window needs the probabilities of --export_path={path}, which has none: export"
                " it without --noadd_probabilities, or with --window"
            )
        has_windows, crf = _stored_inference(os.path.join(path, OPTIONS_FILE))
        if has_windows:
            raise ValueError(
                f"--export_path={path} was exported with windows of its own: leave --window out"
            )
        if options and options.min_resize_value:
            raise ValueError(
                f"--export_path={path} resizes what it is given (--min_resize_value), so --window"
                " would resize windows: give it to export_model instead"
            )
        crop_size = options.crop_size if options else None
        if crop_size and np.less(self._window.size, crop_size).any():
            size, padded = (",".join(map(str, each)) for each in (self._window.size, crop_size))
            raise ValueError(
                f"--window={size} is smaller than {padded}, to which --export_path={path} pads"
                " images: choose a larger window, or give it to export_model instead"
            )
        return crf

    @tf.function(input_signature=[tf.TensorSpec((1, None, None, 3), tf.uint8)], autograph=False)
    def _in_windows(self, images: tf.Tensor) -> tf.Tensor:
        """Return the labels, int32 [1, H, W], of an image that is larger than the window."""

        def probabilities(crops: tf.Tensor) -> tf.Tensor:
            with self._on_device():
                found = self._pixels(ImageTensor=crops)[_RAW_PROBABILITIES]
            return found[:, : tf.shape(crops)[1], : tf.shape(crops)[2]]

        def labels(mean: tf.Tensor) -> tf.Tensor:
            return tf.argmax(mean, axis=-1, output_type=tf.int32)

        size = tf.shape(images)[1:3]
        (found,) = windows.average(
            probabilities,
            images,
            windows.layout(size, size, self._window)[1],
            self._window,
            self.num_classes,
            lambda mean: [mean if self._crf else labels(mean)],
        )
        return labels(dense_crf.refine(images, found, self._crf)) if self._crf else found


def _stored_inference(file: str) -> tuple[bool, CrfOptions | None]:
    """Return whether an export predicts in windows, and the CRF that it ends with.

    Args:
        file: The export's file of options, which need not be there.

    Raises:
        ValueError: The file is damaged.
    """
    content = files.read_json(file) if file_systems.exists(file) else {}
    try:
        inference = content.get("inference", {})
        crf = inference.get("crf")
        return bool(inference.get("window")), CrfOptions(**crf) if crf else None
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is damaged: {error_text.one_line(error)}") from None
