"""The whole network: scales, predictions, options, and what Keras expects of a model."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab import common, model
from deeplab.core import feature_extractor, keras_internals, layers, normalization
from deeplab.input_preprocess import Preprocessing
from deeplab.testing import golden, tiny
from deeplab.utils import checkpoint

_SMALL = {"depth_multiplier": 0.1, "aspp_convs_filters": 8, "num_classes": 3}


# Of networks that tests do not change.
_BACKBONES = tiny.SharedBackbones()


@pytest.fixture(scope="module", autouse=True)
def _shallow():
    with tiny.shallow():
        yield


def _new_network(**options) -> model.DeepLab:
    net = model.DeepLab(common.ModelOptions(**{**_SMALL, **options}), random_weights=False)
    golden.assign(checkpoint.official_variables(net))
    return net


@functools.lru_cache(maxsize=8)
def _network(**options) -> model.DeepLab:
    """A network that tests do not change."""
    with _BACKBONES.used():
        return _new_network(**options)


def _images(batch: int = 1, height: int = 65, width: int = 49) -> tf.Tensor:
    random = np.random.default_rng(0)
    return tf.constant(random.uniform(0, 255, (batch, height, width, 3)), tf.float32)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"output_stride": 16}, (5, 4)),
        ({"output_stride": 8}, (9, 7)),
        ({"output_stride": 32}, (3, 2)),
        ({"output_stride": 4}, (17, 13)),
        ({"output_stride": 16, "decoder_output_stride": (8, 4)}, (17, 13)),
        ({"output_stride": 16, "image_pyramid": (0.5, 1.0)}, (5, 4)),
        ({"output_stride": 16, "image_pyramid": (1.0, 1.5)}, (7, 5)),
    ],
)
def test_logits_lie_on_the_grid_of_their_stride(options, size):
    assert _network(**options)(_images()).shape == (1, *size, 3)


@pytest.mark.parametrize("merge_method", ["max", "avg"])
def test_a_pyramid_merges_its_scales(merge_method):
    net = _network(image_pyramid=(0.5, 1.0), merge_method=merge_method)
    merged, scales = net.multi_scale(_images())
    assert set(scales) == {0.5, 1.0}
    merge = np.maximum if merge_method == "max" else lambda a, b: (a + b) / 2
    np.testing.assert_allclose(merged, merge(*map(np.asarray, scales.values())), rtol=1e-6)


def test_one_scale_of_one_is_no_pyramid():
    np.testing.assert_array_equal(_network(image_pyramid=(1.0,))(_images()), _network()(_images()))


def test_flipped_images_give_flipped_labels():
    net, images = _network(), _images()
    settings = {"eval_scales": (0.5, 1.0), "add_flipped_images": True}
    labels, probabilities = model.predict_labels(net, images, **settings)
    flipped, flipped_probabilities = model.predict_labels(net, images[:, :, ::-1], **settings)
    np.testing.assert_allclose(probabilities[:, :, ::-1], flipped_probabilities, atol=1e-5)
    assert np.mean(labels[:, :, ::-1] == flipped) > 0.999


def test_scales_and_flips_are_averaged():
    net, images = _network(), _images()
    _, one = model.predict_labels(net, images)
    _, half = model.predict_labels(net, images, eval_scales=(0.5,))
    _, both = model.predict_labels(net, images, eval_scales=(0.5, 1.0))
    np.testing.assert_allclose(both, (one + half) / 2, atol=1e-6)


@pytest.mark.parametrize("upsampled", [True, False])
@pytest.mark.parametrize("settings", [{}, {"eval_scales": (0.75, 1.25)}])
def test_probabilities_sum_to_one(upsampled, settings):
    net = _network(prediction_with_upsampled_logits=upsampled)
    labels, probabilities = model.predict_labels(net, _images(2), **settings)
    assert labels.dtype == tf.int32
    assert labels.shape == (2, 65, 49)
    np.testing.assert_allclose(np.sum(probabilities, axis=-1), 1.0, atol=1e-5)


def test_the_order_of_the_decoder_stages_is_that_of_the_option():
    net = _network(decoder_output_stride=(8, 4), depth_multiplier=0.5)
    names = checkpoint.official_variables(net)
    for suffix, stride in (("", 8), ("_1", 4)):
        shape = names[f"decoder/feature_projection0{suffix}/weights"].shape
        end_point = feature_extractor.get_backbone("mobilenet_v2").decoder_end_point(stride)
        assert shape[2] == net.single_scale(_images())[end_point].shape[-1]


@pytest.mark.slow
def test_logits_of_parallel_rates_are_added():
    options = {"aspp_with_batch_norm": False, "logits_kernel_size": 3}
    both = _network(atrous_rates=(1, 2), **options)
    single = [_new_network(atrous_rates=(rate,), **options) for rate in (1, 2)]
    weights = checkpoint.official_variables(both)
    for net, name in zip(single, ("semantic", "semantic_1"), strict=True):
        variables = checkpoint.official_variables(net)
        for leaf in ("weights", "biases"):
            variables[f"logits/semantic/{leaf}"].assign(weights[f"logits/{name}/{leaf}"])
    total = sum(np.asarray(net(_images())) for net in single)
    np.testing.assert_allclose(both(_images()), total, atol=1e-4)


def test_last_layers_are_the_logits_or_all_that_follows_the_backbone():
    assert model.last_layer_scopes(logits_only=True) == ("logits",)
    net = _network(decoder_output_stride=(4,), atrous_rates=(1,))
    scopes = model.last_layer_scopes(logits_only=False)
    for name in checkpoint.official_variables(net):
        assert name.startswith(scopes) != name.startswith("MobilenetV2/")


def test_dropout_acts_in_training_only():
    net = _new_network()
    assert np.array_equal(net(_images()), net(_images()))
    net.set_fine_tune_batch_norm(False)
    assert not np.array_equal(net(_images(), training=True), net(_images(), training=True))


@pytest.mark.slow
def test_moving_averages_move_in_training_unless_kept():
    for fine_tune in (True, False):
        net = _new_network()
        net.set_fine_tune_batch_norm(fine_tune)
        variables = checkpoint.official_variables(net)
        averages = {name: v.numpy() for name, v in variables.items() if "/moving_" in name}
        net(_images(2), training=True)
        moved = [not np.array_equal(variables[name], value) for name, value in averages.items()]
        assert any(moved) == fine_tune


def test_moving_variance_is_the_unbiased_one():
    """Official batch norm divides by n - 1 where it moves the variance (Bessel's correction)."""
    layer = normalization.BatchNorm(normalization.BatchNormOptions(decay=0.0, epsilon=1e-3))
    x = np.random.default_rng(0).normal(size=(2, 2, 2, 3)).astype(np.float32)
    layer(x, training=True)
    flat = x.reshape(-1, 3)
    np.testing.assert_allclose(layer.moving_variance, flat.var(axis=0, ddof=1), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, flat.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("kind", ["full", "depthwise"])
def test_folded_batch_norm_is_batch_norm(kind):
    """Values and gradients are those of a convolution followed by batch norm."""
    options = normalization.BatchNormOptions(decay=0.9, epsilon=1e-3)
    make = {
        "full": lambda **kwargs: layers.Conv2D(4, 3, **kwargs),
        "depthwise": lambda **kwargs: layers.DepthwiseConv2D(3, **kwargs),
    }[kind]
    folded, plain, norm = make(batch_norm=options), make(), normalization.BatchNorm(options)
    x = np.random.default_rng(0).normal(size=(2, 9, 9, 4)).astype(np.float32)
    folded(x), plain(x), norm(x)
    for index, variable in enumerate(norm.weights):
        value = np.random.default_rng(index).uniform(0.5, 1.5, variable.shape)
        variable.assign(value)
        folded.batch_norm.weights[index].assign(value)
    plain.kernel.assign(folded.kernel)

    def gradients(function, variables):
        with tf.GradientTape() as tape:
            y = function(x)
            loss = tf.reduce_sum(tf.sin(y))
        return y, tape.gradient(loss, [variable.value for variable in variables])

    y, ours = gradients(folded, [folded.kernel, folded.batch_norm.gamma, folded.batch_norm.beta])
    expected, theirs = gradients(lambda x: norm(plain(x)), [plain.kernel, norm.gamma, norm.beta])
    np.testing.assert_allclose(y, expected, atol=1e-5)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * np.max(np.abs(b)))


def test_layers_start_with_values_of_their_own():
    variables = checkpoint.official_variables(model.DeepLab(common.ModelOptions(**_SMALL)))
    kernels = [v.numpy() for name, v in variables.items() if name.endswith("weights")]
    seen = {kernel.tobytes() for kernel in kernels}
    assert len(seen) == len(kernels)


@pytest.mark.slow
def test_a_seed_gives_the_same_start():
    def start(seed):
        keras.utils.set_random_seed(seed)
        net = model.DeepLab(common.ModelOptions(**_SMALL))
        return [variable.numpy() for variable in net.weights]

    first, second, other = start(1), start(1), start(2)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_without_random_weights_they_are_zeros_and_all_else_is_as_it_was():
    def new(**kwargs):
        keras.utils.set_random_seed(1)
        return model.DeepLab(common.ModelOptions(**_SMALL), **kwargs)

    drawn, blank = new(), new(random_weights=False)
    for ours, theirs in zip(blank.weights, drawn.weights, strict=True):
        assert ours.path == theirs.path
        if ours.name.endswith("weights"):
            assert not np.any(ours)
            assert np.any(theirs)
            ours.assign(theirs)
    # Dropout draws the same numbers.
    np.testing.assert_array_equal(*(net(_images(), training=True) for net in (blank, drawn)))


@pytest.mark.slow
def test_a_keras_file_keeps_the_precision(tmp_path):
    net = model.DeepLab(common.ModelOptions(**_SMALL), name="half", dtype="mixed_bfloat16")
    net.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras")
    assert loaded.compute_dtype == loaded.backbone.compute_dtype == "bfloat16"
    assert loaded.name == "half"
    np.testing.assert_array_equal(loaded(_images()), net(_images()))


def test_official_names_do_not_hold_the_networks_own():
    options = common.ModelOptions(**_SMALL)
    net, student = (
        model.DeepLab(options, random_weights=False),
        model.DeepLab(options, name="student", random_weights=False),
    )
    names = set(checkpoint.official_variables(student))
    assert names == set(checkpoint.official_variables(net))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_variant": "mobilenet_v9"}, "--model_variant is 'mobilenet_v9'; known are .*v2"),
        ({"decoder_output_stride": (2,)}, r"MobilenetV2 has decoder features at \[4, 8, 16\]"),
        ({"output_stride": 12}, "--output_stride is 12; MobilenetV2 takes"),
        (
            {"decoder_output_stride": (4,), "decoder_output_is_logits": True},
            "last convolution has 256 channels, but there are 3 classes: set --decoder_filters",
        ),
    ],
)
def test_options_that_the_backbone_cannot_serve_are_one_error(options, message):
    with pytest.raises(ValueError, match=message):
        _network(**options)


@pytest.mark.slow
def test_a_multi_grid_that_the_backbone_does_not_have_says_so(caplog):
    with caplog.at_level("WARNING", logger="absl"):
        net = _new_network(multi_grid=(1, 2, 4))
    assert "--multi_grid=[1, 2, 4] has no effect: mobilenet_v2 has no multi-grid" in caplog.text
    np.testing.assert_array_equal(net(_images()), _network()(_images()))


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "same_as_known"), [(0.5, True), (1.0, False)])
def test_windows_count_at_other_scales_even_if_the_size_of_images_is_unknown(scale, same_as_known):
    """At scale 1 the official code then pools the whole image."""
    windows = {"image_pooling_crop_size": (33, 33)}
    unknown, known = _network(**windows), _network(crop_size=(65, 49), **windows)
    plain = _network()
    logits, expected, whole = (
        net.multi_scale(_images(), (scale,))[0] for net in (unknown, known, plain)
    )
    np.testing.assert_allclose(logits, expected if same_as_known else whole, atol=1e-5)
    assert not np.allclose(expected, whole, atol=1e-3)


def test_every_backbone_pads_with_what_the_official_input_uses():
    for variant, backbone in feature_extractor.BACKBONES.items():
        assert len(backbone.mean_pixel) == 3, variant
        middle = np.asarray(backbone.preprocess(tf.constant([[list(backbone.mean_pixel)]])))
        np.testing.assert_allclose(middle, 0.0, atol=1e-4, err_msg=variant)


# Decay and epsilon of every batch norm in the backbone, as the official arg scopes set them.
_BACKBONE_BATCH_NORMS = {
    "mobilenet_v2": (0.997, 1e-3),
    "mobilenet_v3_large_seg": (0.997, 1e-3),
    "mobilenet_v3_small_seg": (0.997, 1e-3),
    "mobilenet_edgetpu": (0.997, 1e-3),
    "resnet_v1_18": (0.95, 1e-5),
    "resnet_v1_50_beta": (0.95, 1e-5),
    "xception_41": (0.9997, 1e-3),
    "nas_pnasnet": (0.9997, 1e-3),
    "nas_hnasnet": (0.9997, 1e-3),
}


@pytest.mark.parametrize(
    "model_variant",
    [
        "mobilenet_v2",
        *(
            pytest.param(variant, marks=pytest.mark.slow)
            for variant in _BACKBONE_BATCH_NORMS
            if variant != "mobilenet_v2"
        ),
    ],
)
def test_batch_norms_decay_as_the_official_ones(model_variant):
    options = {"output_stride": 8} if model_variant.startswith("nas") else {}
    with tiny.narrow(), tiny.few_cells():
        strides = feature_extractor.get_backbone(model_variant).decoder_end_points
        net = model.DeepLab(
            common.ModelOptions(
                model_variant=model_variant,
                decoder_output_stride=(min(strides),) if strides else None,
                atrous_rates=(2,),
                **options,
            ),
            random_weights=False,
        )

    def settings(part):
        norms = [
            each
            for each in keras_internals.sublayers(part)
            if isinstance(each, normalization.BatchNorm)
        ]
        return {(norm.options.decay, norm.options.epsilon) for norm in norms}

    assert settings(net.backbone) == {_BACKBONE_BATCH_NORMS[model_variant]}
    for part in (*net.heads, *([net.decoder] if strides else [])):
        assert settings(part) == {(0.9997, 1e-5)}


def test_images_are_prepared_as_the_options_say():
    sizes = {"min_resize_value": 9, "max_resize_value": 17, "resize_factor": 4}
    net = _network(crop_size=(33, 17), **sizes)
    expected = Preprocessing(crop_size=(33, 17), mean_pixel=(127.5, 127.5, 127.5), **sizes)
    assert net.preprocessing() == expected
    assert net.preprocessing((9, 5)) == expected.replace(crop_size=(9, 5))


@pytest.mark.slow
def test_options_are_all_used():
    """An option that no backbone, head or decoder reads would be a dead one."""
    changed = {
        "add_image_level_feature": False,
        "aspp_with_separable_conv": False,
        "aspp_convs_filters": 16,
        "aspp_with_concat_projection": False,
        "decoder_use_separable_conv": False,
        "decoder_filters": 16,
        "decoder_use_sum_merge": True,
        "num_classes": 4,
        "depth_multiplier": 0.2,
        "divisible_by": 4,
    }
    base = {**_SMALL, "decoder_output_stride": (4,), "atrous_rates": (2,)}

    def shapes(**options):
        with _BACKBONES.used():
            net = model.DeepLab(common.ModelOptions(**{**base, **options}), random_weights=False)
        return {k: tuple(v.shape) for k, v in checkpoint.official_variables(net).items()}

    expected = shapes()
    for name, value in changed.items():
        assert shapes(**{name: value}) != expected, name
    fields = {field.name for field in dataclasses.fields(common.ModelOptions)}
    assert set(changed) <= fields
