"""Messages are those of TensorFlow Serving's own package."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab.export import service_messages
from deeplab.export.service_messages import Request, SignatureShapes

_PIXELS = np.arange(600, dtype=np.uint8).reshape(1, 10, 20, 3)


def test_a_request_is_read_as_it_was_written():
    message = service_messages.encode_request(Request("s", {"x": _PIXELS}), "m", 3, ["y"])
    read = service_messages.decode_request(message)
    assert read.signature == "s"
    np.testing.assert_array_equal(read.inputs["x"], _PIXELS)


def test_the_package_of_tensorflow_serving_reads_requests():
    predict_pb2 = pytest.importorskip("tensorflow_serving.apis.predict_pb2")
    metadata_pb2 = pytest.importorskip("tensorflow_serving.apis.get_model_metadata_pb2")
    data = service_messages.encode_request(Request("s", {"x": _PIXELS}), "m", 300, ["y", "z"])
    request = predict_pb2.PredictRequest.FromString(data)
    assert request.model_spec.name == "m"
    assert request.model_spec.version.value == 300
    assert request.model_spec.signature_name == "s"
    assert list(request.output_filter) == ["y", "z"]
    np.testing.assert_array_equal(tf.make_ndarray(request.inputs["x"]), _PIXELS)
    without_version = predict_pb2.PredictRequest.FromString(
        service_messages.encode_request(Request("s", {}), "m")
    )
    assert not without_version.model_spec.HasField("version")
    data = service_messages.encode_metadata_request("m", 0)
    asked = metadata_pb2.GetModelMetadataRequest.FromString(data)
    assert asked.model_spec.HasField("version")
    assert list(asked.metadata_field) == ["signature_def"]


def test_answers_of_the_package_of_tensorflow_serving_are_read():
    predict_pb2 = pytest.importorskip("tensorflow_serving.apis.predict_pb2")
    metadata_pb2 = pytest.importorskip("tensorflow_serving.apis.get_model_metadata_pb2")
    response = predict_pb2.PredictResponse()
    response.model_spec.name = "m"
    response.model_spec.version.value = 3
    response.outputs["x"].CopyFrom(tf.make_tensor_proto(_PIXELS))
    outputs = service_messages.decode_response(response.SerializeToString())
    np.testing.assert_array_equal(outputs["x"], _PIXELS)

    signatures = metadata_pb2.SignatureDefMap()
    x = signatures.signature_def["s"].inputs["x"].tensor_shape
    for size in (-1, 3):
        x.dim.add().size = size
    signatures.signature_def["s"].outputs["y"].tensor_shape.unknown_rank = True
    answer = metadata_pb2.GetModelMetadataResponse()
    answer.model_spec.name = "m"
    answer.metadata["signature_def"].Pack(signatures)
    assert service_messages.decode_metadata(answer.SerializeToString()) == {
        "s": SignatureShapes({"x": (None, 3)}, {"y": None})
    }


@pytest.mark.parametrize("message", [b"\x0a", b"\x12\x01a", b"\x0a\x05ab"])
def test_other_messages_are_errors(message):
    with pytest.raises(Exception):  # noqa: B017 (protocol buffers' error has no public name)
        service_messages.decode_metadata(message)
