"""The network of a running TensorFlow Serving."""

from collections.abc import Iterable, Mapping, Sequence

import cv2
import numpy as np

from deeplab.core.options import ServerOptions
from deeplab.datasets import descriptors
from deeplab.export import decoding, inference_graph, signatures
from deeplab.export.service_messages import SignatureShapes
from deeplab.serving import grpc_client, rest_client, retrying

_MEANINGS = {
    decoding.EMPTY: "it is empty",
    decoding.UNKNOWN_FORMAT: "its format is unknown",
    decoding.DAMAGED: "it is damaged",
    decoding.TOO_LARGE: "it has more pixels than the export's --max_pixels",
}
# A higher level would send fewer bytes, but take longer.
_PNG_COMPRESSION = 1


class ServedNetwork:
    """A network that a TensorFlow Serving has loaded.

    By gRPC, pixels are sent and labels returned. By REST, where numbers are text, both are PNG
    files.

    Example:
        network = ServedNetwork(ServerOptions(server="localhost:8500"))
        labels = network.predict(image)

    Args:
        options: The server and the model.

    Attributes:
        num_classes: The number of classes; None if the server does not state it.
        descriptor: Always None, because a server does not name the dataset.

    Raises:
        ServerError: The server or the model cannot be used.
        Refused: The server has not answered in time.
    """

    def __init__(self, options: ServerOptions):
        self._options = options
        self._takes_files = options.is_rest
        client = rest_client.RestClient if options.is_rest else grpc_client.GrpcClient
        self._client = client(options)
        found = self._client.signatures()
        self._signature = self._choose(found)
        self._outputs = list(found[self._signature].outputs)
        self.num_classes = _num_classes(found)
        self.descriptor: descriptors.DatasetDescriptor | None = None

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Return the labels, int32 [height, width], of an image, uint8 [height, width, 3], RGB.

        Raises:
            ServerError: The server or the model cannot be used.
            Refused: The server cannot predict this image, or not in time.
        """
        labels = self._from_file(image) if self._takes_files else self._from_pixels(image)
        if not np.issubdtype(labels.dtype, np.integer):
            raise retrying.ServerError(
                f"--server={self._options.server} returned labels of the type {labels.dtype}"
            )
        if labels.shape != image.shape[:2]:
            raise retrying.Refused(
                f"--server={self._options.server} returned labels of {list(labels.shape)} for an"
                f" image of {list(image.shape[:2])}"
            )
        return labels.astype(np.int32)

    def _choose(self, found: Mapping[str, SignatureShapes]) -> str:
        """Return the name of the signature to call."""
        if self._takes_files:
            wanted, result = signatures.IMAGE_BYTES, signatures.LABEL_PNG
            names: Iterable[str] = (signatures.PNG, signatures.DEFAULT)
            remedy = "use its gRPC interface, or export the network again"
        else:
            wanted, result = inference_graph.INPUT, inference_graph.PREDICTIONS
            # The smallest answer comes first.
            names = (signatures.LABELS, signatures.PIXELS, signatures.DEFAULT)
            remedy = "deeplab-export-model did not write it"
        for name in names:
            if name in found and wanted in found[name].inputs and result in found[name].outputs:
                return name
        raise retrying.ServerError(
            f"--server={self._options.server}: the model {self._options.model_name!r} has no"
            f" signature {names[0]} from {wanted} to {result}, only"
            f" {', '.join(sorted(found)) or 'none'}: {remedy}"
        )

    def _from_pixels(self, image: np.ndarray) -> np.ndarray:
        name = inference_graph.PREDICTIONS
        outputs = self._client.call(
            self._signature, {inference_graph.INPUT: image[np.newaxis]}, [name]
        )
        labels = outputs.get(name)
        if labels is None or labels.ndim != 3 or len(labels) != 1:
            raise retrying.ServerError(
                f"--server={self._options.server} has not returned {name} of one image"
            )
        return labels[0]

    def _from_file(self, image: np.ndarray) -> np.ndarray:
        pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        _, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, _PNG_COMPRESSION])
        outputs = self._client.call(
            self._signature,
            {signatures.IMAGE_BYTES: np.array([data.tobytes()], object)},
            self._outputs,
        )
        # Earlier exports have no status, and fail instead.
        statuses = outputs.get(signatures.STATUS, [decoding.FINE])
        if len(statuses) != 1:
            raise retrying.ServerError(
                f"--server={self._options.server} returned {len(statuses)} results of one image"
            )
        status = statuses[0]
        if status != decoding.FINE:
            meaning = _MEANINGS.get(status, "it is refused")
            raise retrying.Refused(
                f"--server={self._options.server} cannot read the image: {meaning} (Status"
                f" {status})"
            )
        labels = _decode(outputs[signatures.LABEL_PNG])
        if labels is None or labels.ndim != 2:
            raise retrying.ServerError(
                f"--server={self._options.server} has not returned a gray PNG file"
            )
        return labels


def _decode(found: Sequence[bytes | float]) -> np.ndarray | None:
    """Return the pixels of the image file that a server has returned; None if it is not one."""
    if len(found) != 1 or not isinstance(found[0], bytes) or not found[0]:
        return None
    try:
        return cv2.imdecode(np.frombuffer(found[0], np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # As for a size that no memory holds.
        return None


def _num_classes(found: Mapping[str, SignatureShapes]) -> int | None:
    """Return the number of classes, from a signature that returns probabilities."""
    for signature in found.values():
        shape = signature.outputs.get(inference_graph.PROBABILITIES)
        if shape and shape[-1]:
            return shape[-1]
    return None
