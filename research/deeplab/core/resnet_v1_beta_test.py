"""The ResNets against the official code, and what no flag reaches of them."""

import json

import numpy as np
import pytest
import tensorflow as tf

from deeplab import common, model
from deeplab.core import (
    conv2d_ws,
    feature_extractor,
    keras_internals,
    networks,
    normalization,
    resnet_v1_beta,
)
from deeplab.testing import backbone_case, golden
from deeplab.utils import checkpoint


class TestResNet18(backbone_case.BackboneCase):
    model_variant = "resnet_v1_18"
    golden_prefix = "resnet_v1_18_os"
    heavy = True
    shallow = True
    consistent_strides = (4, 8, 16, 32)


class TestResNet18Beta(backbone_case.BackboneCase):
    model_variant = "resnet_v1_18_beta"
    golden_prefix = "resnet_v1_18_beta"
    heavy = True
    shallow = True


class TestResNet50(backbone_case.BackboneCase):
    model_variant = "resnet_v1_50"
    golden_prefix = "resnet_v1_50_os"
    huge = True
    shallow = True


class TestResNet50Beta(backbone_case.BackboneCase):
    model_variant = "resnet_v1_50_beta"
    golden_prefix = "resnet_v1_50_beta"
    huge = True
    shallow = True


class TestResNet101(backbone_case.BackboneCase):
    model_variant = "resnet_v1_101"
    golden_prefix = "resnet_v1_101_os"
    huge = True
    shallow = True


class TestResNet101Beta(backbone_case.BackboneCase):
    model_variant = "resnet_v1_101_beta"
    golden_prefix = "resnet_v1_101_beta"
    huge = True
    shallow = True


@pytest.fixture(scope="module")
def fresh() -> model.DeepLab:
    """An untrained DeepLab v3+, as in the golden `resnet_v1_50_beta_v3plus`."""
    return model.DeepLab(
        common.ModelOptions(
            model_variant="resnet_v1_50_beta",
            atrous_rates=(6, 12, 18),
            decoder_output_stride=(4,),
        )
    )


@pytest.mark.slow
def test_initial_values_are_distributed_as_the_official_ones(fresh):
    expected = golden.misc("initializers")[0]["resnet_v1_50_beta_v3plus"]
    variables = checkpoint.official_variables(fresh)
    for name, (shape, mean, std, largest) in expected.items():
        value = variables[name].numpy()
        assert list(value.shape) == shape
        # Five deviations of what two samples of this size part by.
        slack = 5 * std * np.sqrt(2 / value.size)
        assert abs(np.mean(value) - mean) <= slack, name
        assert abs(np.std(value) - std) <= slack, name
        # In large arrays the largest value is next to where the distribution is cut off.
        tolerance = 1e-3 if value.size > 100_000 else 0.1
        np.testing.assert_allclose(np.max(np.abs(value)), largest, rtol=tolerance, err_msg=name)


@pytest.mark.slow
def test_layers_of_one_shape_start_from_different_values(fresh):
    variables = checkpoint.official_variables(fresh)
    units = [
        variables[f"resnet_v1_50/block1/unit_{number}/bottleneck_v1/conv2/weights"].numpy()
        for number in (2, 3)
    ]
    assert np.mean(units[0] == units[1]) < 0.01


@pytest.mark.slow
def test_weight_decay_is_on_the_official_variables(fresh):
    facts = golden.misc("gradient_multipliers_and_weight_decay")[0]["resnet_v1_50_beta_v3plus"]
    official = checkpoint.official_variables(fresh)
    names = {id(variable): name for name, variable in official.items()}
    ours = [names[id(variable)] for variable in networks.regularized_variables(fresh)]
    assert sorted(ours) == sorted(facts["regularized"])


def test_moving_averages_keep_the_official_share():
    net = resnet_v1_beta.ResNetV1(18, 32)
    kept = {
        (layer.options.decay, layer.options.epsilon)
        for layer in keras_internals.sublayers(net)
        if isinstance(layer, normalization.BatchNorm)
    }
    assert kept == {(0.95, 1e-5)}


@pytest.mark.parametrize(
    ("depth", "last_convolutions"),
    [
        (18, [f"block{b}/unit_1/lite_bottleneck_v1/conv2" for b in (1, 2, 3)]),
        (50, [f"block{b}/unit_{u}/bottleneck_v1/conv3" for b, u in ((1, 2), (2, 3), (3, 5))]),
        (101, [f"block{b}/unit_{u}/bottleneck_v1/conv3" for b, u in ((1, 2), (2, 3), (3, 22))]),
    ],
)
def test_the_decoder_takes_the_official_end_points(depth, last_convolutions):
    assert list(resnet_v1_beta.decoder_end_points(depth).items()) == list(
        zip((4, 8, 16), last_convolutions, strict=True)
    )


def test_images_are_padded_with_what_becomes_zero():
    for name in ("resnet_v1_18", "resnet_v1_18_beta", "resnet_v1_101", "resnet_v1_101_beta"):
        backbone = feature_extractor.get_backbone(name)
        padding = backbone.preprocess(tf.constant(backbone.mean_pixel))
        np.testing.assert_allclose(padding, np.zeros(3), atol=1e-6)


def _unit_rates(net: resnet_v1_beta.ResNetV1, block: int) -> list[int]:
    """Atrous rate of the 3x3 convolution in each unit of a block."""
    (stack,) = [each for each in net.blocks if each.name == f"block{block}"]
    return [unit.parts[0].convs[1].rate[0] for unit in stack.parts]


@pytest.mark.parametrize(
    ("output_stride", "rates"),
    [(8, [4, 8, 16, 32]), (16, [2, 4, 8, 16]), (32, [1, 2, 4, 8]), (256, [1, 1, 1, 1])],
)
def test_each_block_of_a_cascade_has_its_own_rate(output_stride, rates):
    """Figure 3 of arXiv 1706.05587, with the multi-grid of its tables in each of the blocks."""
    grid = (1, 2, 1)
    net = resnet_v1_beta.ResNetV1(50, output_stride, multi_grid=grid, cascaded_blocks=3)
    for block, rate in zip((4, 5, 6, 7), rates, strict=True):
        assert _unit_rates(net, block) == [rate * factor for factor in grid]
    assert (
        4 * np.prod([unit.parts[0].stride for block in net.blocks for unit in block.parts])
        == output_stride
    )


def _cascade(output_stride: int) -> model.DeepLab:
    """A small network as in the paper: the classifier follows the last block."""
    options = common.ModelOptions(
        model_variant="resnet_v1_18_beta",
        output_stride=output_stride,
        multi_grid=(1, 2),
        cascaded_blocks=3,
        aspp_with_batch_norm=False,
        num_classes=3,
    )
    net = model.DeepLab(options, random_weights=False)
    golden.assign(checkpoint.official_variables(net))
    return net


@pytest.fixture(scope="module")
def cascade() -> model.DeepLab:
    return _cascade(8)


@pytest.mark.slow
def test_the_dense_features_of_a_cascade_contain_the_coarse_ones(cascade):
    images = np.random.default_rng(0).uniform(0, 255, (1, 257, 65, 3)).astype(np.float32)
    dense = cascade.single_scale(images)["features"]
    assert dense.shape == (1, 33, 9, 512)
    for stride in (16, 256):
        features = _cascade(stride).single_scale(images)["features"]
        step = stride // 8
        error = np.max(np.abs(dense[:, ::step, ::step] - features))
        assert error < 1e-4 * np.max(np.abs(features)), f"stride {stride}"


def test_a_cascades_blocks_are_copies_of_the_last_block(cascade):
    shapes = {k: tuple(v.shape) for k, v in checkpoint.official_variables(cascade).items()}
    blocks = {
        block: {
            name.partition(f"/block{block}/")[2]: shape
            for name, shape in shapes.items()
            if f"/block{block}/" in name
        }
        for block in (4, 5, 6, 7)
    }
    assert blocks[5] == blocks[6] == blocks[7]
    # Where a block begins, the channels double; not where its copy does.
    first = "unit_1/lite_bottleneck_v1"
    assert {name for name in blocks[4] if name not in blocks[5]} == {
        f"{first}/shortcut/{leaf}"
        for leaf in ("weights", *(f"BatchNorm/{each}" for each in ("gamma", "beta")))
    } | {f"{first}/shortcut/BatchNorm/moving_{each}" for each in ("mean", "variance")}
    changed = {name for name, shape in blocks[5].items() if shape != blocks[4][name]}
    assert changed == {f"{first}/conv1/weights"}


def test_gradients_reach_all_of_a_cascade(cascade):
    images = np.random.default_rng(1).uniform(0, 255, (2, 65, 65, 3)).astype(np.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(cascade(images, training=True)))
    variables = cascade.trainable_weights
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    assert all(np.all(np.isfinite(gradient)) and np.any(gradient) for gradient in gradients)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"model_variant": "resnet_v1_18", "multi_grid": (1, 2, 4)},
            r"--multi_grid has \(1, 2, 4\); resnet_v1_18 takes 2 values, one for each unit",
        ),
        (
            {"model_variant": "resnet_v1_50", "multi_grid": (1, 2)},
            r"--multi_grid has \(1, 2\); resnet_v1_50 takes 3 values, one for each unit",
        ),
        (
            {"model_variant": "resnet_v1_101_beta", "output_stride": 12},
            r"--output_stride is 12; resnet_v1_101 takes \[4, 8, 16, 32\]",
        ),
        (
            {"model_variant": "resnet_v1_50", "output_stride": 64},
            r"--output_stride is 64; resnet_v1_50 takes \[4, 8, 16, 32\]",
        ),
        (
            {"model_variant": "resnet_v1_50", "output_stride": 512, "cascaded_blocks": 3},
            "--output_stride is 512; it must be a whole number, at least 1 and at most 256",
        ),
        (
            {"model_variant": "xception_65", "cascaded_blocks": 3},
            "^--cascaded_blocks=3 has no effect with --model_variant=xception_65: it is an option"
            " of resnet_v1_101, resnet_v1_101_beta, .*resnet_v1_50_beta$",
        ),
        (
            {"model_variant": "resnet_v1_18", "cascaded_blocks": -1},
            "^--cascaded_blocks is -1; it must be a whole number, at least 0 and at most 16$",
        ),
        (
            {"model_variant": "resnet_v1_18", "decoder_output_stride": (2,)},
            r"--decoder_output_stride has 2, but resnet_v1_18 has decoder features at \[4, 8, 16\]",
        ),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        model.DeepLab(common.ModelOptions(**options))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "preprocess", "arguments"),
    [
        (
            "resnet_v1_18_beta_classifier",
            feature_extractor.to_unit_range,
            {"depth": 18, "output_stride": 32, "beta": True, "num_classes": 11},
        ),
        (
            "resnet_v1_50_classifier",
            feature_extractor.subtract_imagenet_mean,
            {"depth": 50, "output_stride": 32, "num_classes": 11},
        ),
        (
            "resnet_v1_18_ws_groupnorm",
            feature_extractor.to_unit_range,
            {
                "depth": 18,
                "output_stride": 16,
                "convolution": conv2d_ws.StandardizedConv2D,
            },
        ),
    ],
)
def test_parts_that_no_flag_reaches_equal_the_official_code(name, preprocess, arguments):
    folder = golden.shared("golden/_extra")
    facts = json.loads((folder / f"{name}.json").read_text())
    arrays = np.load(folder / f"{name}.npz")
    images = preprocess(tf.constant(arrays["image"], tf.float32))
    net = resnet_v1_beta.ResNetV1(**arguments)
    networks.start_at_zero(net)
    net(images)
    variables = {variable.path: variable for variable in net.weights}
    assert {path: list(v.shape) for path, v in variables.items()} == dict(facts["variables"])
    golden.assign(variables)
    outputs, end_points = net(images)
    assert list(outputs.shape) == facts["out_shape"]
    results = {"out": outputs, "predictions": end_points.get("predictions", outputs)}
    for key, ours in results.items():
        theirs = arrays[key]
        error = np.max(np.abs(ours[..., : theirs.shape[-1]] - theirs)) / np.max(np.abs(theirs))
        assert error < 1e-4, key
