"""Runs an ONNX model with ONNX Runtime."""

import numpy as np

from deeplab.core import error_text
from deeplab.datasets import descriptors
from deeplab.export import fitting, inference_graph, network_facts
from deeplab.utils import files


class OnnxNetwork:
    """An ONNX model that returns the labels of pixels.

    Example:
        network = OnnxNetwork("deeplab.onnx")
        labels = network.predict(image)

    Args:
        path: The file.

    Attributes:
        num_classes: The number of classes.
        descriptor: The dataset that the model names, or None.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not such a model, or ONNX Runtime is not installed.
    """

    def __init__(self, path: str):
        try:
            import onnxruntime
        except ImportError as error:
            raise ValueError(
                f"--export_path={path} needs ONNX Runtime, which cannot be imported ({error}):"
                " pip install 'deeplab[onnx]'"
            ) from None
        options = onnxruntime.SessionOptions()
        # Between calls its threads would wait in loops, and take the cores from the threads that
        # read and draw images.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                files.read_bytes(path), options, providers=["CPUExecutionProvider"]
            )
        except OSError:
            raise
        except Exception as error:  # Its classes are not public.
            raise ValueError(
                f"--export_path={path} is not an ONNX model that runs here:"
                f" {error_text.one_line(error)}"
            ) from None
        inputs = self._session.get_inputs()
        outputs = {each.name: each for each in self._session.get_outputs()}
        shapes = [each.shape for each in inputs]
        if (
            len(inputs) != 1
            or inputs[0].type != "tensor(uint8)"
            or len(shapes[0]) != 4
            or inference_graph.PREDICTIONS not in outputs
        ):
            raise ValueError(
                f"--export_path={path} has the inputs {[each.name for each in inputs]} and the"
                f" outputs {list(outputs)}: this is not a network from pixels, uint8 [images,"
                f" height, width, 3], to {inference_graph.PREDICTIONS}"
            )
        self._input = inputs[0].name
        scores = outputs.get(inference_graph.PROBABILITIES)
        stated = self._session.get_modelmeta().custom_metadata_map.get(network_facts.NAME)
        if stated:
            facts = network_facts.parse(stated, f"{path}: {network_facts.NAME}")
        else:
            facts = network_facts.of_shapes(scores and scores.shape, path)
        self.num_classes = facts.num_classes
        self.descriptor: descriptors.DatasetDescriptor | None = facts.descriptor
        self._mean_pixel = facts.mean_pixel
        height, width = shapes[0][1:3]
        self._size = (height, width) if isinstance(height, int) and isinstance(width, int) else None

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Return the labels, int32 [height, width], of an image, uint8 [height, width, 3], RGB."""
        if self._size is None:
            return self.labels(image[np.newaxis])[0].astype(np.int32)
        fitted = fitting.fit(image, self._size, self._mean_pixel)
        pixels = np.round(fitted.pixels).astype(np.uint8)
        return fitting.restore(self.labels(pixels[np.newaxis])[0], fitted, image.shape[:2])

    def labels(self, images: np.ndarray) -> np.ndarray:
        """Return the labels, integers [B, H, W], of images, uint8 [B, H, W, 3]."""
        return self._session.run([inference_graph.PREDICTIONS], {self._input: images})[0]

    def outputs(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return all outputs for images, uint8 [B, H, W, 3], by their names."""
        names = [each.name for each in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, {self._input: images}), strict=True))
