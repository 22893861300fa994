"""An export in a server that follows the rules of TensorFlow Serving; see `tf_serving`."""

import base64
import concurrent.futures
import dataclasses
import importlib.util
import json
import os
import pathlib
import shutil
import sys
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
import tensorflow as tf

from deeplab.core.options import ServerOptions
from deeplab.export import warm_up
from deeplab.serving.served_network import ServedNetwork
from deeplab.testing import tiny

pytest.importorskip("tensorflow_serving", reason="tensorflow-serving-api is not installed")
import grpc  # noqa: E402
from tensorflow_serving.apis import (  # noqa: E402
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from deeplab.testing import tf_serving, tf_serving_models  # noqa: E402
from deeplab.testing.tf_serving import Batching, Polling  # noqa: E402
from deeplab.testing.tf_serving_models import State  # noqa: E402

_SMALL, _LARGE = tiny.picture(33, 33), tiny.picture(41, 49)
_LABELS = "SemanticPredictions"
_PAIRS = Batching(2, timeout_secs=30)
_PADDED_PAIRS = dataclasses.replace(_PAIRS, pad_variable_length_inputs=True)
_QUICK = Polling(interval_secs=0.02, retries=1, retry_secs=0.05)


def _predict(server, signature, *outputs, version=None, model="deeplab", **inputs):
    """Return the response to a request over gRPC."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    if version:
        request.model_spec.version.value = version
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    request.output_filter.extend(outputs)
    with grpc.insecure_channel(server.grpc_address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        return stub.Predict(request, 60)


def _arrays(response):
    return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}


def _at_once(calls):
    """Run calls in threads of their own; return their results or errors."""
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        running = [pool.submit(call) for call in calls]
        return [each.exception() or each.result() for each in running]


@pytest.fixture(scope="module")
def quick(served):
    """A server whose batches hardly wait for more requests."""
    batching = Batching(8, timeout_secs=0.002)
    with tf_serving.serving({"deeplab": str(served)}, batching) as server:
        yield server


@pytest.fixture(scope="module")
def pairs(served):
    """A server in which two requests make a batch, and wait for each other."""
    with tf_serving.serving({"deeplab": str(served)}, _PADDED_PAIRS) as server:
        yield server


@pytest.fixture(scope="module")
def files():
    return [tiny.png(_SMALL), b"no image", tiny.png(_LARGE), tiny.png(_LARGE)[:300]]


@pytest.mark.slow
def test_one_bad_image_leaves_the_others_of_its_batch_unharmed(quick, pairs, files):
    calls = [
        lambda file=file: _arrays(_predict(pairs, "serving_png", image_bytes=[file]))
        for file in (files[0], files[1])
    ]
    good, bad = _at_once(calls)
    assert good["Status"] == 0
    assert bad["Status"] == 2
    assert bad["label_png_bytes"] == [b""]
    expected = _arrays(_predict(quick, "serving_png", image_bytes=[files[0]]))
    assert good["label_png_bytes"] == expected["label_png_bytes"]


@pytest.mark.slow
def test_files_of_different_sizes_share_a_batch(quick, files):
    found = _arrays(_predict(quick, "serving_bytes", image_bytes=files))
    np.testing.assert_array_equal(found["Status"], [0, 2, 0, 3])
    np.testing.assert_array_equal(found["ImageSize"], [(33, 33), (0, 0), (41, 49), (0, 0)])
    for index, image in ((0, _SMALL), (2, _LARGE)):
        height, width = image.shape[:2]
        pixels = _arrays(_predict(quick, "serving_labels", ImageTensor=image[np.newaxis]))
        np.testing.assert_array_equal(found[_LABELS][index, :height, :width], pixels[_LABELS][0])


@pytest.mark.slow
def test_with_padding_pixels_of_different_sizes_get_the_largest_size(quick, pairs):
    calls = [
        lambda image=image: _arrays(_predict(pairs, "serving_labels", ImageTensor=image[None]))
        for image in (_SMALL, _LARGE)
    ]
    small, large = _at_once(calls)
    # The server does not crop.
    assert small[_LABELS].shape == large[_LABELS].shape == (1, *_LARGE.shape[:2])
    expected = _arrays(_predict(quick, "serving_labels", ImageTensor=_LARGE[None]))
    np.testing.assert_array_equal(large[_LABELS], expected[_LABELS])


def test_without_padding_requests_of_different_shapes_fail_together(tmp_path):
    model = tmp_path / "deeplab"
    model.mkdir()
    _write_version(model, 1)
    with tf_serving.serving({"deeplab": str(model)}, _PAIRS) as server:

        def ask(*sizes):
            return _at_once(
                [
                    lambda size=size: _predict(server, "", x=np.full((1, size), size, np.float32))
                    for size in sizes
                ]
            )

        for size, response in zip((3, 3), ask(3, 3), strict=True):
            np.testing.assert_array_equal(_arrays(response)["y"], [[size + 1] * size])
        for error in ask(3, 4):
            assert isinstance(error, grpc.RpcError)
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert "different shapes of x" in error.details()


@pytest.mark.slow
def test_the_two_interfaces_give_the_same(quick, files):
    address = f"{quick.rest_address}/v1/models/deeplab"
    encoded = {"b64": base64.b64encode(files[0]).decode()}
    png = _arrays(_predict(quick, "serving_png", "label_png_bytes", image_bytes=files[:1]))
    (expected,) = png["label_png_bytes"]
    for body in ({"instances": [{"image_bytes": encoded}]}, {"instances": [encoded]}):
        (row,) = _post(f"{address}:predict", signature_name="serving_png", **body)["predictions"]
        assert row["Status"] == 0
        assert base64.b64decode(row["label_png_bytes"]["b64"]) == expected
    body = {"signature_name": "serving_png", "inputs": {"image_bytes": [encoded]}}
    outputs = _post(f"{address}/versions/1:predict", **body)["outputs"]
    assert base64.b64decode(outputs["label_png_bytes"][0]["b64"]) == expected
    # A signature with one output gives it without its name.
    body = {"signature_name": "serving_labels", "instances": [_SMALL.tolist()]}
    labels = _post(f"{address}:predict", **body)["predictions"]
    np.testing.assert_array_equal(labels[0], tf.io.decode_png(expected).numpy()[..., 0])


def _post(address, **body):
    request = urllib.request.Request(address, json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def _get(address):
    with urllib.request.urlopen(address, timeout=60) as response:
        return json.load(response)


@pytest.mark.slow
def test_both_interfaces_tell_state_and_signatures(quick):
    address = f"{quick.rest_address}/v1/models/deeplab"
    (state,) = _get(address)["model_version_status"]
    assert (state["version"], state["state"]) == ("1", "AVAILABLE")
    found = _get(f"{address}/metadata")["metadata"]["signature_def"]["signature_def"]
    assert found["serving_png"]["inputs"]["image_bytes"]["dtype"] == "DT_STRING"
    with grpc.insecure_channel(quick.grpc_address) as channel:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "deeplab"
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        (status,) = stub.GetModelStatus(request, 60).model_version_status
        assert (status.version, status.state) == (1, State.AVAILABLE)
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = "deeplab"
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        packed = stub.GetModelMetadata(request, 60).metadata["signature_def"]
        signatures = get_model_metadata_pb2.SignatureDefMap()
        assert packed.Unpack(signatures)
        assert set(signatures.signature_def) >= {"serving_default", "serving_png"}


@pytest.mark.parametrize(
    ("arguments", "inputs", "code", "message"),
    [
        ({"signature": "nothing"}, {"x": [1.0]}, "INVALID_ARGUMENT", "no signature nothing"),
        ({"signature": ""}, {"y": [1.0]}, "INVALID_ARGUMENT", r"inputs \['y'\] in place of"),
        ({"signature": ""}, {"x": [1]}, "INVALID_ARGUMENT", "type int32 in place of float32"),
        ({"signature": "", "version": 7}, {"x": [1.0]}, "NOT_FOUND", "no version 7"),
        ({"signature": "", "model": "other"}, {"x": [1.0]}, "NOT_FOUND", "no model 'other'"),
    ],
)
def test_requests_that_do_not_fit_are_errors(adder, arguments, inputs, code, message):
    with pytest.raises(grpc.RpcError, match=message) as error:
        _predict(adder, **arguments, **inputs)
    assert error.value.code().name == code


def test_bad_requests_of_the_rest_interface_are_errors(adder):
    address = f"{adder.rest_address}/v1/models/deeplab"
    for body in ({}, {"instances": []}, {"inputs": {"x": ["a"]}}, {"instances": [[1], [1, 2]]}):
        with pytest.raises(urllib.error.HTTPError) as error:
            _post(f"{address}:predict", **body)
        assert error.value.code == 400
        assert json.load(error.value)["error"]
    with pytest.raises(urllib.error.HTTPError) as error:
        _get(f"{adder.rest_address}/v1/models/other")
    assert error.value.code == 404


def _write_version(
    model: pathlib.Path, number: int, *, warm_up_signature: str = "", warm_up_type=np.float32
) -> None:
    """Add a version that adds its number; as exports do, aside and renamed."""
    module = tf.Module()
    module.added = tf.Variable(float(number))

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, "x")])
    def add(x):
        return {"y": x + module.added}

    aside = model / ".aside"
    tf.saved_model.save(module, str(aside), signatures={"serving_default": add})
    if warm_up_signature:
        request = warm_up.Request(warm_up_signature, {"x": np.zeros(1, warm_up_type)})
        warm_up.write(str(aside), "deeplab", [request])
    os.rename(aside, model / str(number))


@pytest.fixture(scope="module")
def adder(tmp_path_factory):
    """A server of a model without a network."""
    model = tmp_path_factory.mktemp("adder") / "deeplab"
    model.mkdir()
    _write_version(model, 1)
    with tf_serving.serving({"deeplab": str(model)}, polling=_QUICK) as server:
        yield server


def _sum(server):
    response = _predict(server, "", x=[0.5])
    return response.model_spec.version.value, tf.make_ndarray(response.outputs["y"])[0]


def test_a_version_whose_warm_up_fails_leaves_the_one_before_in_place(tmp_path):
    model = tmp_path / "deeplab"
    model.mkdir()
    _write_version(model, 1, warm_up_signature="serving_default")
    with tf_serving.serving({"deeplab": str(model)}, polling=_QUICK) as server:
        _write_version(model, 2, warm_up_signature="nothing")
        message = server.models["deeplab"].wait(2, State.END)
        assert "no signature nothing" in message
        assert _sum(server) == (1, 1.5)
        # A session would convert the numbers.
        _write_version(model, 3, warm_up_signature="serving_default", warm_up_type=np.int64)
        message = server.models["deeplab"].wait(3, State.END)
        assert "x has the type int64 in place of float32" in message
        assert _sum(server) == (1, 1.5)
        # The next one that is fine takes its place.
        _write_version(model, 10)
        server.models["deeplab"].wait(1, State.END)
        assert _sum(server) == (10, 10.5)
        # It is not loaded again when its folder is replaced.
        shutil.rmtree(model / "10")
        _write_version(model, 10, warm_up_signature="nothing")
        time.sleep(5 * _QUICK.interval_secs)
        assert _sum(server) == (10, 10.5)


def test_a_version_that_fails_is_tried_again_a_few_times(tmp_path, monkeypatch):
    model = tmp_path / "deeplab"
    (model / "1").mkdir(parents=True)
    tried = []

    def fail(number, *_):
        tried.append(number)
        raise ValueError("damaged")

    monkeypatch.setattr(tf_serving_models, "Version", fail)
    polling = Polling(interval_secs=0.005, retries=5, retry_secs=0)
    with tf_serving.serving({"deeplab": str(model)}, polling=polling, wait=False):
        time.sleep(0.3)
    assert tried == [1] * 6


def test_the_version_before_comes_back_when_the_new_one_is_moved_away(tmp_path):
    model = tmp_path / "deeplab"
    model.mkdir()
    _write_version(model, 1)
    _write_version(model, 2)
    with tf_serving.serving({"deeplab": str(model)}, polling=_QUICK) as server:
        assert _sum(server) == (2, 2.5)
        os.rename(model / "2", tmp_path / "2")
        server.models["deeplab"].wait(2, State.END)
        assert _sum(server) == (1, 1.5)


def test_no_request_fails_while_a_new_version_takes_over(tmp_path):
    model = tmp_path / "deeplab"
    model.mkdir()
    _write_version(model, 1)

    begun = threading.Barrier(5, timeout=60)

    def ask():
        found = [_sum(server)]
        begun.wait()
        while found[-1] != (3, 3.5):
            found.append(_sum(server))
        return found

    with (
        tf_serving.serving({"deeplab": str(model)}, Batching(4), polling=_QUICK) as server,
        concurrent.futures.ThreadPoolExecutor(4) as pool,
    ):
        running = [pool.submit(ask) for _ in range(4)]
        begun.wait()
        for number in (2, 3):
            _write_version(model, number)
            server.models["deeplab"].wait(number)
        results = [each.result(60) for each in running]
    for found in results:
        assert found == sorted(found)
        assert found[0] == (1, 1.5)
        assert all(value == version + 0.5 for version, value in found)


@pytest.mark.slow
def test_the_clients_of_this_project_get_the_labels_by_both_interfaces(quick):
    """They write and read the protocol buffers without the package that defines them."""
    expected = _arrays(_predict(quick, "serving_labels", ImageTensor=_LARGE[None]))[_LABELS][0]
    for address in (quick.grpc_address, quick.rest_address):
        network = ServedNetwork(ServerOptions(server=address, model_name="deeplab"))
        np.testing.assert_array_equal(network.predict(_LARGE), expected)
        assert network.num_classes == tiny.DATASET.num_classes


@pytest.mark.slow
def test_many_clients_get_the_answers_that_one_gets(quick):
    """The load of benchmarks/serving_load.py, for a moment."""
    path = pathlib.Path(__file__).resolve().parents[3] / "benchmarks" / "serving_load.py"
    spec = importlib.util.spec_from_file_location("serving_load", path)
    load = importlib.util.module_from_spec(spec)
    sys.modules["serving_load"] = load
    spec.loader.exec_module(load)
    result = load.run(quick.grpc_address, "deeplab", clients=16, seconds=2)
    assert len(result.seconds) >= 16
    assert result.is_fine(), result
