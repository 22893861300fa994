"""Warm-up requests are what TensorFlow Serving reads."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab.export import warm_up

_REQUESTS = [
    warm_up.Request("serving_default", {"ImageTensor": np.arange(600, dtype=np.uint8)}),
    warm_up.Request("serving_bytes", {"image_bytes": np.array([b"\0a", b""], object)}),
]


def test_requests_are_read_as_they_were_written(tmp_path):
    warm_up.write(str(tmp_path), "deeplab", _REQUESTS)
    for request, expected in zip(warm_up.read(str(tmp_path)), _REQUESTS, strict=True):
        assert request.signature == expected.signature
        assert request.inputs.keys() == expected.inputs.keys()
        for name, value in request.inputs.items():
            assert value.dtype == expected.inputs[name].dtype
            np.testing.assert_array_equal(value, expected.inputs[name])


def test_the_bytes_are_those_of_the_protocol():
    request = warm_up.Request("s", {"x": np.zeros(0, np.uint8)})
    tensor = tf.make_tensor_proto(np.zeros(0, np.uint8)).SerializeToString()
    entry = b"\x0a\x01x\x12" + bytes([len(tensor)]) + tensor
    spec = b"\x0a\x01m\x1a\x01s"
    message = b"\x0a" + bytes([len(spec)]) + spec + b"\x12" + bytes([len(entry)]) + entry
    log = b"\x0a" + bytes([len(message)]) + message
    assert warm_up._encode(request, "m") == b"\x32" + bytes([len(log)]) + log


def test_the_package_of_tensorflow_serving_reads_them(tmp_path):
    prediction_log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    warm_up.write(str(tmp_path), "deeplab", _REQUESTS)
    records = tf.data.TFRecordDataset([str(tmp_path / warm_up.FILE)])
    for record, expected in zip(records, _REQUESTS, strict=True):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        assert request.model_spec.name == "deeplab"
        assert request.model_spec.signature_name == expected.signature
        for name, value in expected.inputs.items():
            np.testing.assert_array_equal(tf.make_ndarray(request.inputs[name]), value)


def test_requests_of_others_are_read(tmp_path):
    """The default signature needs no name, and a server runs other kinds of requests, too."""
    prediction_log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    path = tmp_path / warm_up.FILE
    path.parent.mkdir()
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0]))
    log.log_metadata.model_spec.name = "other"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(log.SerializeToString())
    (request,) = warm_up.read(str(tmp_path))
    assert request.signature == ""
    np.testing.assert_array_equal(request.inputs["x"], [1])
    log.classify_log.request.model_spec.name = "other"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(log.SerializeToString())
    with pytest.raises(warm_up.OtherRequest, match=f"{path}, record 1 is a request to classify"):
        warm_up.read(str(tmp_path))


def test_no_file_has_no_requests(tmp_path):
    assert warm_up.read(str(tmp_path)) == []


@pytest.mark.parametrize("record", [b"\x08\x01", b"\x32\x05ab", b"", b"\x32"])
def test_other_records_are_named(tmp_path, record):
    path = tmp_path / warm_up.FILE
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(record)
    with pytest.raises(ValueError, match="record 1: no request to predict"):
        warm_up.read(str(tmp_path))


def test_a_damaged_file_is_named(tmp_path):
    warm_up.write(str(tmp_path), "deeplab", _REQUESTS)
    path = tmp_path / warm_up.FILE
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match=f"{path} is damaged"):
        warm_up.read(str(tmp_path))
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueError, match=f"{path} cannot be read: .*Is a directory"):
        warm_up.read(str(tmp_path))
