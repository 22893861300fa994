"""The dense prediction cell: its file, its rates, its pooling, its place in the network."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab import common, model
from deeplab.core import dense_prediction_cell
from deeplab.testing import backbone_case, golden, tiny
from deeplab.utils import checkpoint

PUBLISHED = "dense_prediction_cell_branch5_top1_cityscapes.json"


class TestNetworkWithACell(backbone_case.BackboneCase):
    model_variant = "mobilenet_v2"
    golden_prefix = "mnv2_os16_dpc"
    options = {
        "depth_multiplier": 0.35,
        "dense_prediction_cell_json": str(golden.dense_prediction_cell("dpc_with_pooling.json")),
    }
    consistent_strides = (8, 16)
    coarsest_stride = 16
    huge = True
    shallow = True


def cell(name: str, output_stride: int) -> dense_prediction_cell.DensePredictionCell:
    """A cell with the golden weights."""
    branches = dense_prediction_cell.read(str(golden.dense_prediction_cell(name)))
    layer = dense_prediction_cell.DensePredictionCell(branches, output_stride)
    layer(tf.zeros((1, 5, 5, 8)))
    golden.assign({variable.path: variable for variable in layer.weights})
    return layer


def features(height: int, width: int) -> tf.Tensor:
    random = np.random.default_rng(0)
    return tf.constant(random.normal(size=(2, height, width, 8)), tf.float32)


def test_the_published_cell_is_found_under_its_official_path():
    branches = dense_prediction_cell.read(f"deeplab/core/{PUBLISHED}")
    assert [branch.input for branch in branches] == [None, 0, 1, 0, 0]
    assert [branch.rate for branch in branches] == [(1, 6), (18, 15), (6, 3), (1, 1), (6, 21)]
    assert all(branch.kernel == (3, 3) for branch in branches)


def test_an_existing_file_goes_before_one_of_the_package(tmp_path):
    path = tmp_path / PUBLISHED
    path.write_text('[{"op": "conv", "kernel": [1, 1], "input": -1}]')
    assert dense_prediction_cell.read(str(path)) == (
        dense_prediction_cell.ConvolutionBranch(input=None, kernel=(1, 1)),
    )


@pytest.mark.parametrize("path", ["no_such_cell.json", ""])
def test_a_missing_file_is_named(tmp_path, path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}/{path} is not a file.*{PUBLISHED}"):
        dense_prediction_cell.read(f"{tmp_path}/{path}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON: Expecting value"),
        ('[{"op": "conv",', "is not JSON"),
        ("{}", r"holds \{\}; a cell is a list of branches"),
        ("[]", r"holds \[\]; a cell is a list of branches"),
        ("[3]", "branch 0 is 3, not an object"),
        ('[{"op": "conv", "kernel": 1}]', r'branch 0: "input" is missing; .* -1 \(the features\)$'),
        ('[{"op": "conv", "kernel": 1, "input": 0}]', 'branch 0: "input" is 0; it must be -1'),
        (
            '[{"op": "conv", "kernel": 1, "input": -1}, {"op": "conv", "kernel": 1, "input": 1}]',
            'branch 1: "input" is 1; it must be -1 .* or an earlier branch, up to 0',
        ),
        ('[{"op": "conv", "kernel": 1, "input": true}]', 'branch 0: "input" is true'),
        ('[{"kernel": 1, "input": -1}]', 'branch 0: "op" is missing; it must be "conv" or'),
        ('[{"op": "pool", "input": -1}]', 'branch 0: "op" is "pool"; it must be "conv" or "pyr'),
        ('[{"op": "conv", "input": -1}]', 'branch 0: "kernel" is missing; .* a positive integer'),
        ('[{"op": "conv", "kernel": 0, "input": -1}]', 'branch 0: "kernel" is 0'),
        ('[{"op": "conv", "kernel": [3], "input": -1}]', r'branch 0: "kernel" is \[3\]'),
        ('[{"op": "conv", "kernel": 3, "input": -1}]', 'branch 0: "rate" is missing'),
        ('[{"op": "conv", "kernel": 3, "rate": 6, "input": -1}]', "two positive integers"),
        ('[{"op": "conv", "kernel": 3, "rate": [1, 0], "input": -1}]', r'"rate" is \[1, 0\]'),
        ('[{"op": "conv", "kernel": 3, "rate": [1, 1.5], "input": -1}]', r'"rate" is \[1, 1.5\]'),
        ('[{"op": "pyramid_pooling", "input": -1}]', 'branch 0: "grid_size" is missing'),
        ('[{"op": "pyramid_pooling", "grid_size": "2", "input": -1}]', '"grid_size" is "2"'),
    ],
)
def test_a_malformed_file_is_named_with_branch_and_field(tmp_path, text, message):
    path = tmp_path / "cell.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        dense_prediction_cell.read(str(path))
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_rates_follow_the_output_stride():
    """The fields of view stay: the finer output, subsampled, is the coarser one's."""
    dense = features(33, 29)
    fine = cell(PUBLISHED, output_stride=8)(dense)[:, ::2, ::2]
    coarse = cell(PUBLISHED, output_stride=16)(dense[:, ::2, ::2])
    np.testing.assert_allclose(fine, coarse, rtol=0, atol=1e-5 * np.max(coarse))


def test_kernels_and_rates_differ_by_axis(tmp_path):
    path = tmp_path / "cell.json"
    path.write_text('[{"op": "conv", "kernel": [1, 3], "rate": [7, 2], "input": -1}]')
    layer = dense_prediction_cell.DensePredictionCell(dense_prediction_cell.read(str(path)), 8)
    depthwise = layer.parts[0][0]
    depthwise.build((None, None, None, 1))
    assert depthwise.kernel.shape == (1, 3, 1, 1)
    impulse = tf.one_hot([4], 9)[..., tf.newaxis] * tf.one_hot([6], 13)
    response = depthwise.convolve(impulse[..., tf.newaxis], tf.ones((1, 3, 1, 1)), "SAME")
    assert [tuple(place) for place in np.argwhere(response)[:, 1:3]] == [(4, 2), (4, 6), (4, 10)]


def test_a_coarser_output_stride_than_the_rates_are_made_for_is_refused():
    with pytest.raises(ValueError, match="--output_stride is 32; .* at most 16"):
        cell(PUBLISHED, output_stride=32)


@pytest.mark.parametrize(
    ("grid_size", "crop_size", "scale", "window"),
    [
        ((1, 1), None, 1.0, (9, 7)),
        ((2, 3), None, 1.0, (5, 3)),
        ((1, 1), (65, 65), 1.0, (5, 5)),
        ((2, 1), (65, 65), 1.0, (3, 5)),
        # A crop at half its size, and a window larger than the features.
        ((1, 1), (129, 65), 0.5, (5, 3)),
        ((1, 1), (513, 65), 1.0, (9, 5)),
    ],
)
def test_pooling_takes_the_means_of_official_windows(grid_size, crop_size, scale, window):
    x = features(9, 7)
    pooling = dense_prediction_cell.PyramidPooling(4, grid_size, 16, crop_size)
    pooling.build(x.shape)
    pooled = tf.nn.conv2d(tf.nn.avg_pool2d(x, window, 1, "VALID"), pooling.kernel, 1, "SAME")
    expected = tf.compat.v1.image.resize_bilinear(pooled, (9, 7), align_corners=True)
    np.testing.assert_allclose(pooling(x, scale=scale), expected, atol=1e-5)
    # Also where the graph does not know the size.
    traced = tf.function(
        lambda x: pooling(x, scale=scale),
        input_signature=[tf.TensorSpec((None, None, None, 8))],
    )
    np.testing.assert_allclose(traced(x), expected, atol=1e-5)


@pytest.fixture(scope="module")
def net() -> model.DeepLab:
    """A network with a pyramid of two scales and the golden weights."""
    options = common.ModelOptions(
        depth_multiplier=0.35,
        num_classes=3,
        dense_prediction_cell_json=PUBLISHED,
        image_pyramid=(0.5, 1.0),
    )
    with tiny.shallow():
        net = model.DeepLab(options, random_weights=False)
    golden.assign(checkpoint.official_variables(net))
    return net


class TestPyramid:
    """Each scale of the network's own pyramid has a cell; any other pyramid uses the first."""

    images = tf.constant(np.random.default_rng(0).uniform(0, 255, (1, 65, 65, 3)), tf.float32)

    def test_each_scale_has_variables_of_its_own(self, net):
        names = checkpoint.official_variables(net)
        first = [name for name in names if name.startswith("meta_architecture/")]
        assert len(first) == 5 * 2 * 5 + 5
        second = [name.replace("meta_architecture/", "meta_architecture_1/") for name in first]
        assert set(second) == {name for name in names if name.startswith("meta_architecture_1/")}

    def test_scales_of_an_evaluation_share_the_first(self, net):
        variables = checkpoint.official_variables(net)
        gamma = variables["meta_architecture_1/concat_projection/BatchNorm/gamma"]
        before = gamma.numpy()

        def both():
            return net(self.images), model.predict_labels(net, self.images, (0.75, 1.0))[1]

        merged, evaluated = both()
        gamma.assign(2.0 * before)
        merged_after, evaluated_after = both()
        gamma.assign(before)
        np.testing.assert_array_equal(evaluated, evaluated_after)
        assert np.max(np.abs(merged - merged_after)) > 1e-3


def test_the_aspp_switch_leaves_the_cell_out_too():
    options = common.ModelOptions(
        depth_multiplier=0.35, dense_prediction_cell_json=PUBLISHED, aspp_with_batch_norm=False
    )
    with tiny.shallow():
        net = model.DeepLab(options, random_weights=False)
    assert not any("meta_architecture" in name for name in checkpoint.official_variables(net))
