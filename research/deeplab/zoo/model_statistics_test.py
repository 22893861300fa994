"""The size of networks, against their graphs and against sums by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf

from deeplab import common, model
from deeplab.core import feature_extractor, keras_internals
from deeplab.testing import tiny
from deeplab.utils import checkpoint
from deeplab.zoo import model_statistics

_SIZE = (65, 97)


def _network(**options):
    """Return a network with fewer blocks than the published ones, whose weights are zeros."""
    with tiny.shallow(), tiny.narrow(), tiny.few_cells():
        return model.DeepLab(common.ModelOptions(**options), random_weights=False)


_OPTIONS = {
    "depth_multiplier": 0.1,
    "atrous_rates": (2,),
    "decoder_output_stride": (4,),
    "num_classes": 5,
}


@pytest.fixture(scope="module")
def net():
    return _network(**_OPTIONS)


@pytest.fixture(scope="module")
def statistics(net):
    return model_statistics.measure(net, _SIZE)


def _operations(net, image_size):
    """Numbers of convolutions in the network's graph and of their multiply-adds, by type."""
    function = tf.function(lambda images: net(images), autograph=False)
    graph = function.get_concrete_function(tf.TensorSpec((1, *image_size, 3))).graph
    calls = {"Conv2D": 0, "DepthwiseConv2dNative": 0}
    counts = dict(calls)
    for operation in graph.get_operations():
        if operation.type in calls:
            kernel = operation.inputs[1].shape
            positions = math.prod(operation.outputs[0].shape[:3])
            calls[operation.type] += 1
            counts[operation.type] += positions * math.prod(kernel)
    return calls, counts


@pytest.mark.parametrize(
    "model_variant",
    [
        name if name == "mobilenet_v2" else pytest.param(name, marks=pytest.mark.slow)
        for name in feature_extractor.BACKBONES
        if name not in tiny.SAME_IF_SHALLOW
    ],
)
def test_counts_every_convolution_of_the_graph(model_variant):
    """In the graph the dilated depthwise convolutions go through space-to-batch."""
    net = _network(
        model_variant=model_variant, output_stride=8, atrous_rates=(3, 7), crop_size=_SIZE
    )
    statistics = model_statistics.measure(net, _SIZE)
    calls, counts = _operations(net, _SIZE)
    ours = [layer for part in statistics.layers.values() for layer in part if layer.output_shapes]
    depthwise = [layer for layer in ours if layer.name.endswith("/depthwise_weights")]
    assert len(ours) == sum(calls.values())
    assert len(depthwise) == calls["DepthwiseConv2dNative"]
    assert sum(x.padded_multiply_adds for x in depthwise) == counts["DepthwiseConv2dNative"]
    full = sum(layer.multiply_adds for layer in ours if layer not in depthwise)
    assert full == counts["Conv2D"]


def test_counts_each_variable_once(net, statistics):
    total = statistics.total
    assert total.parameters == sum(math.prod(v.shape) for v in net.trainable_weights)
    assert total.moving_averages == sum(math.prod(v.shape) for v in net.non_trainable_weights)
    names = [layer.name for part in statistics.layers.values() for layer in part]
    assert len(names) == len(set(names))
    assert set(names) <= set(checkpoint.official_variables(net))


def test_multiply_adds_by_hand(statistics):
    by_name = {layer.name: layer for part in statistics.layers.values() for layer in part}
    # 65x97 at output stride 4 is 17x25.
    logits = by_name["logits/semantic/weights"]
    assert logits.parameters == 256 * 5 + 5
    assert logits.multiply_adds == 17 * 25 * 256 * 5
    assert logits.output_shapes == ((1, 17, 25, 5),)
    # At output stride 16 it is 5x7, which rate 2 and a 3x3 kernel pad to 6x8.
    channels = by_name["aspp0/weights"].parameters // 256 - 2
    aspp = by_name["aspp1_depthwise/depthwise_weights"]
    assert aspp.parameters == 9 * channels + 2 * channels
    assert aspp.moving_averages == 2 * channels
    assert aspp.multiply_adds == 5 * 7 * 9 * channels
    assert aspp.padded_multiply_adds == 6 * 8 * 9 * channels


def test_parts_and_their_shapes(net, statistics):
    images = tf.zeros((1, *_SIZE, 3))
    outputs = net.single_scale(images)
    parts = {part.name: part for part in statistics.parts}
    assert list(parts) == list(model_statistics.PARTS)
    for part, output in (("backbone", "features"), ("head", "head"), ("logits", "logits")):
        assert parts[part].output_shapes == (tuple(outputs[output].shape),)
    assert parts["decoder"].output_shapes == ((1, 17, 25, 256),)
    assert statistics.total.output_shapes == parts["logits"].output_shapes
    for number in ("parameters", "multiply_adds"):
        each = [getattr(part, number) for part in statistics.parts]
        assert min(each) > 0
        assert sum(each) == getattr(statistics.total, number)


@pytest.mark.slow
def test_a_part_that_is_not_there_is_left_out():
    net = _network(depth_multiplier=0.1, aspp_with_batch_norm=False)
    assert list(model_statistics.measure(net, _SIZE).layers) == [
        "backbone",
        "logits",
    ]
    net = _network(
        depth_multiplier=0.1,
        decoder_output_stride=(8,),
        decoder_output_is_logits=True,
        decoder_filters=21,
    )
    assert list(model_statistics.measure(net, _SIZE).layers) == [
        "backbone",
        "head",
        "decoder",
    ]


@pytest.mark.slow
def test_an_image_pyramid_costs_the_sum_of_its_scales(net, statistics):
    small = model_statistics.measure(net, (33, 49))
    pyramid = _network(**_OPTIONS, image_pyramid=(0.5, 1.0))
    both = model_statistics.measure(pyramid, _SIZE)
    assert both.total.parameters == statistics.total.parameters
    assert both.total.multiply_adds == small.total.multiply_adds + statistics.total.multiply_adds
    assert both.total.output_shapes == ((1, 9, 13, 5), (1, 17, 25, 5))


@pytest.mark.slow
def test_a_normalization_of_another_scope_counts_with_its_convolution():
    """As that of the NAS networks, whose variables are called `conv0_bn` beside `conv0`."""
    net = _network(model_variant="nas_hnasnet", nas_stem_output_num_conv_filters=2, output_stride=8)
    statistics = model_statistics.measure(net, (33, 33))
    by_name = {layer.name: layer for layer in statistics.layers["backbone"]}
    stem = by_name["hnasnet/conv0/weights"]
    # 3x3 from 3 to 64 channels, of 17x17 positions.
    assert (stem.parameters, stem.moving_averages) == (9 * 3 * 64 + 128, 128)
    assert stem.multiply_adds == 17 * 17 * 9 * 3 * 64
    assert not any("bn" in name for name in by_name)


def test_leaves_the_network_as_it_was(net):
    image = tf.constant(np.random.default_rng(0).uniform(0, 255, (1, 33, 33, 3)), tf.float32)
    before = net(image)
    attributes = [set(vars(layer)) for layer in keras_internals.sublayers(net)]
    model_statistics.measure(net, (33, 33))
    assert [set(vars(layer)) for layer in keras_internals.sublayers(net)] == attributes
    np.testing.assert_array_equal(net(image), before)


def test_table(statistics):
    lines = model_statistics.format_statistics(statistics).splitlines()
    assert [line.split()[0] for line in lines[2:]] == [*model_statistics.PARTS, "total"]
    total = statistics.total
    assert lines[-1].split() == [
        "total",
        f"{total.parameters:,}",
        f"{total.multiply_adds / 1e9:.4f}",
        "17x25x5",
    ]
    by_layer = model_statistics.format_statistics(statistics, by_layer=True).splitlines()
    names = [layer.name for part in statistics.layers.values() for layer in part]
    shown = [line.split()[0] for line in by_layer[2:]]
    assert [name for name in shown if name in names] == names
    assert len(shown) == len(names) + 5
