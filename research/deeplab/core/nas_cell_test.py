"""The NAS cell: what its operations take, and which of them it drops in training."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab.core import nas_cell, nas_genotypes, networks, training_hooks
from deeplab.testing import golden
from deeplab.utils import checkpoint

GENOTYPES = {"pnasnet": nas_genotypes.PNASNET, "hnasnet": nas_genotypes.HNASNET}


def cell(genotype=nas_genotypes.PNASNET, **kwargs) -> nas_cell.Cell:
    """A cell of four filters with the golden weights."""
    values = {"stride": 1, "upsample": False, "depth": 0.5, **kwargs}
    layer = nas_cell.Cell(genotype, 4, previous_channels=3, name="cell_0", **values)
    layer.build((None, None, None, 6), (None, None, None, 3))
    golden.assign(checkpoint.official_variables(layer))
    return layer


def features(batch: int, height: int, width: int, channels: int) -> tf.Tensor:
    random = np.random.default_rng(channels)
    return tf.constant(random.normal(size=(batch, height, width, channels)), tf.float32)


def inputs(batch: int = 2) -> tuple[tf.Tensor, tf.Tensor]:
    """The input of a cell and that of the cell before it."""
    return features(batch, 9, 13, 6), features(batch, 17, 25, 3)


@pytest.mark.parametrize("genotype", GENOTYPES.values(), ids=GENOTYPES)
@pytest.mark.parametrize(
    ("options", "size"),
    [({}, (9, 13)), ({"stride": 2}, (5, 7)), ({"upsample": True}, (17, 25))],
    ids=str,
)
def test_the_output_is_every_sum_at_the_size_asked_for(genotype, options, size):
    assert cell(genotype, **options)(*inputs()).shape == (2, *size, 4 * len(genotype))


@pytest.mark.parametrize("genotype", GENOTYPES.values(), ids=GENOTYPES)
def test_operations_take_states_that_are_there(genotype):
    for index, pair in enumerate(genotype):
        assert all(0 <= operation.state < 2 + index for operation in pair)


def test_the_input_before_is_projected_only_where_its_channels_differ():
    names = [
        nas_cell.Cell(
            nas_genotypes.PNASNET,
            4,
            stride=1,
            upsample=False,
            previous_channels=channels,
            depth=1.0,
            name="cell_0",
        ).previous
        for channels in (3, 4)
    ]
    assert names[0] is not None
    assert names[1] is None


def test_only_states_from_outside_undergo_the_stride():
    design = nas_genotypes.OperationDesign("max_pool", 3, state=1)
    inner = nas_genotypes.OperationDesign("max_pool", 3, state=2)
    x = features(1, 8, 9, 4)
    assert nas_cell.Operation(design, 4, 2, "left")(x).shape == (1, 4, 5, 4)
    assert nas_cell.Operation(inner, 4, 2, "left")(x).shape == (1, 8, 9, 4)


def test_a_halving_atrous_operation_is_a_plain_one_on_the_halved_activations():
    """It rectifies before it resizes, which on even sizes is not the same the other way round."""
    design = nas_genotypes.OperationDesign("atrous", 3, state=0)
    operation = nas_cell.Operation(design, 4, 2, "left")
    operation.build((None, None, None, 4))
    golden.assign(checkpoint.official_variables(operation))
    x = features(1, 8, 10, 4)
    y = tf.compat.v1.image.resize_bilinear(tf.nn.relu(x), (4, 5), align_corners=True)
    conv = operation.steps[0].conv
    expected = conv.batch_norm(tf.nn.conv2d(y, conv.kernel, 1, "SAME"))
    np.testing.assert_allclose(operation(x), expected, rtol=0, atol=1e-5)


def _begin(layer, keep_probability, progress):
    schedule = training_hooks.TrainingSchedule(progress, drop_path_keep_prob=keep_probability)
    training_hooks.begin_training(layer, schedule)


class TestDropPath:
    """Official `_apply_drop_path`."""

    def dropping(self, progress: float, keep_probability: float = 0.4) -> nas_cell.Cell:
        layer = cell()
        _begin(layer, keep_probability, lambda: progress)
        return layer

    @pytest.mark.parametrize(
        ("progress", "keep"), [(0.0, 1.0), (0.5, 0.85), (1.0, 0.7), (7.0, 0.7)]
    )
    def test_it_grows_with_depth_and_with_training(self, progress, keep):
        """Half-way up, at the end of training: 1 - 0.5 * (1 - 0.4) = 0.7."""
        factors = self.dropping(progress).drop_path(tf.zeros((4000, 1, 1, 1)), paths=10)
        values = np.unique(factors)
        np.testing.assert_allclose(values[values > 0], 1 / keep, rtol=1e-6)
        np.testing.assert_allclose(np.mean(factors == 0), 1 - keep, atol=0.01)
        np.testing.assert_allclose(np.mean(factors), 1.0, atol=0.02)

    def test_the_share_of_training_is_read_in_each_step(self):
        step = tf.Variable(0.0)
        layer = cell()
        _begin(layer, 0.01, lambda: step / 10.0)
        factors = tf.function(lambda: layer.drop_path(tf.zeros((50, 1, 1, 1)), paths=10))
        assert np.all(factors() == 1.0)
        step.assign(10.0)
        assert np.any(factors() == 0.0)

    def test_the_same_seed_drops_the_same(self):
        layer = self.dropping(1.0)
        state = layer.drop_path.seed_generator.state
        before = tf.identity(state)
        first = layer.drop_path(tf.zeros((9, 1, 1, 1)), paths=10)
        second = layer.drop_path(tf.zeros((9, 1, 1, 1)), paths=10)
        state.assign(before)
        np.testing.assert_array_equal(first, layer.drop_path(tf.zeros((9, 1, 1, 1)), paths=10))
        assert np.any(first != second)

    def test_what_is_passed_on_as_it_is_is_never_dropped(self, monkeypatch):
        layer = self.dropping(1.0)
        monkeypatch.setattr(
            nas_cell.DropPath, "call", lambda self, x, paths: tf.zeros((x.shape[0], paths))
        )
        output = layer(*inputs(), training=True)
        assert np.all(output[..., :16] == 0.0)
        beginning = layer.beginning(inputs()[0], training=True)
        np.testing.assert_allclose(output[..., 16:], beginning, rtol=0, atol=1e-5)

    def test_an_image_loses_a_path_as_a_whole(self, monkeypatch):
        """One factor an image and operation: doubled, it doubles that image's part."""
        layer = self.dropping(1.0)
        networks.set_fine_tune_batch_norm(layer, True)

        def output(factors):
            monkeypatch.setattr(nas_cell.DropPath, "call", lambda self, x, paths: factors)
            return layer(*inputs(), training=True)[..., :4]

        left, right = np.zeros((2, 10), np.float32), np.zeros((2, 10), np.float32)
        left[0, 0], right[1, 1] = 2.0, 1.0
        both = output(tf.constant(left + right))
        np.testing.assert_allclose(both, output(left) + output(right), rtol=0, atol=1e-5)
        assert np.all(output(left)[1] == 0.0)
        assert np.any(output(left)[0] != 0.0)

    def test_inference_and_frozen_batch_norm_drop_nothing(self):
        layer, plain = self.dropping(1.0), cell()
        np.testing.assert_array_equal(layer(*inputs()), plain(*inputs()))
        networks.set_fine_tune_batch_norm(layer, False)
        np.testing.assert_array_equal(layer(*inputs(), training=True), plain(*inputs()))

    @pytest.mark.parametrize("probability", [0.0, -0.5, 1.5])
    def test_an_impossible_probability_is_refused(self, probability):
        with pytest.raises(ValueError, match=f"--drop_path_keep_prob is {probability}; it must be"):
            _begin(cell(), probability, lambda: 0.0)
