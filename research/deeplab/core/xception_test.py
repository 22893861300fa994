"""The Xceptions against the official code, and what no flag reaches of them."""

import json

import numpy as np
import pytest
import tensorflow as tf

from deeplab import common, model
from deeplab.core import feature_extractor, networks, xception
from deeplab.testing import backbone_case, golden, parity, tiny
from deeplab.utils import checkpoint


class TestXception41(backbone_case.BackboneCase):
    model_variant = "xception_41"
    golden_prefix = "xception_41"
    huge = True
    shallow = True


class TestXception65(backbone_case.BackboneCase):
    model_variant = "xception_65"
    golden_prefix = "xception_65"
    huge = True
    shallow = True


class TestXception71(backbone_case.BackboneCase):
    model_variant = "xception_71"
    golden_prefix = "xception_71"
    huge = True
    shallow = True


@pytest.mark.slow
def test_initial_values_and_weight_decay_are_the_official_ones():
    net = model.DeepLab(
        common.ModelOptions(
            model_variant="xception_65", atrous_rates=(6, 12, 18), decoder_output_stride=(4,)
        )
    )
    parity.check_initial_values(net, "xception_65_v3plus")
    parity.check_weight_decay(net, "xception_65_v3plus")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "variant", "options"),
    [
        ("xception_41_classifier", "xception_41", {"output_stride": 32, "num_classes": 11}),
        (
            "xception_41_regularize_depthwise",
            "xception_41",
            {"output_stride": 16, "regularize_depthwise": True},
        ),
        (
            "xception_65_se",
            "xception_65",
            {"output_stride": 16, "squeeze_and_excitation": True},
        ),
    ],
)
def test_parts_that_no_flag_reaches_equal_the_official_code(name, variant, options):
    official = json.loads(golden.shared(f"golden/_extra/{name}.json").read_text())
    arrays = np.load(golden.shared(f"golden/_extra/{name}.npz"))
    images = feature_extractor.to_unit_range(tf.constant(arrays["image"], tf.float32))
    net = xception.Xception(variant, **options)
    networks.start_at_zero(net)
    net(images)
    variables = {
        f"{net.name}/{key}": variable
        for key, variable in checkpoint.official_variables(net).items()
    }
    assert {key: list(value.shape) for key, value in variables.items()} == dict(
        official["variables"]
    )
    golden.assign(variables)
    output, end_points = net(images)
    assert list(output.shape) == official["out_shape"]
    expected = {"out": output, "predictions": end_points.get("predictions", output)}
    for key, ours in expected.items():
        theirs = arrays[key]
        error = np.max(np.abs(np.asarray(ours)[..., : theirs.shape[-1]] - theirs))
        assert error <= 1e-4 * np.max(np.abs(theirs)), key


@pytest.mark.slow
def test_regularize_depthwise_regularizes_both_halves_of_a_separable_convolution():
    with tiny.shallow(), tiny.narrow():
        net = xception.Xception("xception_41", 16, regularize_depthwise=True)
        networks.start_at_zero(net)
        net(tf.zeros((1, 33, 33, 3)))
    regularized = networks.regularized_variables(net)
    kinds = {variable.name for variable in regularized}
    assert kinds == {"weights", "depthwise_weights", "pointwise_weights"}
    assert len(regularized) == sum(name.name.endswith("weights") for name in net.trainable_weights)


@pytest.mark.parametrize("variant", ["xception_41", "xception_65", "xception_71"])
@pytest.mark.parametrize("output_stride", [2, 4, 8, 16, 32])
def test_modules_stride_until_the_output_stride_and_dilate_from_there(variant, output_stride):
    with tiny.shallow():
        net = xception.Xception(variant, output_stride, multi_grid=(1, 2, 4))
    modules = [unit.parts[0] for flow in net.flows for block in flow.parts for unit in block.parts]
    strides = [module.separable_convs[-1][0].stride for module in modules]
    assert 2 * np.prod(strides) == output_stride
    rates = [conv[0].rate for conv in modules[-1].separable_convs]
    assert rates == [(32 // output_stride * factor,) * 2 for factor in (1, 2, 4)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_stride": 64}, "--output_stride is 64; xception_65 takes 2, 4, 8, 16 and 32"),
        ({"output_stride": 12}, "--output_stride is 12; xception_65 takes 2, 4, 8, 16 and 32"),
        ({"output_stride": 1}, "--output_stride is 1; xception_65 takes 2, 4, 8, 16 and 32"),
        ({"multi_grid": (1, 2)}, r"--multi_grid has \(1, 2\); xception_65 takes three rates"),
        ({"decoder_output_stride": (2,)}, "--decoder_output_stride has 2, but xception_65 has"),
    ],
)
def test_options_that_the_network_cannot_have_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        model.DeepLab(common.ModelOptions(model_variant="xception_65", **options))
