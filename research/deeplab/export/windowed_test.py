"""Exports in windows: the numbers of evaluation, for images of any size."""

import cv2
import numpy as np
import pytest
import tensorflow as tf

from deeplab.core.options import CrfOptions, ExportOptions, InferenceOptions, WindowOptions
from deeplab.evaluation import predictor
from deeplab.export import exporter, inference_graph, saved_model, traced_network
from deeplab.testing import tiny
from deeplab.utils import stored_options

_WINDOW = WindowOptions(size=(25, 40), overlap=0.3)
# Not smaller than the crop size, to which an export without windows pads.
_LARGER = WindowOptions(size=(33, 40), overlap=0.3)
# Larger than the window in both directions, in one, and in none.
_SIZES = ((50, 71), (60, 33), (21, 64), (20, 30))


@pytest.fixture(scope="module", autouse=True)
def _unoptimized():
    with tiny.unoptimized():
        yield


@pytest.fixture(scope="module")
def net():
    return tiny.shared_network()


def _padded(images):
    """Pad images of one size as evaluation does."""
    size = np.maximum(images.shape[1:3], tiny.OPTIONS.crop_size)
    padded = np.full((len(images), *size, 3), 127.5, np.float32)
    padded[:, : images.shape[1], : images.shape[2]] = images
    return padded


def _predictor(net, inference):
    return predictor.NetworkPredictor(tiny.OPTIONS, inference, net=net)


def _evaluated(network, images):
    """Return probabilities and labels as evaluation finds them."""
    count, height, width = images.shape[:3]
    sizes = np.tile((height, width), (count, 1))
    padded = _padded(images)
    with tiny.eager():
        probabilities = network.probabilities(padded, sizes).numpy()[:, :height, :width]
        if not network.inference.crf:
            return probabilities, probabilities.argmax(axis=-1)
        return probabilities, network(padded, sizes)[:, :height, :width]


@pytest.mark.slow
@pytest.mark.parametrize(
    "inference",
    [
        InferenceOptions(window=_WINDOW),
        InferenceOptions(eval_scales=(0.5,), add_flipped_images=True, window=_WINDOW),
    ],
    ids=["one", "scales"],
)
def test_a_graph_gives_what_evaluation_gives(net, inference):
    images_spec = tf.TensorSpec((None, None, None, 3), tf.uint8)
    traced = traced_network.TracedNetwork(net)

    @tf.function(input_signature=[images_spec], autograph=False)
    def graph(images):
        outputs = inference_graph.predict_outputs(traced, images, inference, by_cells=True)
        return outputs, inference_graph.labels_in_windows(traced, images, inference)

    network = _predictor(net, inference)
    for size in _SIZES:
        images = np.stack([tiny.picture(*size, seed) for seed in range(2)])
        outputs, labels = graph(tf.constant(images))
        probabilities, expected = _evaluated(network, images)
        found = outputs["SemanticProbabilities"]
        np.testing.assert_allclose(found, probabilities, atol=1e-5)
        np.testing.assert_allclose(tf.reduce_sum(found, axis=-1), 1, atol=1e-5)
        assert np.mean(labels == expected) > 0.999
        np.testing.assert_array_equal(labels, outputs["SemanticPredictions"])
        raw = outputs["RawSemanticProbabilities"]
        np.testing.assert_array_equal(raw[:, : size[0], : size[1]], found)


@pytest.mark.slow
def test_every_signature_predicts_images_of_any_size_in_windows(net, tmp_path):
    inference = InferenceOptions(window=_WINDOW, crf=CrfOptions(iterations=1))
    with tiny.few_signatures("serving_bytes", "serving_png"):
        path = exporter.export_saved_model(net, str(tmp_path / "export"), inference)
    exported = saved_model.ExportedNetwork(path)
    signatures = exported._loaded.signatures
    network = _predictor(net, inference)
    files = []
    for size in _SIZES:
        image = tiny.picture(*size)
        files.append(tiny.png(image))
        _, expected = _evaluated(network, image[np.newaxis])
        for name in ("serving_default", "serving_labels"):
            outputs = signatures[name](ImageTensor=tf.constant(image)[tf.newaxis])
            assert np.mean(outputs["SemanticPredictions"] == expected) > 0.99
        assert np.mean(exported.predict(image) == expected[0]) > 0.99
    pngs = signatures["serving_png"](image_bytes=tf.constant(files))["label_png_bytes"]
    together = signatures["serving_bytes"](image_bytes=tf.constant(files))
    for index, size in enumerate(_SIZES):
        labels = exported.predict(tiny.picture(*size))
        decoded = cv2.imdecode(np.frombuffer(pngs[index].numpy(), np.uint8), -1)
        np.testing.assert_array_equal(decoded, labels)
        found = together["SemanticPredictions"][index, : size[0], : size[1]]
        np.testing.assert_array_equal(found, labels)
    with pytest.raises(ValueError, match="was exported with windows of its own: leave --window"):
        saved_model.ExportedNetwork(path, window=_WINDOW)


@pytest.mark.slow
@pytest.mark.parametrize("crf", [None, CrfOptions(iterations=1)], ids=["network", "crf"])
def test_an_export_without_windows_is_used_with_them(net, tmp_path, crf):
    with tiny.few_signatures():
        path = exporter.export_saved_model(net, str(tmp_path / "export"), InferenceOptions(crf=crf))
    exported = saved_model.ExportedNetwork(path, window=_LARGER)
    network = _predictor(net, InferenceOptions(crf=crf, window=_LARGER))
    for size in _SIZES:
        image = tiny.picture(*size)
        _, expected = _evaluated(network, image[np.newaxis])
        labels = exported.predict(image)
        assert labels.dtype == np.int32
        assert np.mean(labels == expected[0]) > 0.99


def _stand_in(path, options):
    """Write an export of a network whose class of a pixel is its red channel modulo 4."""

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, "ImageTensor")])
    def serve(images):
        labels = tf.cast(images[..., 0] % 4, tf.int32)
        probabilities = tf.one_hot(labels, 4)
        # Raw ones have padding.
        raw = tf.pad(probabilities, [[0, 0], [0, 9], [0, 8], [0, 0]])
        return {
            "SemanticPredictions": labels,
            "SemanticProbabilities": probabilities,
            "RawSemanticProbabilities": raw,
        }

    tf.saved_model.save(tf.Module(), str(path), signatures=serve)
    stored_options.save(str(path), options)
    return str(path)


def test_windows_of_an_export_are_put_together(tmp_path):
    network = saved_model.ExportedNetwork(
        _stand_in(tmp_path / "export", tiny.OPTIONS), window=_LARGER
    )
    for size in _SIZES:
        image = tiny.picture(*size)
        np.testing.assert_array_equal(network.predict(image), image[..., 0] % 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_resize_value": 33}, "resizes what it is given .*, so --window would resize"),
        ({}, "--window=25,40 is smaller than 33,33, to which --export_path=.* pads images"),
    ],
)
def test_an_export_that_changes_its_windows_is_refused(tmp_path, changes, message):
    path = _stand_in(tmp_path / "export", tiny.OPTIONS.replace(**changes))
    with pytest.raises(ValueError, match=message) as error:
        saved_model.ExportedNetwork(path, window=_WINDOW)
    assert "\n" not in str(error.value)


def test_a_damaged_file_of_options_is_named(tmp_path):
    path = _stand_in(tmp_path / "export", tiny.OPTIONS)
    (tmp_path / "export" / "assets").mkdir(exist_ok=True)
    file = tmp_path / "export" / saved_model.OPTIONS_FILE
    for text in ("[]", "null", '{"inference": 3}', '{"inference": {"crf": {"x": 1}}}'):
        file.write_text(text)
        with pytest.raises(ValueError, match=f"{file} is damaged: ") as error:
            saved_model.ExportedNetwork(path, window=_LARGER)
        assert "\n" not in str(error.value)


@pytest.mark.slow
def test_an_export_without_probabilities_has_no_windows(net, tmp_path):
    options = ExportOptions(add_probabilities=False)
    with tiny.few_signatures():
        path = exporter.export_saved_model(net, str(tmp_path / "export"), options=options)
    with pytest.raises(ValueError, match="--window needs the probabilities of --export_path"):
        saved_model.ExportedNetwork(path, window=_WINDOW)
