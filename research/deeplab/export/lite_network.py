"""Runs a TensorFlow Lite model, with LiteRT where it is installed."""

import io
import os
import warnings
import zipfile
from typing import Any

import numpy as np
import tensorflow as tf

from deeplab.core import error_text
from deeplab.datasets import descriptors
from deeplab.export import fitting, network_facts
from deeplab.utils import files

# The facts about the network, and the names of the classes, which other programs look for. Like
# TensorFlow Lite's own metadata, a zip archive with these files is appended to the model.
_FACTS_FILE = f"{network_facts.NAME}.json"
_LABELS_FILE = "labels.txt"


def with_facts(model: bytes, facts: network_facts.NetworkFacts) -> bytes:
    """Return a model with the facts about its network appended."""
    stream = io.BytesIO(model)
    with zipfile.ZipFile(stream, "a") as archive:
        names = facts.descriptor.labels() if facts.descriptor else range(facts.num_classes)
        for name, text in (
            (_FACTS_FILE, facts.to_json()),
            (_LABELS_FILE, "".join(f"{label}\n" for label in names)),
        ):
            # Without a date, the same model gives the same bytes every day.
            archive.writestr(zipfile.ZipInfo(name), text)
    return stream.getvalue()


def facts_of(model: bytes, path: str) -> network_facts.NetworkFacts | None:
    """Return the facts that a model states about its network; None if it states none.

    Raises:
        ValueError: The facts are damaged.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(model)) as archive:
            text = archive.read(_FACTS_FILE)
    except (zipfile.BadZipFile, KeyError):
        return None
    return network_facts.parse(text, f"{path}: {_FACTS_FILE}")


class LiteModel:
    """A TensorFlow Lite model with one input and one output, each a batch of one.

    Args:
        title: Its name in messages.
        content: Content of the file.

    Attributes:
        shape: Shape of the input, without the batch.
        output_shape: Shape of the output, without the batch.
        dtype: Type of the input.

    Raises:
        ValueError: It is not such a model.
    """

    def __init__(self, title: str, content: bytes):
        try:
            self._interpreter = interpreter(content)
            self._interpreter.allocate_tensors()
        except Exception as error:  # Runtimes have no class of their own for damaged files.
            raise ValueError(
                f"{title} is not a TensorFlow Lite model that runs here:"
                f" {error_text.one_line(error)}"
            ) from None
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        shapes = [_shape(each) for each in (*inputs, *outputs)]
        if len(inputs) != 1 or len(outputs) != 1 or any(shape[:1] != (1,) for shape in shapes):
            raise ValueError(
                f"{title} has inputs and outputs of the shapes {shapes}; wanted are one of each,"
                " for one image"
            )
        (self._input,), (self._output,) = inputs, outputs
        self.shape, self.output_shape = shapes[0][1:], shapes[1][1:]
        self.dtype = self._input["dtype"]

    @property
    def takes_values(self) -> bool:
        """Whether the input is floats, or integers that stand for floats."""
        return np.issubdtype(self.dtype, np.floating) or bool(self._input["quantization"][0])

    def run(self, values: np.ndarray) -> np.ndarray:
        """Return the output for an input, both without the batch.

        Integers that stand for floats are converted to floats.
        """
        self._interpreter.set_tensor(self._input["index"], values[np.newaxis])
        self._interpreter.invoke()
        found = self._interpreter.get_tensor(self._output["index"])[0]
        scale, zero = self._output["quantization"]
        return (found.astype(np.float32) - zero) * np.float32(scale) if scale else found

    def encode(
        self, pixels: np.ndarray, scale: network_facts.Color, offset: network_facts.Color
    ) -> np.ndarray:
        """Return the input for an image.

        Args:
            pixels: [height, width, 3], 0..255.
            scale: Factor of each color, for an input that is not pixels.
            offset: Offset of each color, which is added to the product.
        """
        slope, zero = np.ones(3, np.float32), np.zeros(3, np.float32)
        if self.takes_values:
            slope, zero = np.float32(scale), np.float32(offset)
        if np.issubdtype(self.dtype, np.floating):
            return (pixels * slope + zero).astype(self.dtype)
        limits = np.iinfo(self.dtype)
        step, shift = self._input["quantization"]
        if step:
            slope, zero = slope / np.float32(step), zero / np.float32(step) + shift
            if (abs(slope - 1) < 0.01).all() and (abs(zero - limits.min) < 1).all():
                # An integer for each gray level, as in official models.
                slope, zero = 1, limits.min
        return np.clip(np.round(pixels * slope + zero), limits.min, limits.max).astype(self.dtype)

    def shapes(self) -> list[tuple[int, ...]]:
        """Return the shapes of the tensors that the model computes, in its order."""
        return [
            _shape(each)
            for each in self._interpreter.get_tensor_details()
            if each["index"] != self._input["index"]
        ]


def _shape(details: dict[str, Any]) -> tuple[int, ...]:
    return tuple(map(int, details["shape"]))


class LiteNetwork:
    """A TensorFlow Lite model of this project, of the official code, or of a similar one.

    Its input is one image of a fixed size, and its output is labels or scores of the classes. An
    image of another size is fitted; see `fitting`. Its input is pixels or preprocessed pixels,
    which are -1 to 1 unless the model states their range.

    Example:
        network = LiteNetwork("deeplab.tflite")
        labels = network.predict(image)

    Args:
        path: The file.

    Attributes:
        num_classes: The number of classes.
        descriptor: The dataset that the model names, or None.
        facts: The facts that the model states, or those that follow from its shapes.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not such a model.
    """

    def __init__(self, path: str):
        content = files.read_bytes(path)
        self._model = LiteModel(f"--export_path={path}", content)
        shape, output_shape = self._model.shape, self._model.output_shape
        if len(shape) != 3 or shape[-1] != 3 or len(output_shape) not in (2, 3):
            raise ValueError(
                f"--export_path={path} takes {[1, *shape]} and gives {[1, *output_shape]}: a"
                " network takes an image [1, height, width, 3], and gives labels [1, height, width]"
                " or scores [1, height, width, classes]"
            )
        self._size = shape[:2]
        self.facts = facts_of(content, path) or network_facts.of_shapes(self._scores(), path)
        self.num_classes = self.facts.num_classes
        self.descriptor: descriptors.DatasetDescriptor | None = self.facts.descriptor

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Return the labels, int32 [height, width], of an image, uint8 [height, width, 3], RGB."""
        fitted = fitting.fit(image, self._size, self.facts.mean_pixel)
        values = self._model.encode(
            fitted.pixels,
            self.facts.pixel_scale or (2 / 255,) * 3,
            self.facts.pixel_offset or (-1.0,) * 3,
        )
        labels = self._model.run(values)
        if labels.ndim == 3:
            labels = labels.argmax(axis=-1)
        if labels.shape != self._size:
            # A coarser grid, whose corners are those of the image.
            rows, columns = (
                np.round(np.linspace(0, own - 1, side)).astype(np.intp)
                for side, own in zip(self._size, labels.shape, strict=True)
            )
            labels = labels[rows[:, np.newaxis], columns]
        return fitting.restore(labels, fitted, image.shape[:2])

    def _scores(self) -> tuple[int, ...] | None:
        """Return the shape of the scores: the output, or the tensor before the arg-max."""
        grid = self._model.output_shape
        if len(grid) == 3:
            return grid
        found = [shape for shape in self._model.shapes() if shape[:-1] == (1, *grid)]
        return found[-1] if found else None


def interpreter(content: bytes, *, keeps_all: bool = False) -> Any:
    """Return what runs a model: the interpreter of LiteRT, or that within TensorFlow.

    Args:
        content: Content of the file.
        keeps_all: Whether every tensor can be read after a call, not only the output.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError:
        Interpreter = tf.lite.Interpreter  # noqa: N806 (a class)
        OpResolverType = tf.lite.experimental.OpResolverType  # noqa: N806
    more = {}
    if keeps_all:
        # Delegates keep what is within them.
        more["experimental_op_resolver_type"] = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        more["experimental_preserve_all_tensors"] = True
    with warnings.catch_warnings():
        # Its replacement is a separate package, which is optional here.
        warnings.filterwarnings("ignore", message=".*tf.lite.Interpreter is deprecated")
        return Interpreter(model_content=content, num_threads=os.cpu_count(), **more)
