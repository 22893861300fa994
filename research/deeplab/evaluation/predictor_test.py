"""Predictions with trained networks."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from deeplab import model
from deeplab.core import dense_crf, networks
from deeplab.core.options import CrfOptions, InferenceOptions, WindowOptions
from deeplab.evaluation import predictor
from deeplab.testing import tiny
from deeplab.utils import checkpoint


@pytest.fixture(scope="module", autouse=True)
def _shallow():
    with tiny.shallow():
        yield


@pytest.fixture(scope="module")
def net():
    return tiny.shared_network()


@pytest.fixture(scope="module")
def tiny_predictor(_shallow):
    return predictor.NetworkPredictor(tiny.OPTIONS)


@pytest.fixture(scope="module")
def path(net, tmp_path_factory):
    return tiny.save(net, tmp_path_factory.mktemp("train"), 7)


@pytest.mark.parametrize(
    "scales, flip",
    [((1.0,), False), pytest.param((0.5, 1.5), True, marks=pytest.mark.slow)],
)
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
    assert tiny_predictor._labels.whole.experimental_get_tracing_count() == 1


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


@pytest.mark.slow
@tiny.eager()
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


@pytest.mark.parametrize(
    "crf",
    [None, pytest.param(CrfOptions(iterations=1), marks=pytest.mark.slow)],
    ids=["network", "crf"],
)
@tiny.eager()
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


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@tiny.eager()
def test_a_network_that_is_trained_in_16_bits_predicts_in_32(net, policy):
    """As in an evaluation of its checkpoint."""
    network = predictor.NetworkPredictor(tiny.OPTIONS, net=net)
    image = tiny.picture(33, 33)[np.newaxis].astype(np.float32)
    expected = network.probabilities(image)
    with networks.precision(net, policy):
        np.testing.assert_array_equal(network.probabilities(image), expected)
        assert net.compute_dtype == policy.removeprefix("mixed_")


def test_a_crf_is_one_of_the_networks_classes():
    crf = CrfOptions(compatibility=np.eye(3).tolist())
    with pytest.raises(ValueError, match="compatibility is a 3x3 matrix, but there are 4 classes"):
        predictor.NetworkPredictor(tiny.OPTIONS, InferenceOptions(crf=crf))


# --- Windows ---

# Larger than the window in both directions, in one, and in none; odd and even sides.
_SIZES = ((50, 71), (64, 33), (21, 40), (20, 30))


def _mean_of_windows(whole, image, window):
    """Return the mean probabilities of windows by brute force, without the padding."""
    height, width = image.shape[:2]
    canvas = np.full((max(height, 33), max(width, 33), 3), 127.5, np.float32)
    canvas[:height, :width] = image
    starts, sides = [], []
    for length, side, stride in zip((height, width), window.size, window.strides, strict=True):
        if length <= side:
            starts.append([0])
            sides.append(max(length, 33))
            continue
        starts.append([*range(0, length - side, stride), length - side])
        sides.append(side)
    ramps = [np.minimum(np.arange(side) + 1, side - np.arange(side)) for side in sides]
    weights = (ramps[0][:, np.newaxis] * ramps[1])[..., np.newaxis].astype(float)
    total, weight = np.zeros((*canvas.shape[:2], 4)), np.zeros((*canvas.shape[:2], 1))
    for y in starts[0]:
        for x in starts[1]:
            place = slice(y, y + sides[0]), slice(x, x + sides[1])
            found = whole.probabilities(canvas[place][np.newaxis])
            total[place] += weights * found[0].numpy()
            weight[place] += weights
    return (total / np.maximum(weight, 1e-9))[:height, :width]


def _batch(seeds=(0, 0, 0, 0)):
    """Return images of `_SIZES`, padded below and right as batches are."""
    batch = np.full((len(_SIZES), 64, 71, 3), 127.5, np.float32)
    for image, (height, width), seed in zip(batch, _SIZES, seeds, strict=True):
        image[:height, :width] = tiny.picture(height, width, seed)
    return batch


@pytest.mark.parametrize(
    ("overlap", "scales", "flip", "run"),
    [
        (0, (1.0,), False, tiny.eager),
        pytest.param(0.5, (1.0,), False, tiny.unoptimized, marks=pytest.mark.slow),
        pytest.param(0.25, (0.5,), True, tiny.unoptimized, marks=pytest.mark.slow),
    ],
    ids=["apart", "traced", "scales"],
)
def test_windows_give_the_mean_of_their_predictions(net, overlap, scales, flip, run):
    window = WindowOptions(size=(25, 40), overlap=overlap)
    inference = InferenceOptions(eval_scales=scales, add_flipped_images=flip)
    whole = predictor.NetworkPredictor(tiny.OPTIONS, inference, net=net)
    inference = dataclasses.replace(inference, window=window)
    network = predictor.NetworkPredictor(tiny.OPTIONS, inference, net=net)
    images = _batch()
    with run():
        probabilities = network.probabilities(images, _SIZES).numpy()
        labels, confidence = network.with_confidence(images, _SIZES)
    for index, (height, width) in enumerate(_SIZES):
        image = images[index, :height, :width]
        with run():
            expected = _mean_of_windows(whole, image, window)
        cut = index, slice(height), slice(width)
        np.testing.assert_allclose(probabilities[cut], expected, atol=1e-5)
        np.testing.assert_allclose(confidence[cut], expected.max(axis=-1), atol=1e-5)
        assert np.mean(labels[cut] == expected.argmax(axis=-1)) > 0.999


@pytest.mark.slow
@tiny.eager()
def test_a_window_that_covers_the_image_changes_nothing(net):
    whole = predictor.NetworkPredictor(tiny.OPTIONS, net=net)
    window = WindowOptions(size=(70, 75))
    network = predictor.NetworkPredictor(tiny.OPTIONS, InferenceOptions(window=window), net=net)
    images = _batch()
    np.testing.assert_array_equal(network(images, _SIZES), whole(images, _SIZES))
    np.testing.assert_array_equal(
        network.probabilities(images, _SIZES), whole.probabilities(images, _SIZES)
    )
    np.testing.assert_array_equal(network(images), whole(images))


@pytest.mark.slow
@tiny.unoptimized()
def test_a_crf_sees_the_mean_of_windows(net):
    crf, window = CrfOptions(iterations=2), WindowOptions(size=(25, 40))
    network = predictor.NetworkPredictor(
        tiny.OPTIONS, InferenceOptions(crf=crf, window=window), net=net
    )
    images = _batch()
    before, after = network.before_and_after_crf(images, _SIZES)
    probabilities = network.probabilities(images, _SIZES).numpy()
    for index, (height, width) in enumerate(_SIZES):
        cut = slice(index, index + 1), slice(height), slice(width)
        refined = dense_crf.refine(images[cut], probabilities[cut], crf)
        assert np.mean(after[cut] == tf.argmax(refined, axis=-1)) > 0.99
        assert np.mean(before[cut] == probabilities[cut].argmax(axis=-1)) > 0.999
    assert np.mean(before != after) > 0.01
    np.testing.assert_array_equal(network(images, _SIZES), after)
    np.testing.assert_array_equal(network.with_confidence(images, _SIZES)[0], after)


def test_one_graph_serves_all_images_in_windows(net):
    window = WindowOptions(size=(20, 20), overlap=0)
    network = predictor.NetworkPredictor(tiny.OPTIONS, InferenceOptions(window=window), net=net)
    for batch, height, width in ((1, 33, 33), (2, 33, 40), (3, 41, 17)):
        images = np.stack([tiny.picture(height, width, seed) for seed in range(batch)])
        assert network(images).shape == (batch, height, width)
    assert network._labels.in_windows.experimental_get_tracing_count() == 1
