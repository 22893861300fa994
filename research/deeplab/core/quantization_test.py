"""Quantized networks against the official ones, and what quantizers promise."""

import functools
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab import common, model
from deeplab.core import (
    containers,
    joints,
    keras_internals,
    layers,
    normalization,
    quantization,
    quantization_tables,
    training_hooks,
    xception,
)
from deeplab.testing import golden, tiny
from deeplab.utils import checkpoint

# The official configurations, and what |a - b| of the probabilities may be at most and on average
# with the rounding of TensorFlow 1. Ranges before training make ties of what is added, and an
# error of 1e-7 in one value decides them: it moves our own probabilities by 1e-3 on average in the
# first and by 3e-4 in the second network whose bounds are wide.
_CONFIGURATIONS = {
    "mobilenet_v2_dm0.5_decoder4": (
        {"depth_multiplier": 0.5, "decoder_output_stride": (4,)},
        (1e-6, 1e-7),
    ),
    "mobilenet_v2_dm0.5": ({"depth_multiplier": 0.5}, (1e-6, 1e-7)),
    "mobilenet_v3_small_seg": ({"model_variant": "mobilenet_v3_small_seg"}, (3e-3, 1e-4)),
    "xception_41_bounded": (
        {"model_variant": "xception_41", "use_bounded_activation": True},
        (6e-3, 5e-4),
    ),
}


def _network(name: str) -> model.DeepLab:
    options = _CONFIGURATIONS[name][0]
    return model.DeepLab(
        common.ModelOptions(quantize=True, crop_size=(65, 65), **options), random_weights=False
    )


def _cases() -> list:
    first, *others = _CONFIGURATIONS
    return [first, *(pytest.param(name, marks=pytest.mark.slow) for name in others)]


def _round_like_tensorflow_1(x, least, greatest, num_bits, narrow_range=False):
    """Its fake quantization, operation for operation: it divides, and adds the least number."""
    first, last = (1.0 if narrow_range else 0.0), 2.0**num_bits - 1.0
    scale = (greatest - least) / (last - first)
    zero = tf.clip_by_value(tf.floor(first - least / scale + 0.5), first, last)
    low, high = (first - zero) * scale, (last - zero) * scale
    shifted = tf.maximum(tf.minimum(x, high), low) - low
    return tf.floor(shifted / scale + 0.5) * scale + low


@pytest.mark.slow
@pytest.mark.parametrize("name", _cases())
def test_official_networks(name):
    """Names and shapes of all variables, in training too, and the probabilities."""
    expected, arrays = golden.quantized(name)
    net = _network(name)
    variables = checkpoint.official_variables(net)
    ranges = _check_ranges(net, variables, expected)
    golden.assign({key: value for key, value in variables.items() if key not in ranges})
    for key, value in ranges.items():
        if "/weights_quant/" in key:
            value.assign(-1.0 if key.endswith("/min") else 1.0)
    with mock.patch.object(
        tf.quantization, "fake_quant_with_min_max_vars", _round_like_tensorflow_1
    ):
        labels, probabilities = model.predict_labels(net, tf.constant(arrays["image"]))
    error = np.abs(np.asarray(probabilities)[:, ::4, ::4] - arrays["prob"])
    most, mean = _CONFIGURATIONS[name][1]
    assert np.max(error) <= most
    assert np.mean(error) <= mean
    np.testing.assert_array_equal(labels, arrays["pred"])


@pytest.mark.slow
def test_an_official_resnet(monkeypatch):
    """Its ranges are all different and cut values off; see `nas_network_test`."""
    expected, arrays = golden.quantized("resnet_v1_50_beta_os32")
    monkeypatch.setattr(quantization, "_BITS", 16)
    options = common.ModelOptions(
        model_variant="resnet_v1_50_beta", output_stride=32, quantize=True, crop_size=(33, 33)
    )
    net = model.DeepLab(options, random_weights=False)
    variables = checkpoint.official_variables(net)
    _check_ranges(net, variables, expected)
    golden.assign(variables)
    labels, probabilities = model.predict_labels(net, tf.constant(arrays["image"], tf.float32))
    error = np.abs(np.asarray(probabilities)[:, ::4, ::4] - arrays["prob"])
    assert np.max(error) <= 1e-4
    assert np.mean(error) <= 1e-5
    np.testing.assert_array_equal(labels, arrays["pred"])


def _check_ranges(net: model.DeepLab, variables: dict, expected: dict) -> dict:
    """Names and shapes of all that quantizers have; gives the ranges."""
    ranges = {key: value for key, value in variables.items() if key.endswith(("/min", "/max"))}
    assert {key: tuple(value.shape) for key, value in ranges.items()} == expected["eval"]
    trained = ranges | training_hooks.begin_training(net)
    assert {key: tuple(value.shape) for key, value in trained.items()} == expected["train"]
    return ranges


def _layer(quantize: bool, decay: float = 0.9, **options) -> layers.Conv2D:
    """A small convolution with variables that differ from channel to channel."""
    layer = layers.Conv2D(
        6, 3, batch_norm=normalization.BatchNormOptions(decay, 1e-3), name="conv", **options
    )
    if quantize:
        quantization.attach(layer)
    layer(tf.zeros((1, 9, 9, 4)))
    norm = layer.batch_norm
    variables = layer.kernel, norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance
    for index, variable in enumerate(variables):
        value = tf.random.stateless_uniform(variable.shape, seed=(0, index), minval=0.5)
        variable.assign(value - 0.75 if variable is layer.kernel else value)
    return layer


_INPUT = tf.random.stateless_normal((2, 9, 9, 4), seed=(1, 1))


def test_training_without_rounding_is_batch_norm():
    """The fold and its correction cancel: outputs, gradients and moving averages."""
    results = []
    for quantize in (False, True):
        layer = _layer(quantize, activation=tf.nn.relu)
        training_hooks.begin_training(
            layer, training_hooks.TrainingSchedule(is_rounding=lambda: tf.constant(False))
        )
        learned = [variable.value for variable in layer.trainable_weights]
        with tf.GradientTape() as tape:
            y = layer(_INPUT, training=True)
            loss = tf.reduce_sum(y**3)
        moving = layer.batch_norm.moving_mean, layer.batch_norm.moving_variance
        results.append([y, *tape.gradient(loss, learned), *moving])
    for plain, folded in zip(*results, strict=True):
        np.testing.assert_allclose(folded, plain, rtol=1e-4, atol=1e-4)


def test_a_weight_is_rounded_alike_whatever_the_batch():
    """Its scale is that of the moving averages, which here stand still, as in inference."""
    layer = _layer(True, decay=1.0)
    training_hooks.begin_training(layer)
    rounding, seen = tf.quantization.fake_quant_with_min_max_vars, []

    def watch(*args, **kwargs):
        seen.append(rounding(*args, **kwargs))
        return seen[-1]

    with mock.patch.object(tf.quantization, "fake_quant_with_min_max_vars", watch):
        outputs = [layer(_INPUT * factor, training=True) for factor in (1.0, 3.0)]
        layer(_INPUT, training=False)
    first, _, second, _, inference, _ = seen
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, inference)
    # Batch norm takes the factor away again.
    np.testing.assert_allclose(outputs[0], outputs[1], atol=0.1)


@functools.cache
def _quantizer(name: str) -> quantization.Quantizer:
    layer = quantization.Quantizer(name)
    layer(tf.zeros((1,)))
    return layer


@pytest.mark.parametrize(("name", "count"), [("act_quant", 256), ("weights_quant", 255)])
def test_values_become_so_many_numbers_and_zero_is_one(name, count):
    layer = _quantizer(name)
    training_hooks.begin_training(layer)
    x = tf.linspace(-1.0, 1.54, 10001) if count == 256 else tf.linspace(-2.0, 2.0, 10001)
    y = layer(x, training=True).numpy()
    assert len(np.unique(y)) == count
    assert 0.0 in y
    step = 4.0 / (count - 1)
    assert np.max(np.abs(y - x)) <= step
    np.testing.assert_array_equal(layer(x), y)


def test_gradients_pass_inside_the_range_only():
    layer = _quantizer("act_quant")
    for end, value in zip(layer.ends, (0.0, 6.0), strict=True):
        end.assign(value)
    x = tf.constant([-0.1, 0.01, 3.0, 6.1])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    np.testing.assert_array_equal(tape.gradient(y, x), [0.0, 1.0, 1.0, 0.0])


def test_ranges_are_averages_of_the_batches_ranges_and_hold_zero():
    layer = quantization.Quantizer("conv_quant")
    layer(tf.zeros((1,)))
    slots = training_hooks.begin_training(layer)
    batches = [(-1.0, 3.0), (-2.0, 1.0), (0.5, 4.0)]
    for batch in batches:
        layer(tf.constant(batch), training=True)
    # What was seen k steps ago counts 0.999 to the power of k.
    counts = 0.999 ** np.arange(3)[::-1]
    low = np.average([-1.0, -2.0, 0.0], weights=counts)
    high = np.average([3.0, 1.0, 4.0], weights=counts)
    np.testing.assert_allclose([float(end.value) for end in layer.ends], [low, high], rtol=1e-4)
    assert float(next(v for k, v in slots.items() if k.endswith("max/local_step"))) == 3.0


def test_ranges_of_weights_are_those_of_the_last_step():
    layer = quantization.Quantizer("weights_quant")
    layer(tf.zeros((1,)))
    training_hooks.begin_training(layer)
    for batch in ((-1.0, 3.0), (-2.0, 1.0)):
        layer(tf.constant(batch), training=True)
    assert [float(end.value) for end in layer.ends] == [-2.0, 1.0]


def test_ranges_are_learned_before_values_are_rounded():
    layer = quantization.Quantizer("act_quant")
    layer(tf.zeros((1,)))
    active = tf.Variable(False)
    training_hooks.begin_training(
        layer, training_hooks.TrainingSchedule(is_rounding=lambda: active)
    )
    call = tf.function(functools.partial(layer, training=True))
    x = tf.linspace(0.0, 9.0, 1000)
    np.testing.assert_array_equal(call(x), x)
    np.testing.assert_allclose(float(layer.ends[1].value), 9.0, rtol=1e-4)
    active.assign(True)
    assert len(np.unique(call(x))) <= 256


def test_dropout_is_rounded_in_training_and_nothing_otherwise():
    layer = joints.Dropout(0.5)
    sites = [
        quantization.Site(
            r"\.before", "mul/activation_Mul_quant", only_in_training=True, divisor=0.5
        ),
        quantization.Site(r"\.after", "mul_1/activation_Mul_quant", only_in_training=True),
    ]
    quantization.attach(layer, sites)
    x = tf.linspace(0.0, 1.0, 1000)
    np.testing.assert_array_equal(layer(x), x)
    assert not layer.weights
    slots = training_hooks.begin_training(layer)
    assert len(slots) == 12
    y = layer(x, training=True).numpy()
    assert len(np.unique(y)) <= 256
    kept = y > 0
    assert 0.3 < np.mean(kept) < 0.7
    np.testing.assert_allclose(y[kept], 2 * x.numpy()[kept], atol=2 / 255)


def test_a_quantizer_without_a_place_is_refused():
    layer = layers.Conv2D(6, 3, name="conv")
    sites = [quantization.Site(r"conv2/\.linear", "act_quant")]
    with pytest.raises(
        ValueError, match=r"conv has no place for the quantizer act_quant: no layer"
    ):
        quantization.attach(layer, sites)


@pytest.mark.slow
def test_every_site_of_the_tables_has_a_place_only_where_it_belongs():
    """The tables of one network are refused by another."""
    options = common.ModelOptions(depth_multiplier=0.1, aspp_with_concat_projection=False)
    net = model.DeepLab(options, random_weights=False)
    for sites in (
        quantization_tables.MOBILENET_V3,
        quantization_tables.resnet_v1(50),
        quantization_tables.xception(xception.DEPTHS["xception_41"], bounded_activation=False),
        quantization_tables.heads(options.replace(aspp_with_concat_projection=True)),
    ):
        with pytest.raises(ValueError, match="has no place for the quantizer"):
            quantization.attach(net, sites)


def test_two_quantizers_of_one_name_are_refused():
    layer = containers.Scope(
        "scope", layers.Conv2D(6, 3, name=".one"), layers.Conv2D(6, 3, name=".two")
    )
    with pytest.raises(ValueError, match=r"act_quant sits at \.one/\.linear and at \.two/"):
        quantization.attach(layer)


def test_a_site_can_depend_on_layers_beside_it():
    def names(*convolutions):
        layer = containers.Scope(
            "scope", *(layers.Conv2D(6, 1, name=name) for name in convolutions)
        )
        sites = [
            quantization.Site(r"last/\.linear", "given_quant", given="../first"),
            quantization.Site(r"last/\.linear", None, unless="../second"),
        ]
        quantization.attach(layer, sites)
        return [variable.path for variable in layer.weights if "last/" in variable.path]

    assert "scope/last/given_quant/min" in names("first", "last")
    assert "scope/last/act_quant/min" in names("second", "last")
    assert names("last") == ["scope/last/weights_quant/min", "scope/last/weights_quant/max"]


def test_training_has_to_be_started():
    layer = quantization.Quantizer("act_quant")
    with pytest.raises(RuntimeError, match="begin_training"):
        layer(tf.zeros((1,)), training=True)


@pytest.mark.slow
def test_networks_have_no_quantizers_unless_they_are_to():
    def count(**options):
        net = model.DeepLab(
            common.ModelOptions(depth_multiplier=0.1, **options), random_weights=False
        )
        found = sum(
            isinstance(layer, quantization.Quantizer) for layer in keras_internals.sublayers(net)
        )
        return found, net

    assert count()[0] == 0
    found, net = count(quantize=True)
    assert found == 122
    assert net.options.quantize


@pytest.mark.slow
def test_ranges_are_kept_in_keras_files(tmp_path):
    """Those of every kind of quantizer: Keras passes over attributes that its own layers have."""
    with tiny.shallow():
        net = model.DeepLab(
            common.ModelOptions(depth_multiplier=0.1, aspp_convs_filters=8, quantize=True)
        )
    for index, variable in enumerate(net.weights):
        variable.assign(tf.fill(variable.shape, float(index)))
    net.save(tmp_path / "net.keras")
    with tiny.shallow():
        loaded = keras.models.load_model(tmp_path / "net.keras")
    for ours, theirs in zip(loaded.weights, net.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)
