"""Opens a network in any of its forms: exports of all formats, and checkpoints."""

import contextlib
import os
from typing import Protocol

import numpy as np
import tensorflow as tf

from deeplab import model
from deeplab.core import depthwise, error_text
from deeplab.core.options import InferenceOptions, WindowOptions
from deeplab.datasets import descriptors
from deeplab.export import (
    frozen_graphs,
    inference_graph,
    lite_network,
    network_facts,
    numbered_folders,
    onnx_network,
    saved_model,
)
from deeplab.utils import checkpoint, checkpoint_files, file_systems
from deeplab.weights import foreign_files


class Network(Protocol):
    """A network in any form that predicts labels.

    Attributes:
        num_classes: The number of classes.
        descriptor: The dataset that it was trained on; None if it is unknown.
    """

    num_classes: int
    descriptor: descriptors.DatasetDescriptor | None

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Return the labels, int32 [height, width], of an image, uint8 [height, width, 3], RGB."""


def open_network(
    path: str, device: str | None = None, window: WindowOptions | None = None
) -> Network:
    """Open a network in any form.

    Example:
        network = open_network("deeplab.onnx")
        labels = network.predict(image)

    Args:
        path: The folder of a SavedModel; a folder of its versions, of which the largest number is
            taken; a frozen graph (`.pb`), a TensorFlow Lite model (`.tflite`) or an ONNX model
            (`.onnx`); or a checkpoint, its folder, or a DeepLab saved by Keras.
        device: Name of the device of TensorFlow that it runs on. None: TensorFlow chooses it.
        window: Predict images that are larger than this in windows. None: predict them whole. Only
            for a SavedModel or a checkpoint.

    Raises:
        FileNotFoundError: There is nothing at the path.
        ValueError: It is not a network, is damaged, needs a package that is not installed, or
            cannot use the device or the window.
    """
    found = newest_version(path)
    if tf.saved_model.contains_saved_model(found):
        return saved_model.ExportedNetwork(found, device, window)
    extension = os.path.splitext(path)[1].lower()
    is_file = file_systems.exists(path) and not file_systems.is_folder(path)
    if is_file and extension in _FILES:
        _check_use(path, extension, device, window)
        if extension == ".pb":
            return GraphNetwork(path, device)
        return (
            lite_network.LiteNetwork(path)
            if extension == ".tflite"
            else onnx_network.OnnxNetwork(path)
        )
    if checkpoint_files.latest(path):
        return CheckpointNetwork(path, device, window)
    if meaning := foreign_files.describe(path):
        raise ValueError(f"--export_path={path} is {meaning}; {_WANTED}")
    if file_systems.exists(path):
        kind = "a folder without an export or a checkpoint" if not is_file else "another file"
        raise ValueError(f"--export_path={path} is {kind}; {_WANTED}")
    raise FileNotFoundError(f"--export_path={path} is not there; {_WANTED}")


# Exports that are a single file, by extension.
_FILES = {
    ".pb": "a frozen graph",
    ".tflite": "a TensorFlow Lite model",
    ".onnx": "an ONNX model",
}
_WANTED = (
    "give the folder of a SavedModel or of its versions, a .pb, .tflite or .onnx file, or a"
    " checkpoint"
)


def newest_version(path: str) -> str:
    """Return the export with the largest number in a folder of versions, as a server does.

    Args:
        path: A folder of versions; anything else is returned as it is.
    """
    if tf.saved_model.contains_saved_model(path) or not file_systems.is_folder(path):
        return path
    versions = [
        folder
        for _, name in numbered_folders.named(path)
        if tf.saved_model.contains_saved_model(folder := os.path.join(path, name))
    ]
    return versions[-1] if versions else path


def _check_use(path: str, extension: str, device: str | None, window: WindowOptions | None) -> None:
    """Reject uses that an export which is a single file does not support."""
    if window:
        raise ValueError(
            f"--window goes with a SavedModel or a checkpoint; --export_path={path} is"
            f" {_FILES[extension]}"
        )
    if device and extension != ".pb" and "GPU" in device:
        raise ValueError(
            f"--export_path={path} is {_FILES[extension]}, which runs on the CPU here: use"
            " --num_clones=1 or --clone_on_cpu"
        )


class GraphNetwork:
    """A frozen graph, of this project or of the official code.

    Example:
        network = GraphNetwork("frozen_inference_graph.pb")
        labels = network.predict(image)

    Args:
        path: The file.
        device: Name of the device that it runs on. None: TensorFlow chooses it.

    Attributes:
        num_classes: The number of classes.
        descriptor: The dataset that the graph names, or None.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not the graph of such a network.
    """

    def __init__(self, path: str, device: str | None = None):
        graph_def = frozen_graphs.read(path)
        names = {node.name for node in graph_def.node}
        for name in (inference_graph.INPUT, inference_graph.PREDICTIONS):
            if name not in names:
                raise ValueError(
                    f"--export_path={path} has no {name}: export_model did not write it"
                )
        facts = frozen_graphs.facts(graph_def, path)
        graph = tf.Graph()
        try:
            with (
                graph.as_default(),
                contextlib.nullcontext() if device is None else tf.device(device),
            ):
                tf.compat.v1.import_graph_def(graph_def, name="")
        except Exception as error:  # TensorFlow raises almost everything for damaged files.
            raise ValueError(
                f"--export_path={path} cannot be used: {error_text.one_line(error)}"
            ) from None
        if facts is None:
            facts = network_facts.of_shapes(frozen_graphs.scores(graph), path)
        self.num_classes = facts.num_classes
        self.descriptor = facts.descriptor
        self._session = tf.compat.v1.Session(
            graph=graph, config=tf.compat.v1.ConfigProto(allow_soft_placement=True)
        )

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Return the labels, int32 [height, width], of an image, uint8 [height, width, 3], RGB."""
        labels = self._session.run(
            f"{inference_graph.PREDICTIONS}:0", {f"{inference_graph.INPUT}:0": image[np.newaxis]}
        )
        return labels[0].astype(np.int32)


class CheckpointNetwork:
    """The network of a checkpoint, with the preprocessing of evaluation.

    Example:
        network = CheckpointNetwork("train_log")
        labels = network.predict(image)

    Args:
        path: Prefix of the checkpoint; or a folder, of which the newest checkpoint is taken; or a
            DeepLab saved by Keras.
        device: Name of the device that it runs on. None: TensorFlow chooses it.
        window: Predict images that are larger than this in windows. None: predict them whole.

    Attributes:
        num_classes: The number of classes.
        descriptor: Always None, because a checkpoint does not name its dataset.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: It cannot be read, or the options of its network are not stored.
    """

    def __init__(self, path: str, device: str | None = None, window: WindowOptions | None = None):
        options = checkpoint.load_options(path)
        if options is None:
            raise ValueError(
                f"--export_path={path} is a checkpoint without model_options.json, so the network"
                " is not known: export it with the flags of its network, with deeplab-export-model"
                f" --checkpoint_path={path} --export_path=FOLDER"
            )
        self._device = device
        self._inference = InferenceOptions(window=window)
        with self._on_device():
            self._net = model.DeepLab(options, random_weights=False)
        checkpoint.restore(self._net, path)
        self.num_classes = options.num_classes
        self.descriptor: descriptors.DatasetDescriptor | None = None

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Return the labels, int32 [height, width], of an image, uint8 [height, width, 3], RGB."""
        with self._on_device():
            return self._labels(tf.constant(image)[tf.newaxis])[0].numpy()

    @tf.function(input_signature=[tf.TensorSpec((1, None, None, 3), tf.uint8)], autograph=False)
    def _labels(self, images: tf.Tensor) -> tf.Tensor:
        with self._on_device(), depthwise.native_dilation():
            if self._inference.window:
                return inference_graph.labels_in_windows(self._net, images, self._inference)
            outputs = inference_graph.predict_outputs(
                self._net, images, self._inference, by_cells=True
            )
        return outputs[inference_graph.PREDICTIONS]

    def _on_device(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._device is None else tf.device(self._device)
