"""Runs a TensorFlow Lite model, with LiteRT where it is installed."""

import io
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from deeplab.datasets import descriptors
from deeplab.export import fitting, network_facts
from deeplab.utils import error_text, files

# The file with the network's facts, and that with the names of the classes, which other programs
# look for. As in TensorFlow Lite's own metadata, a zip archive of them is appended to the model.
_FACTS_FILE = f"{network_facts.NAME}.json"
_LABELS_FILE = "labels.txt"


def with_facts(model: bytes, facts: network_facts.NetworkFacts) -> bytes:
    """Return a model with what a client has to know of it."""
    stream = io.BytesIO(model)
    with zipfile.ZipFile(stream, "a") as archive:
        names = facts.descriptor.labels() if facts.descriptor else range(facts.num_classes)
        for name, text in (
            (_FACTS_FILE, facts.to_json()),
            (_LABELS_FILE, "".join(f"{label}\n" for label in names)),
        ):
            # The same model gives the same bytes on every day.
            archive.writestr(zipfile.ZipInfo(name), text)
    return stream.getvalue()


def facts_of(model: bytes, path: str) -> network_facts.NetworkFacts | None:
    """Return what a model says of its network; None if it says nothing.

    Raises:
        ValueError: What it says is damaged.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(model)) as archive:
            text = archive.read(_FACTS_FILE)
    except (zipfile.BadZipFile, KeyError):
        return None
    return network_facts.parse(text, f"{path}: {_FACTS_FILE}")


class LiteNetwork:
    """A TensorFlow Lite model of this project, of the official code, or of a similar one.

    Its input is one image of a fixed size, and its output labels or scores of the classes. An image
    of another size is fitted; see `fitting`. Its input may be pixels, or what the preprocessing
    makes of them: as the model says, else -1 to 1.

    Example:
        network = LiteNetwork("deeplab.tflite")
        labels = network.predict(image)

    Args:
        path: The file.
        model: Its content. None: it is read.

    Attributes:
        num_classes: The number of classes.
        descriptor: The dataset that the model names, or None.
        facts: What the model says of its network, or what its shapes tell.
        size: Height and width of its input.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not such a model.
    """

    def __init__(self, path: str, model: bytes | None = None):
        model = files.read_bytes(path) if model is None else model
        try:
            self._interpreter = _interpreter()(model_content=model)
            self._interpreter.allocate_tensors()
        except Exception as error:  # Runtimes have no class of their own for damaged files.
            raise ValueError(
                f"--export_path={path} is not a TensorFlow Lite model that runs here:"
                f" {error_text.one_line(error)}"
            ) from None
        inputs, outputs = (
            self._interpreter.get_input_details(),
            self._interpreter.get_output_details(),
        )
        shapes = [tuple(map(int, each["shape"])) for each in (*inputs, *outputs)]
        if len(inputs) != 1 or len(outputs) != 1 or not _is_image(shapes[0]):
            raise ValueError(
                f"--export_path={path} has inputs and outputs of the shapes {shapes}: this is not a"
                " network from one image [1, height, width, 3] to labels or scores"
            )
        (self._input,), (self._output,) = inputs, outputs
        self._has_scores = len(shapes[1]) == 4
        if len(shapes[1]) not in (3, 4):
            raise ValueError(
                f"--export_path={path} has an output of the shape {list(shapes[1])}; labels are"
                " [1, height, width], scores [1, height, width, classes]"
            )
        self.size = shapes[0][1:3]
        self.facts = facts_of(model, path) or network_facts.of_shapes(self._scores(), path)
        self.num_classes = self.facts.num_classes
        self.descriptor: descriptors.DatasetDescriptor | None = self.facts.descriptor

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Return the labels, int32 [height, width], of an image, uint8 [height, width, 3], RGB."""
        fitted = fitting.fit(image, self.size, self.facts.mean_pixel)
        return fitting.restore(self.labels(fitted.pixels), fitted, image.shape[:2])

    def labels(self, pixels: np.ndarray) -> np.ndarray:
        """Return the labels, integers [height, width], of an image of the size of the input.

        Args:
            pixels: [height, width, 3], 0..255.
        """
        values = self.run(self._encoded(pixels))
        labels = values.argmax(axis=-1) if self._has_scores else values
        if labels.shape == tuple(self.size):
            return labels
        # Scores on a coarser grid, whose corners are those of the image.
        rows, columns = (
            np.round(np.linspace(0, own - 1, side)).astype(np.intp)
            for side, own in zip(self.size, labels.shape, strict=True)
        )
        return labels[rows[:, np.newaxis], columns]

    def run(self, values: np.ndarray) -> np.ndarray:
        """Return the output for an input, both without the batch.

        Fractions that are stored as integers are fractions again.
        """
        self._interpreter.set_tensor(self._input["index"], values[np.newaxis])
        self._interpreter.invoke()
        found = self._interpreter.get_tensor(self._output["index"])[0]
        scale, zero = self._output["quantization"]
        return (found.astype(np.float32) - zero) * scale if scale else found

    @property
    def is_quantized(self) -> bool:
        """Whether the input is integers that stand for fractions."""
        return bool(self._input["quantization"][0])

    def _encoded(self, pixels: np.ndarray) -> np.ndarray:
        """Return the input that stands for pixels, 0..255."""
        dtype, (scale, zero) = self._input["dtype"], self._input["quantization"]
        values = pixels.astype(np.float32)
        if np.issubdtype(dtype, np.floating) or scale:
            scales = self.facts.pixel_scale or (2 / 255,) * 3
            offsets = self.facts.pixel_offset or (-1.0,) * 3
            values = values * np.float32(scales) + np.float32(offsets)
        if np.issubdtype(dtype, np.floating):
            return values.astype(dtype)
        if scale:
            values = values / np.float32(scale) + zero
        limits = np.iinfo(dtype)
        return np.clip(np.round(values), limits.min, limits.max).astype(dtype)

    def _scores(self) -> tuple[int, ...] | None:
        """Return the shape of the scores: of the output, or of what the labels are made of."""
        if self._has_scores:
            return tuple(map(int, self._output["shape"]))
        grid = tuple(map(int, self._output["shape"]))
        found = [
            tuple(map(int, each["shape"]))
            for each in self._interpreter.get_tensor_details()
            if len(each["shape"]) == 4 and tuple(map(int, each["shape"][:3])) == grid
            if each["index"] != self._input["index"]
        ]
        # Tensors come in the order in which they are computed.
        return found[-1] if found else None


def _is_image(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[0] == 1 and shape[3] == 3


def _interpreter() -> Callable[..., Any]:
    """Return the class that runs models."""
    try:
        from ai_edge_litert import interpreter
    except ImportError:
        return _interpreter_of_tensorflow
    return interpreter.Interpreter


def _interpreter_of_tensorflow(**arguments: Any) -> Any:
    with warnings.catch_warnings():
        # Its replacement is a package of its own, which is not required here.
        warnings.filterwarnings("ignore", message=".*tf.lite.Interpreter is deprecated")
        return tf.lite.Interpreter(**arguments)
