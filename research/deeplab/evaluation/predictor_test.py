"""Predictions with trained networks."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab import model
from deeplab.core import dense_crf
from deeplab.core.options import CrfOptions, InferenceOptions
from deeplab.evaluation import predictor
from deeplab.testing import tiny
from deeplab.utils import checkpoint


@pytest.fixture(scope="module", autouse=True)
def _shallow():
    with tiny.shallow():
        yield


@pytest.fixture(scope="module")
def net(_shallow):
    return tiny.network()


@pytest.fixture(scope="module")
def tiny_predictor(_shallow):
    return predictor.NetworkPredictor(tiny.OPTIONS)


@pytest.fixture(scope="module")
def path(net, tmp_path_factory):
    return tiny.save(net, tmp_path_factory.mktemp("train"), 7)


@pytest.mark.parametrize("scales, flip", [((1.0,), False), ((0.5, 1.5), True)])
def test_predictions_are_those_of_the_model(net, path, scales, flip):
    tested = predictor.NetworkPredictor(
        tiny.OPTIONS, InferenceOptions(eval_scales=scales, add_flipped_images=flip)
    )
    tested.restore(path)
    images = tf.constant([tiny.picture(40, 53)], tf.float32)
    expected, _ = model.predict_labels(net, images, scales, flip)
    found = tested(images)
    assert found.dtype == np.int32
    assert len(np.unique(found)) > 1
    # Fused in a graph the arithmetic may differ in the last digit.
    assert np.mean(found == expected) > 0.999


def test_one_graph_serves_all_sizes_batches_and_types(tiny_predictor):
    for batch, height, width in ((1, 33, 33), (2, 33, 40), (3, 50, 17), (1, 64, 64)):
        images = np.stack([tiny.picture(height, width, seed) for seed in range(batch)])
        assert tiny_predictor(images).shape == (batch, height, width)
        assert tiny_predictor(images.astype(np.float32)).shape == (batch, height, width)
    assert tiny_predictor._graph.experimental_get_tracing_count() == 1


def test_each_checkpoint_has_its_own_predictions(net, tiny_predictor, path, tmp_path):
    images = tiny.picture(33, 33)[np.newaxis]
    assert tiny_predictor.restore(path) == 7
    first = tiny_predictor(images)

    other = {name: tf.Variable(value) for name, value in _values(net).items()}
    biases = other["logits/semantic/biases"]
    biases.assign([0, 0, 0, 1e6])
    assert tiny_predictor.restore(checkpoint.save(str(tmp_path), 8, other)) == 8
    assert (tiny_predictor(images) == 3).all()
    tiny_predictor.restore(path)
    np.testing.assert_array_equal(tiny_predictor(images), first)


def _values(net):
    return {name: value.numpy() for name, value in checkpoint.official_variables(net).items()}


def test_what_the_network_leaves_out_of_a_checkpoint_is_told(net, tiny_predictor, tmp_path, caplog):
    decoder = tiny.network(tiny.OPTIONS.replace(decoder_output_stride=(4,), decoder_filters=8))
    variables = _values(net)
    extra = {name: value for name, value in _values(decoder).items() if "decoder/" in name}
    both = {**variables, **extra}
    saved = {name: tf.Variable(value) for name, value in both.items()}
    tiny_predictor.restore(checkpoint.save(str(tmp_path), 1, saved))
    (message,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert f"{len(extra)} variables that the network does not have, such as decoder/" in message
    assert "--decoder_output_stride" in message


def test_what_the_optimizer_keeps_is_nothing_left_out(net, tiny_predictor, tmp_path, caplog):
    slots = ("Momentum", "Adam", "ExponentialMovingAverage")
    variables = _values(net)
    kept = {f"{name}/{slot}": value for name, value in variables.items() for slot in slots}
    saved = {**variables, **kept, "beta1_power": np.float32(0.9)}
    saved = {name: tf.Variable(value) for name, value in saved.items()}
    tiny_predictor.restore(checkpoint.save(str(tmp_path), 1, saved))
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("scales", [(), (0.0,), (1.0, -0.5)])
def test_scales_are_above_zero(scales):
    with pytest.raises(ValueError, match="--eval_scales is .* each above 0"):
        InferenceOptions(eval_scales=scales)


def test_with_a_crf_it_refines_the_networks_probabilities(net, path):
    crf = CrfOptions(iterations=2)
    tested = predictor.NetworkPredictor(tiny.OPTIONS, InferenceOptions(crf=crf))
    tested.restore(path)
    images = np.stack([tiny.picture(33, 33, seed) for seed in range(2)])
    sizes = np.array([(33, 33), (20, 30)])
    before, after = tested.before_and_after_crf(images, sizes)
    own, probabilities = model.predict_labels(net, images)
    assert np.mean(before == own) > 0.999
    for index, (height, width) in enumerate(sizes):
        cut = (slice(index, index + 1), slice(height), slice(width))
        refined = dense_crf.refine(images[cut], tf.constant(probabilities)[cut], crf)
        expected = tf.argmax(refined, axis=-1)[0]
        assert np.mean(after[index, :height, :width] == expected) > 0.99
        assert np.mean(before[index, :height, :width] == expected) < 0.99
        assert not after[index, height:].any()
    np.testing.assert_array_equal(tested(images, sizes), after)
    np.testing.assert_allclose(tested.probabilities(images), probabilities, atol=1e-5)


@pytest.mark.parametrize("crf", [None, CrfOptions(iterations=1)], ids=["network", "crf"])
def test_the_confidence_is_the_probability_of_the_label(net, crf):
    network = predictor.NetworkPredictor(tiny.OPTIONS, InferenceOptions(crf=crf), net=net)
    images = np.stack([tiny.picture(33, 33, seed) for seed in range(2)]).astype(np.float32)
    labels, confidence = network.with_confidence(images)
    assert np.mean(labels == network(images)) > 0.999
    probabilities = network.probabilities(images)
    if crf:
        probabilities = dense_crf.refine(tf.constant(images), probabilities, crf)
    expected = np.take_along_axis(probabilities.numpy(), labels[..., np.newaxis], axis=-1)[..., 0]
    np.testing.assert_allclose(confidence, expected, rtol=1e-5)
    assert confidence.dtype == np.float32
    padded = network.with_confidence(images, [[20, 33], [33, 33]])[1]
    assert padded.shape == (2, 33, 33)


def test_a_crf_is_one_of_the_networks_classes():
    crf = CrfOptions(compatibility=np.eye(3).tolist())
    with pytest.raises(ValueError, match="compatibility is a 3x3 matrix, but there are 4 classes"):
        predictor.NetworkPredictor(tiny.OPTIONS, InferenceOptions(crf=crf))
