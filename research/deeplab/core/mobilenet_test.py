"""Tests the traits of all MobileNets: channels, strides, initial values, weight decay."""

from collections.abc import Iterable

import numpy as np
import pytest
import tensorflow as tf

from deeplab import common, model
from deeplab.core import feature_extractor, mobilenet, mobilenet_v2, networks
from deeplab.testing import golden
from deeplab.utils import checkpoint

VARIANTS = ("mobilenet_v2", "mobilenet_v3_large_seg", "mobilenet_v3_small_seg", "mobilenet_edgetpu")

# Networks that the golden facts describe, by their names there.
NETWORKS = {
    "mobilenet_v2": common.ModelOptions(),
    "mobilenet_v2_dec4": common.ModelOptions(decoder_output_stride=(4,)),
    "mobilenet_edgetpu": common.ModelOptions(model_variant="mobilenet_edgetpu"),
    "mobilenet_v3_large_seg_zoo": common.ModelOptions(
        model_variant="mobilenet_v3_large_seg",
        num_classes=5,
        aspp_convs_filters=128,
        aspp_with_concat_projection=False,
        aspp_with_squeeze_and_excitation=True,
        image_se_uses_qsigmoid=True,
        decoder_output_stride=(8,),
        decoder_filters=5,
        decoder_use_sum_merge=True,
        decoder_output_is_logits=True,
    ),
}


def _first_is_fast(names: Iterable[str]) -> list:
    """Return the names, all but the first as slow cases."""
    first, *others = names
    return [first, *(pytest.param(name, marks=pytest.mark.slow) for name in others)]


def backbone(model_variant: str, **options) -> mobilenet.Mobilenet:
    """The backbone of a variant, without variables."""
    options = common.ModelOptions(model_variant=model_variant, **options)
    return feature_extractor.get_backbone(model_variant).build(options)


@pytest.mark.parametrize(
    ("channels", "divisor", "expected"),
    [(32, 8, 32), (33.6, 8, 32), (36, 8, 40), (11.2, 1, 11), (3, 8, 8), (18, 16, 32)],
)
def test_channels_are_rounded_but_never_by_more_than_a_tenth(channels, divisor, expected):
    assert mobilenet.make_divisible(channels, divisor) == expected
    assert expected >= 0.9 * channels


@pytest.mark.parametrize(
    ("model_variant", "expected"),
    [
        ("mobilenet_v2", (24, 12, 18, 18, 24, 24, 24, *4 * (48,), *3 * (72,), *3 * (120,), 240)),
        ("mobilenet_v3_large_seg", (16, 16, 24, 24, 32, 32, 32, *4 * (64,), 88, 88, *3 * (64,))),
        ("mobilenet_v3_small_seg", (16, 16, 24, 24, 32, 32, 32, *5 * (40,))),
        ("mobilenet_edgetpu", (24, 16, *4 * (24,), *4 * (40,), *8 * (72,), *4 * (120,), 144)),
    ],
)
def test_depth_multiplier_scales_every_layer_and_rounds_as_the_variant_does(
    model_variant, expected
):
    net = backbone(model_variant, depth_multiplier=0.75)
    assert (net.stem.filters, *(block.project.filters for block in net.blocks)) == expected


def test_divisible_by_rounds_layers_but_not_expansions_and_mobilenet_v2_only():
    net = backbone("mobilenet_v2", depth_multiplier=0.35, divisible_by=4)
    assert [block.project.filters for block in net.blocks[:4]] == [8, 8, 8, 12]
    assert [block.expand.filters for block in net.blocks[1:4]] == [48, 48, 48]
    for variant in VARIANTS[1:]:
        net = backbone(variant, depth_multiplier=0.35, divisible_by=4)
        assert all(block.project.filters % 8 == 0 for block in net.blocks)


@pytest.mark.slow
@pytest.mark.parametrize("output_stride", [4, 32])
@pytest.mark.parametrize("model_variant", VARIANTS)
def test_features_and_decoder_end_points_are_at_their_strides(model_variant, output_stride):
    spec = feature_extractor.get_backbone(model_variant)
    net = backbone(model_variant, output_stride=output_stride, depth_multiplier=0.35)
    networks.start_at_zero(net)
    features, end_points = net(tf.zeros((1, 65, 97, 3)))
    # The fused blocks of MobileNetEdgeTPU stride as they were designed to.
    finest = 8 if model_variant == "mobilenet_edgetpu" else 1
    expected = {max(output_stride, finest): features}
    for stride, name in spec.decoder_end_points.items():
        if stride <= output_stride:
            expected[stride] = end_points[name]
    for stride, output in expected.items():
        assert output.shape[1:3] == (-(-65 // stride), -(-97 // stride))


def test_decoder_for_mobilenet_edgetpu_is_an_error():
    options = common.ModelOptions(model_variant="mobilenet_edgetpu", decoder_output_stride=(4,))
    with pytest.raises(ValueError, match="--decoder_output_stride has 4, but MobilenetEdgeTPU"):
        model.DeepLab(options)


@pytest.mark.parametrize("model_variant", _first_is_fast(VARIANTS))
def test_no_two_convolutions_start_alike(model_variant):
    net = backbone(model_variant, depth_multiplier=0.35)
    net(tf.zeros((1, 33, 33, 3)))
    kernels = [value for value in net.trainable_weights if value.name.endswith("weights")]
    assert len({tuple(np.ravel(kernel)[:8]) for kernel in kernels}) == len(kernels) > 30


@pytest.mark.parametrize(
    "name", _first_is_fast(["mobilenet_v2_dec4", "mobilenet_v3_large_seg_zoo"])
)
def test_initial_values_are_distributed_as_the_official_ones(name):
    facts, _ = golden.misc("initializers")
    variables = checkpoint.official_variables(model.DeepLab(NETWORKS[name]))
    checked = 0
    for variable, (shape, mean, std, largest) in facts[name].items():
        values = np.asarray(variables[variable])
        assert list(values.shape) == shape, variable
        # Six deviations of what such a number of draws may differ by; none for constants.
        allowed = 6 * std / np.sqrt(values.size)
        assert abs(np.mean(values) - mean) <= 1.5 * allowed, variable
        assert abs(np.std(values) - std) <= allowed, variable
        if values.size > 2000:
            np.testing.assert_allclose(np.max(np.abs(values)), largest, rtol=0.03)
            checked += 1
    assert checked > 20


@pytest.mark.parametrize("name", _first_is_fast(NETWORKS))
def test_weight_decay_falls_on_the_official_variables(name):
    facts, _ = golden.misc("gradient_multipliers_and_weight_decay")
    net = model.DeepLab(NETWORKS[name], random_weights=False)
    names = {id(value): name for name, value in checkpoint.official_variables(net).items()}
    ours = {names[id(variable)] for variable in networks.regularized_variables(net)}
    assert ours == set(facts[name]["regularized"])


@pytest.mark.parametrize("output_stride", [0, 12, 64])
def test_an_output_stride_that_is_none_names_those_there_are(output_stride):
    with pytest.raises(ValueError, match=r"--output_stride is .* takes \[1, 2, 4, 8, 16, 32\]"):
        mobilenet_v2.MobilenetV2(output_stride)


@pytest.mark.parametrize(
    ("depth_multiplier", "divisible_by", "least"),
    [(0.1, 8, 9), (0.2, 8, 9), (0.25, 16, 17), (0.5, 32, 33), (1.0, 64, 72), (0.1, 4, 5)],
)
def test_the_least_channels_are_the_official_ones(depth_multiplier, divisible_by, least):
    """The official rule starts from 1 (8 at multiplier 1) and then adds a whole divisor."""
    net = mobilenet_v2.MobilenetV2(32, depth_multiplier, divisible_by)
    assert net.blocks[0].name == "expanded_conv"
    assert net.blocks[0].project.filters == least
