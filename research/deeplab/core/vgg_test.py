"""VGG-16: the published forms, their sizes and fields of view, and how the branches add up."""

import math
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf

from deeplab import common, model
from deeplab.core import feature_extractor, keras_internals, vgg
from deeplab.testing import backbone_case, golden
from deeplab.training import optimizers
from deeplab.utils import checkpoint

# v1 and v2: without the ASPP of v3, at output stride 8.
_FORM = {"model_variant": "vgg_16", "output_stride": 8, "aspp_with_batch_norm": False}
_WHOLE = {"vgg_fc6_kernel_size": 7, "vgg_fc6_filters": 4096}
_QUARTERED = {"vgg_fc6_kernel_size": 4, "vgg_fc6_filters": 4096}
# fc6 and fc7 are small, so that the tests are fast.
_NARROW = {**_FORM, "vgg_fc6_filters": 8, "num_classes": 5}


class TestVGG16(backbone_case.BackboneCase):
    model_variant = "vgg_16"
    options = {**_NARROW, "atrous_rates": (6, 12)}
    heavy = True
    # At stride 8 the fifth pooling sees less than at 16 and 32: its window is as it was.
    consistent_strides = (16, 32)
    # The official code has no VGG-16.
    test_equals_the_official_code = None

    def build(self, output_stride: int = 8, **changes) -> model.DeepLab:
        """A network whose rates are those of output stride 8, converted."""
        rates = [rate * 8 // output_stride for rate in (8, 16)]
        return super().build(output_stride=output_stride, atrous_rates=rates, **changes)


def _options(**changes) -> common.ModelOptions:
    return common.ModelOptions(**{**_FORM, **changes})


def _narrow(**changes) -> model.DeepLab:
    net = model.DeepLab(common.ModelOptions(**{**_NARROW, **changes}), random_weights=False)
    golden.assign(checkpoint.official_variables(net))
    return net


def _images(height: int = 65, width: int = 49) -> tf.Tensor:
    random = np.random.default_rng(0)
    return tf.constant(random.uniform(0, 255, (1, height, width, 3)), tf.float32)


def _parameters(net: model.DeepLab) -> int:
    return sum(math.prod(variable.shape) for variable in net.trainable_weights)


# Table 2 of v1: kernel, rate, filters -> field of view and millions of parameters.
_PUBLISHED = {
    "7x7": ({**_WHOLE, "atrous_rates": (4,)}, 224, 134.3),
    "4x4": ({**_QUARTERED, "atrous_rates": (4,)}, 128, 65.1),
    "4x4, rate 8": ({**_QUARTERED, "atrous_rates": (8,)}, 224, 65.1),
    "LargeFOV": ({"atrous_rates": (12,)}, 224, 20.5),
}


def _whole_field_of_view(net: vgg.VGG16, pools: int | None = None) -> int:
    """Image pixels that a value of fc6 depends on, along a side.

    Args:
        net: The network.
        pools: What the poolings add to it; None: that of the network's, 3x3 each.
    """
    extent, step, windows = 1, 1, 0
    for block, stride in zip(net.blocks, net.pool_strides, strict=True):
        for conv in block.parts:
            extent += (conv.kernel_size[0] - 1) * conv.rate[0] * step
        windows += 2 * step
        step *= stride
    extent += windows if pools is None else pools
    fc6 = net.branches[0][0]
    return extent + (fc6.kernel_size[0] - 1) * fc6.rate[0] * step


@pytest.fixture(scope="module", params=_PUBLISHED)
def published(request):
    """A published form's network, its field of view and parameters, and its name."""
    options, field_of_view, millions = _PUBLISHED[request.param]
    net = model.DeepLab(_options(**options), random_weights=False)
    return net, field_of_view, millions, request.param


def test_the_published_forms_have_the_published_sizes(published):
    net, _, millions, _ = published
    assert round(_parameters(net) / 1e6, 1) == millions


def test_fc6_sees_as_many_pixels_as_published(published):
    net, field_of_view, _, _ = published
    stride = math.prod(net.backbone.pool_strides)
    assert stride == 8
    fc6 = net.backbone.branches[0][0]
    assert (fc6.kernel_size[0] - 1) * fc6.rate[0] * stride + 32 == field_of_view


def test_the_poolings_alone_make_fc6_see_more_than_is_published_of_its_whole_field(published):
    """404 and 308 pixels (v1, section 3.2), with VGG's own windows of 2x2 and its own strides."""
    net, field_of_view, _, _ = published
    pools = 1 + 2 + 4 + 8 + 16
    assert _whole_field_of_view(net.backbone, pools) == {224: 404, 128: 308}[field_of_view]


def test_the_page_has_the_forms_as_they_are_built(published):
    net, field_of_view, millions, name = published
    page = pathlib.Path(vgg.__file__).parents[1] / "g3doc" / "family.md"
    rows = re.findall(r"^\| (\S.*?) \|.*\| (.+?) M \| (\d+) \| (\d+) \|$", page.read_text(), re.M)
    assert len(rows) == len(_PUBLISHED)
    whole = _whole_field_of_view(net.backbone)
    assert (name, str(millions), str(field_of_view), str(whole)) in rows


@pytest.mark.parametrize("kernel_size", vgg.FC6_KERNEL_SIZES)
def test_a_field_of_view_is_what_a_value_depends_on(kernel_size):
    net = vgg.VGG16(8, fc6_kernel_size=kernel_size, fc6_filters=2)
    for conv in (conv for block in net.blocks for conv in block.parts):
        conv.filters = 2
    reach = _whole_field_of_view(net) // 2
    center = 8 * (reach // 8 + 2)
    # A bright row, at the ends of the field of view and one pixel outside of it.
    rows = [center + sign * distance for sign in (-1, 1) for distance in (reach, reach + 1)]
    images = np.zeros((len(rows), 2 * center + 1, 129, 3), np.float32)
    images[range(len(rows)), rows] = 1.0
    net(images[:1])
    for variable in net.weights:
        variable.assign(tf.fill(variable.shape, 0.0 if variable.name == "biases" else 1.0))
    values = net(images)[1]["fc6"][:, center // 8, 8, 0]
    assert list(np.asarray(values) > 0) == [True, False, True, False]


def test_the_last_poolings_lose_their_stride_and_keep_their_window():
    net = vgg.VGG16(8)
    assert net.pool_strides == [2, 2, 2, 1, 1]
    assert [block.parts[0].rate for block in net.blocks] == [(1, 1)] * 4 + [(2, 2)]
    x = tf.nn.relu(_images())
    np.testing.assert_array_equal(vgg.max_pool(x, 1)[:, ::2, ::2], vgg.max_pool(x, 2))


@pytest.mark.parametrize(
    ("output_stride", "pool_strides", "rates"),
    [
        (4, [2, 2, 1, 1, 1], [1, 1, 1, 2, 4]),
        (8, [2, 2, 2, 1, 1], [1, 1, 1, 1, 2]),
        (16, [2, 2, 2, 2, 1], [1, 1, 1, 1, 1]),
        (32, [2, 2, 2, 2, 2], [1, 1, 1, 1, 1]),
    ],
)
def test_rates_make_up_for_lost_strides(output_stride, pool_strides, rates):
    net = vgg.VGG16(output_stride)
    assert net.pool_strides == pool_strides
    assert [block.parts[-1].rate for block in net.blocks] == [(r, r) for r in rates]
    for kernel_size in vgg.FC6_KERNEL_SIZES:
        rate = vgg.fc6_rate(kernel_size, output_stride)
        assert (kernel_size - 1) * rate * output_stride + 32 == 224


def test_the_names_are_those_of_slim():
    shapes = {}
    channels = 3
    for block, (count, filters) in enumerate(
        [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)], start=1
    ):
        for number in range(1, count + 1):
            shapes[f"conv{block}/conv{block}_{number}"] = (3, 3, channels, filters)
            channels = filters
    shapes |= {"fc6": (3, 3, 512, 1024), "fc7": (1, 1, 1024, 1024)}
    expected = {}
    for scope, shape in shapes.items():
        expected[f"vgg_16/{scope}/weights"] = shape
        expected[f"vgg_16/{scope}/biases"] = shape[-1:]
    variables = checkpoint.official_variables(model.DeepLab(_options(), random_weights=False))
    backbone = {k: tuple(v.shape) for k, v in variables.items() if k.startswith("vgg_16/")}
    assert backbone == expected


def test_slims_mean_pixel_becomes_zero():
    spec = feature_extractor.get_backbone("vgg_16")
    assert spec.mean_pixel == (123.68, 116.78, 103.94)
    np.testing.assert_allclose(spec.preprocess(tf.constant(spec.mean_pixel)), 0.0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kernel_size", vgg.FC6_KERNEL_SIZES)
def test_features_lie_where_their_pixels_are(kernel_size):
    """Mirrored images have mirrored features, for kernels that are their own mirror images."""
    net = _narrow(vgg_fc6_kernel_size=kernel_size, vgg_multi_scale_features=True)
    for variable in net.weights:
        if len(variable.shape) == 4:
            variable.assign((variable.value + variable.value[::-1]) / 2)
            variable.assign((variable.value + variable.value[:, ::-1]) / 2)
    images = _images()
    features, mirrored = (
        net.single_scale(each)["features"] for each in (images, images[:, ::-1, ::-1])
    )
    error = np.max(np.abs(features[:, ::-1, ::-1] - mirrored))
    assert error < 1e-4 * np.max(np.abs(features))


@pytest.mark.slow
def test_branches_have_a_classifier_each_and_are_added():
    both = _narrow(atrous_rates=(2, 4))
    weights = checkpoint.official_variables(both)
    total = 0.0
    for suffix, rate in (("", 2), ("_1", 4)):
        net = _narrow(atrous_rates=(rate,))
        for name, variable in checkpoint.official_variables(net).items():
            variable.assign(weights[re.sub("(fc6|fc7|semantic)", rf"\1{suffix}", name)])
        total += net(_images()).numpy()
    np.testing.assert_allclose(both(_images()), total, atol=1e-4 * np.max(np.abs(total)))


def test_each_branchs_classifier_learns_as_in_the_papers():
    """Ten times as fast as the rest, its bias twenty times (v2, section 4.1)."""
    names = checkpoint.official_variables(_narrow(atrous_rates=(2, 4)))
    factors = optimizers.gradient_multipliers(names, model.last_layer_scopes(True), 10.0)
    for name in names:
        classifier, bias = name.startswith("logits/semantic"), name.endswith("biases")
        assert factors.get(name, 1.0) == (10 if classifier else 1) * (2 if bias else 1)


@pytest.mark.slow
def test_multi_scale_features_are_640_more_channels():
    plain, more = _narrow(), _narrow(vgg_multi_scale_features=True)
    features, enhanced = (net.single_scale(_images(50, 64))["features"] for net in (plain, more))
    assert features.shape == (1, 7, 8, 8)
    assert enhanced.shape == (1, 7, 8, 8 + 640)
    np.testing.assert_allclose(enhanced[..., :8], features, rtol=1e-5)
    shapes = {
        name.removeprefix("vgg_16/multi_scale/"): tuple(variable.shape)
        for name, variable in checkpoint.official_variables(more).items()
        if "multi_scale" in name and name.endswith("weights")
    }
    sources = {"image": 3, "pool1": 64, "pool2": 128, "pool3": 256, "pool4": 512}
    assert shapes == {
        **{f"{source}/conv1/weights": (3, 3, n, 128) for source, n in sources.items()},
        **{f"{source}/conv2/weights": (1, 1, 128, 128) for source in sources},
    }


@pytest.mark.slow
def test_gradients_reach_the_multi_scale_features():
    net = _narrow(vgg_multi_scale_features=True)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(net(_images(), training=True)))
    variables = net.trainable_weights
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    assert all(np.any(gradient) for gradient in gradients)


@pytest.mark.slow
def test_half_of_fc6_and_fc7_drops_out_in_training():
    net = _narrow(vgg_fc6_filters=64)
    drops = [layer for layer in keras_internals.sublayers(net) if hasattr(layer, "seed_generator")]
    assert [drop.rate for drop in drops] == [0.5, 0.5]
    still, training = (net.backbone(_images(), training=training)[0] for training in (False, True))
    dead = np.mean((np.asarray(still) > 0) & (np.asarray(training) == 0))
    assert 0.2 * np.mean(still > 0) < dead < 0.8 * np.mean(still > 0)


@pytest.mark.slow
def test_the_head_and_decoder_of_later_papers_fit():
    """The rates are then the ASPP's; fc6 has its own."""
    options = {"aspp_convs_filters": 8, "decoder_filters": 8, "decoder_output_stride": (4,)}
    net = _narrow(**options, aspp_with_batch_norm=True, atrous_rates=(2, 4))
    assert net(_images()).shape == (1, 17, 13, 5)
    assert [branch[0].rate for branch in net.backbone.branches] == [(12, 12)]
    net = _narrow(**options, atrous_rates=(2, 4))
    assert net(_images()).shape == (1, 17, 13, 5)
    assert [branch[0].rate for branch in net.backbone.branches] == [(2, 2), (4, 4)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"output_stride": 2},
            r"^--output_stride is 2; vgg_16 takes \[4, 8, 16, 32\] \(8 in the papers\)$",
        ),
        (
            {"vgg_fc6_kernel_size": 5},
            r"^--vgg_fc6_kernel_size is 5; vgg_16 takes \[3, 4, 7\]$",
        ),
        (
            {"vgg_fc6_filters": 0},
            "^--vgg_fc6_filters is 0; it must be a whole number, at least 1 and at most 16384$",
        ),
        (
            {"vgg_multi_scale_features": True, "atrous_rates": (6, 12)},
            r"^--vgg_multi_scale_features goes with one atrous rate, not with \[6, 12\]",
        ),
        (
            {"cascaded_blocks": 3},
            "^--cascaded_blocks=3 has no effect with --model_variant=vgg_16: it is an option of"
            " res",
        ),
        (
            {"model_variant": "mobilenet_v2", "vgg_fc6_filters": 4096},
            "^--vgg_fc6_filters=4096 has no effect with --model_variant=mobilenet_v2: .* of"
            " vgg_16$",
        ),
    ],
)
def test_options_that_the_network_cannot_have_are_one_error(options, message):
    with pytest.raises(ValueError, match=message):
        model.DeepLab(_options(**options))
