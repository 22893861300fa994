"""PNASNet and Auto-DeepLab against the official code, and their options."""

import contextlib
import json

import numpy as np
import pytest
import tensorflow as tf

from deeplab import common, model
from deeplab.core import (
    feature_extractor,
    nas_cell,
    nas_genotypes,
    nas_network,
    networks,
    quantization,
    quantization_tables,
    training_hooks,
)
from deeplab.testing import backbone_case, golden, parity, tiny
from deeplab.utils import checkpoint


class TestPNASNet(backbone_case.BackboneCase):
    model_variant = "nas_pnasnet"
    golden_prefix = "pnasnet"
    options = {"nas_stem_output_num_conv_filters": 8}
    consistent_strides = ()
    huge = True
    shallow = True


class TestAutoDeepLab(backbone_case.BackboneCase):
    model_variant = "nas_hnasnet"
    golden_prefix = "hnasnet"
    options = {"output_stride": 8, "nas_stem_output_num_conv_filters": 8}
    consistent_strides = ()
    huge = True
    shallow = True


@pytest.mark.slow
@pytest.mark.parametrize("model_variant", ["nas_pnasnet", "nas_hnasnet"])
def test_initial_values_and_weight_decay_are_the_official_ones(model_variant):
    output_stride = 16 if model_variant == "nas_pnasnet" else 8
    options = common.ModelOptions(model_variant=model_variant, output_stride=output_stride)
    draws = model_variant == "nas_pnasnet"
    with contextlib.nullcontext() if draws else parity.backbones.used():
        net = model.DeepLab(options, random_weights=draws)
    parity.check_weight_decay(net, model_variant)
    if draws:
        parity.check_initial_values(net, model_variant)


@pytest.mark.slow
def test_the_classifier_equals_the_official_one():
    official = json.loads(golden.shared("golden/_extra/nas_pnasnet_classifier.json").read_text())
    arrays = np.load(golden.shared("golden/_extra/nas_pnasnet_classifier.npz"))
    images = feature_extractor.to_unit_range(tf.constant(arrays["image"], tf.float32))
    net = nas_network.pnasnet(32, classification_head=True, num_classes=11)
    networks.start_at_zero(net)
    net.build(images.shape)
    variables = {
        f"pnasnet/{name}": variable for name, variable in checkpoint.official_variables(net).items()
    }
    assert {name: list(each.shape) for name, each in variables.items()} == dict(
        official["variables"]
    )
    golden.assign(variables)
    logits, end_points = net(images)
    assert set(end_points) == set(official["end_points"])
    for ours, key in ((logits, "out"), (end_points["predictions"], "predictions")):
        assert ours.shape == arrays[key].shape
        assert np.max(np.abs(ours - arrays[key])) <= 1e-4 * np.max(np.abs(arrays[key]))


def small(levels, output_stride=8, **kwargs) -> nas_network.NASNet:
    """A network with the golden weights of few cells, which have all kinds of operations."""
    genotype = nas_genotypes.HNASNET[:2]
    net = nas_network.NASNet(
        genotype, levels, output_stride, name="hnasnet", stem_filters=3, **kwargs
    )
    networks.start_at_zero(net)
    net.build((None, None, None, 3))
    golden.assign(checkpoint.official_variables(net))
    return net


def images(height: int, width: int) -> tf.Tensor:
    random = np.random.default_rng(0)
    return tf.constant(random.uniform(-1, 1, (1, height, width, 3)), tf.float32)


@pytest.mark.slow
def test_cells_have_the_size_of_their_levels():
    net = small((0, 1, 2, 3, 3, 2))
    _, end_points = net(images(65, 129))
    sizes = [end_points[f"Cell_{index}"].shape for index in range(6)]
    assert sizes == [
        (1, 17, 33, 6),
        (1, 9, 17, 12),
        (1, 5, 9, 24),
        (1, 3, 5, 48),
        (1, 3, 5, 48),
        (1, 5, 9, 24),
    ]


def test_drop_path_reaches_every_cell_and_grows_with_depth():
    net = small((0, 1, 2, 1))
    schedule = training_hooks.TrainingSchedule(lambda: 1.0, drop_path_keep_prob=0.5)
    training_hooks.begin_training(net, schedule)
    assert [cell.drop_path.keep_probability for cell in net.cells] == [0.5] * 4
    assert [cell.drop_path.depth for cell in net.cells] == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.slow
def test_removing_the_last_stride_changes_sizes_but_no_variable():
    kept, removed = small((1, 2, 3, 3, 2, 1)), small((1, 2, 3, 3, 2, 1), remove_os32_stride=True)
    shapes = [
        {name: tuple(each.shape) for name, each in checkpoint.official_variables(net).items()}
        for net in (kept, removed)
    ]
    assert shapes[0] == shapes[1]
    _, end_points = removed(images(65, 65))
    assert [end_points[f"Cell_{index}"].shape[1] for index in range(6)] == [9, 5, 5, 5, 5, 9]


@pytest.mark.parametrize(
    ("output_stride", "strides", "rates"),
    [(8, (1, 1, 1), (2, 4, 1)), (16, (2, 1, 1), (1, 2, 1)), (32, (2, 2, 1), (1, 1, 1))],
)
def test_the_classification_head_strides_and_then_dilates(output_stride, strides, rates):
    net = small((0, 1), output_stride, classification_head=True)
    convs = net.head.steps.values()
    assert tuple(conv.stride for conv in convs) == strides
    assert tuple(conv.rate for conv in convs) == tuple((rate, rate) for rate in rates)
    assert net.features_stride == output_stride
    features, end_points = net(images(65, 65))
    assert features.shape == (1, 64 // output_stride + 1, 64 // output_stride + 1, 2048)
    assert list(end_points)[-3:] == ["downsample_os16", "downsample_os32", "classification_head"]
    assert np.all(features == tf.nn.relu(end_points["classification_head"]))


@pytest.fixture(scope="module")
def hourglass():
    """A network of all levels and its graph."""
    net = small((0, 1, 2, 1, 2, 3, 2, 1))
    spec = tf.TensorSpec((None, None, None, 3))
    return net, tf.function(net, input_signature=[spec], autograph=False)


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width"), [(50, 34), (64, 96), (96, 65)])
def test_sizes_that_do_not_come_back_by_doubling_work(hourglass, height, width):
    """Where rows and columns part, the official code stops with an error."""
    net, traced = hourglass
    features, _ = net(images(height, width))
    assert np.max(np.abs(traced(images(height, width))[0] - features)) <= 1e-4 * np.max(features)


@pytest.mark.slow
def test_auto_deeplab_ends_at_stride_8_whatever_is_asked_for():
    """Its logits are brought to the grid that was asked for.

    The official code does so without the image-level feature, and stops with an error with it.
    """
    options = common.ModelOptions(
        model_variant="nas_hnasnet", nas_stem_output_num_conv_filters=2, output_stride=16
    )
    with tiny.shallow():
        net = model.DeepLab(options, random_weights=False)
    picture = 255.0 * (images(65, 97) + 1.0) / 2.0
    assert net.single_scale(picture)["logits"].shape == (1, 9, 13, 21)
    assert net(picture).shape == (1, 5, 7, 21)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"model_variant": "nas_pnasnet", "output_stride": 4},
            r"--output_stride is 4; nas_pnasnet has \[8, 16, 32\]",
        ),
        (
            {
                "model_variant": "nas_hnasnet",
                "output_stride": 4,
                "nas_use_classification_head": True,
            },
            "--output_stride is 4; with --nas_use_classification_head it is a multiple of .* 8",
        ),
        (
            {
                "model_variant": "nas_hnasnet",
                "image_pooling_crop_size": (65, 65),
                "crop_size": (65, 65),
            },
            "--image_pooling_crop_size needs .* --output_stride is 16 and nas_hnasnet ends at 8",
        ),
        (
            {"model_variant": "nas_pnasnet", "nas_stem_output_num_conv_filters": 0},
            "--nas_stem_output_num_conv_filters is 0; it must be a whole number, at least 1",
        ),
        (
            {"model_variant": "nas_pnasnet", "decoder_output_stride": (2,)},
            r"--decoder_output_stride has 2, but pnasnet has decoder features at \[4, 8, 16\]",
        ),
    ],
)
def test_options_that_the_network_cannot_have_are_errors(options, message):
    with tiny.shallow(), tiny.few_cells(), pytest.raises(ValueError, match=message) as caught:
        model.DeepLab(common.ModelOptions(**options))
    assert "\n" not in str(caught.value)


# What the official code made: genotype, levels, whether the head follows, and the step between the
# channels that are stored.
_QUANTIZED = {
    "pnasnet": (nas_genotypes.PNASNET, (1, 2), False, 1),
    "hnasnet": (nas_genotypes.HNASNET, (0, 1, 2, 1), True, 16),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pnasnet", "hnasnet"])
def test_quantized_cells_are_the_official_ones(name, monkeypatch):
    """Names and shapes of all that quantizers have, and the features.

    Each range is another and cuts values off, which tells where it is applied. With 16 bits, a
    value between two numbers makes no difference.
    """
    genotype, levels, head, step = _QUANTIZED[name]
    expected, arrays = golden.quantized(f"{name}_cells")
    monkeypatch.setattr(quantization, "_BITS", 16)
    net = nas_network.NASNet(
        genotype, levels, 16, name=name, stem_filters=3, classification_head=head
    )
    options = common.ModelOptions(nas_use_classification_head=head)
    quantization.attach(net, quantization_tables.nas(genotype, options))
    images = feature_extractor.to_unit_range(tf.constant(arrays["image"], tf.float32))
    net(images)
    variables = checkpoint.official_variables(net)
    golden.assign({f"{name}/{key}": variable for key, variable in variables.items()})
    features, _ = net(images)
    error = np.abs(features[..., ::step] - arrays["features"])
    assert np.max(error) <= 5e-4
    assert np.mean(error) <= 2e-5

    ranges = {key: each for key, each in variables.items() if key.endswith(("/min", "/max"))}
    for mode, ours in (("eval", ranges), ("train", ranges | training_hooks.begin_training(net))):
        shapes = {key: tuple(variable.shape) for key, variable in ours.items()}
        # The network by itself has no scope around it.
        assert shapes == {
            key.replace(f"{name}/", ""): shape for key, shape in expected[mode].items()
        }


def test_halved_features_of_even_size_are_aligned_as_the_official_ones():
    """A separable convolution pads alike on both sides: the pixel in the middle of its kernel."""
    design = nas_genotypes.OperationDesign("separable", 3, state=0)
    operation = nas_cell.Operation(design, 1, 2, "left")
    operation.build((None, None, None, 1))
    center = np.zeros((3, 3, 1, 1), np.float32)
    center[1, 1] = 1.0
    for step in operation.steps:
        step.conv.depthwise.kernel.assign(center)
        step.conv.pointwise.kernel.assign(np.ones((1, 1, 1, 1)))
    x = tf.reshape(tf.range(48.0), (1, 6, 8, 1))
    np.testing.assert_allclose(operation(x), x[:, ::2, ::2], rtol=3e-3)
