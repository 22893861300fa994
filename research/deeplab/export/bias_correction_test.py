"""Corrected models of integers compute, on average, what their networks compute."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab.export import bias_correction, lite_network

pytestmark = pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(
    ("kernel", "strides", "rates"),
    [((1, 1), (1, 1), (1, 1)), ((3, 2), (2, 3), (1, 1)), ((3, 3), (1, 1), (4, 2))],
)
def test_means_of_taps_give_the_mean_of_a_convolution(kernel, strides, rates, padding):
    random = np.random.default_rng(0)
    values = random.normal(size=(9, 10, 3)).astype(np.float32)
    weights = random.normal(size=(*kernel, 3, 5)).astype(np.float32)
    outputs = tf.nn.conv2d(values[np.newaxis], weights, strides, padding, dilations=rates)
    means = bias_correction.tap_means(values, kernel, strides, rates, padding == "SAME")
    np.testing.assert_allclose(
        np.tensordot(means, weights, 3), np.mean(outputs, axis=(0, 1, 2)), atol=1e-5
    )


@pytest.fixture(scope="module")
def models():
    """A network of three convolutions in integers and in floats, and its inputs."""
    random = np.random.default_rng(0)
    inputs = [random.uniform(0, 1, (1, 16, 17, 3)).astype(np.float32) for _ in range(4)]

    def weights(*shape):
        # A large one in each channel makes the steps of the others coarse.
        values = random.normal(size=shape).astype(np.float32)
        values[0, 0, 0] *= 40
        return tf.constant(values)

    first, second, third = weights(3, 3, 3, 8), weights(3, 3, 8, 2), weights(1, 1, 16, 6)

    @tf.function(input_signature=[tf.TensorSpec((1, 16, 17, 3))])
    def network(images):
        found = tf.nn.relu(tf.nn.conv2d(images, first, 2, "SAME") + 1.0)
        found = tf.nn.depthwise_conv2d(found, second, [1] * 4, "SAME") + 2.0
        return tf.nn.conv2d(tf.nn.relu(found), third, 1, "SAME") - 3.0

    def convert(in_integers):
        function = network.get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
        if in_integers:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([each] for each in inputs)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        return converter.convert()

    return convert(True), convert(False), inputs


def _means(model, inputs):
    runner = lite_network.interpreter(model)
    runner.allocate_tensors()
    (given,), (result,) = runner.get_input_details(), runner.get_output_details()
    outputs = []
    for values in inputs:
        runner.set_tensor(given["index"], values)
        runner.invoke()
        outputs.append(runner.get_tensor(result["index"]))
    return np.mean(outputs, axis=(0, 1, 2, 3))


def test_means_come_closer_to_those_of_the_network(models):
    integers, floats, inputs = models
    expected = _means(floats, inputs)
    corrected = bias_correction.correct(integers, floats, inputs)
    assert len(corrected) == len(integers)
    before, after = (
        np.abs(_means(each, inputs) - expected).mean() for each in (integers, corrected)
    )
    assert after < before / 3
    # What is right stays as it is.
    changes = np.frombuffer(corrected, np.uint8) != np.frombuffer(integers, np.uint8)
    assert np.count_nonzero(changes) <= 4 * (8 + 16 + 6)


def test_a_model_of_another_network_stays_as_it_is(models):
    integers, floats, inputs = models
    other = bytearray(floats)
    for convolution in bias_correction._convolutions(other):
        convolution.weights[:] *= 2
    assert bias_correction.correct(integers, bytes(other), inputs) == integers
    assert bias_correction.correct(floats, floats, inputs) == floats
