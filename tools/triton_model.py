"""A model of Triton's Python backend: the signature `serving_png` of an export."""

import json
from typing import Any

import numpy as np
import tensorflow as tf
import triton_python_backend_utils as triton


class TritonPythonModel:
    """Answers requests with image files; the backend looks for a class of this name."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the export that the configuration names."""
        parameters = json.loads(args["model_config"])["parameters"]
        self._loaded = tf.saved_model.load(parameters["export_path"]["string_value"])
        self._function = self._loaded.signatures["serving_png"]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer requests one by one."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        files = triton.get_input_tensor_by_name(request, "image_bytes").as_numpy()
        outputs = self._function(image_bytes=tf.constant(files.tolist(), tf.string))
        tensors = [
            triton.Tensor("Status", outputs["Status"].numpy()),
            triton.Tensor(
                "label_png_bytes", np.array(outputs["label_png_bytes"].numpy().tolist(), np.object_)
            ),
        ]
        return triton.InferenceResponse(output_tensors=tensors)
