"""Tests that every backbone has to pass; the test class of a variant inherits them."""

import contextlib
import functools
import pathlib
from collections.abc import Iterator

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab import common, model
from deeplab.core import feature_extractor, networks
from deeplab.testing import golden, parity, tiny
from deeplab.utils import checkpoint


def new_network(options: common.ModelOptions) -> model.DeepLab:
    """Return a network with the golden weights."""
    net = model.DeepLab(options, random_weights=False)
    golden.assign(checkpoint.official_variables(net))
    return net


# Large networks take seconds to build, shallow or not.
@functools.lru_cache(maxsize=4)
def _shared_network(options: common.ModelOptions, is_shallow: bool) -> model.DeepLab:
    del is_shallow
    return new_network(options)


# Tests of whole networks: in a shallow one other units come before a stride.
_WHOLE = {"test_equals_the_official_code", "test_decoder_end_points_have_their_strides"}


class BackboneCase:
    """Tests of one model variant.

    Attributes:
        model_variant: Name of the variant.
        golden_prefix: Prefix of the names of its golden configurations.
        options: Further options of the small network that the other tests build.
        consistent_strides: Output strides, fine to coarse, whose features must agree where both
            exist; empty where the architecture has no such property.
        coarsest_stride: The largest output stride that it can be built for.
        heavy: Whether to run only a golden configuration of the repository without `--slow`.
        huge: Whether to run nothing at all without it.
        shallow: Whether the tests build it with fewer of its repeated blocks and with few channels,
            all but those of its outputs and of its end points.
    """

    model_variant = ""
    golden_prefix = ""
    options: dict = {}
    consistent_strides = (8, 16, 32)
    coarsest_stride = 32
    heavy = False
    huge = False
    shallow = False

    def __init_subclass__(cls) -> None:
        """Leave the tests of a shallow network to the variant that is then the same."""
        super().__init_subclass__()
        if cls.model_variant in tiny.SAME_IF_SHALLOW:
            for name in set(vars(BackboneCase)) - _WHOLE:
                if name.startswith("test_"):
                    setattr(cls, name, None)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make one golden test for each configuration of this variant."""
        if "golden_name" not in metafunc.fixturenames:
            return
        names = golden.configurations(self.golden_prefix)
        reason = f"no golden configuration at hand starts with {self.golden_prefix!r}"
        assert names or not (golden.SHARED / "golden").exists(), reason
        in_repository = [name for name in names if name in golden.in_repository()]
        cases = [
            name if name in in_repository[:1] else pytest.param(name, marks=pytest.mark.slow)
            for name in names
        ]
        missing = pytest.param("", marks=pytest.mark.skip(reason=reason))
        metafunc.parametrize("golden_name", cases or [missing])

    @pytest.fixture(autouse=True)
    def _leave_heavy_tests_out(self, request: pytest.FixtureRequest) -> None:
        golden_test = "golden_name" in request.fixturenames
        left_out = self.huge or (self.heavy and not golden_test)
        if left_out and not request.config.getoption("--slow"):
            pytest.skip("slow: run with --slow")

    @pytest.fixture(autouse=True)
    def _build_shallow_networks(self, request: pytest.FixtureRequest) -> Iterator[None]:
        name = request.function.__name__
        self._is_shallow = self.shallow and name not in _WHOLE
        smaller = []
        if self._is_shallow:
            smaller = [tiny.shallow(), tiny.few_cells(), tiny.narrow()]
        elif self.shallow and name != "test_equals_the_official_code":
            smaller = [tiny.simple_cells(), tiny.narrow()]
        with contextlib.ExitStack() as stack:
            for context in smaller:
                stack.enter_context(context)
            yield

    def build(self, **changes) -> model.DeepLab:
        """Return a small network with the golden weights, which tests do not change."""
        return _shared_network(self.network_options(**changes), self._is_shallow)

    def network_options(self, **changes) -> common.ModelOptions:
        """Return the options of a small network."""
        values = {"model_variant": self.model_variant, "num_classes": 5, **self.options, **changes}
        return common.ModelOptions(**values)

    def images(self, height: int = 65, width: int = 65, batch: int = 1) -> tf.Tensor:
        """Return smooth random images, float32 0..255."""
        random = np.random.default_rng(0)
        coarse = random.uniform(0, 255, (batch, height // 8 + 2, width // 8 + 2, 3))
        return tf.image.resize(tf.constant(coarse, tf.float32), (height, width))

    def test_equals_the_official_code(self, golden_name: str) -> None:
        """Names, shapes and all stored outputs are equal."""
        parity.check(golden.configuration(golden_name))

    def test_dense_features_contain_the_coarse_ones(self) -> None:
        """Features at a finer output stride, subsampled, are those of the coarser one."""
        if not self.consistent_strides:
            pytest.skip("the architecture depends on the output stride")
        images = self.images(97, 97)
        finest, *coarser = self.consistent_strides
        dense = self.build(output_stride=finest).single_scale(images)["features"]
        for stride in coarser:
            features = self.build(output_stride=stride).single_scale(images)["features"]
            step = stride // finest
            error = np.max(np.abs(dense[:, ::step, ::step] - features)) / np.max(np.abs(features))
            assert error < 1e-4, f"stride {stride}"

    def test_decoder_end_points_have_their_strides(self) -> None:
        """The end point for an output stride is on the grid of that stride."""
        spec = feature_extractor.get_backbone(self.model_variant)
        height, width = 97, 81
        backbone = spec.build(self.network_options(output_stride=self.coarsest_stride))
        networks.start_at_zero(backbone)
        _, outputs = backbone(spec.preprocess(self.images(height, width)))
        for stride, name in spec.decoder_end_points.items():
            grid = (-(-height // stride), -(-width // stride))
            assert tuple(outputs[name].shape[1:3]) == grid, f"stride {stride}"

    @pytest.mark.parametrize(("height", "width"), [(33, 47), (64, 50), (80, 65)])
    def test_takes_images_of_any_size(self, height: int, width: int) -> None:
        """Labels and probabilities have the images' size, and the probabilities sum to one."""
        labels, probabilities = model.predict_labels(self.build(), self.images(height, width, 2))
        assert labels.shape == (2, height, width)
        assert probabilities.shape == (2, height, width, 5)
        np.testing.assert_allclose(tf.reduce_sum(probabilities, -1), 1.0, atol=1e-5)

    def test_an_image_does_not_depend_on_its_batch(self) -> None:
        """Each image of a batch gets the logits it gets alone."""
        net, images = self.build(), self.images(batch=2)
        together = net(images)
        apart = tf.concat([net(images[:1]), net(images[1:])], axis=0)
        np.testing.assert_allclose(together, apart, rtol=0, atol=1e-4 * np.max(np.abs(apart)))

    def test_keras_file_round_trip(self, tmp_path: pathlib.Path) -> None:
        """A `.keras` file gives the same network back."""
        net, images = self.build(), self.images()
        net.save(tmp_path / "net.keras")
        loaded = keras.models.load_model(tmp_path / "net.keras")
        assert loaded.options == net.options
        np.testing.assert_array_equal(loaded(images), net(images))

    def test_checkpoint_round_trip(self, tmp_path: pathlib.Path) -> None:
        """An official checkpoint gives the same network back."""
        net, images = self.build(), self.images()
        path = checkpoint.save(str(tmp_path), 7, checkpoint.official_variables(net))
        fresh = model.DeepLab(net.options, random_weights=False)
        checkpoint.restore(fresh, path)
        np.testing.assert_array_equal(fresh(images), net(images))

    def test_traces_once_for_all_sizes(self) -> None:
        """A graph with unknown sizes computes what the network computes."""
        net = self.build()
        spec = tf.TensorSpec((None, None, None, 3))
        traced = tf.function(net, input_signature=[spec], autograph=False)
        for height, width in ((65, 65), (50, 80)):
            images = self.images(height, width)
            expected = net(images)
            error = np.max(np.abs(traced(images) - expected)) / np.max(np.abs(expected))
            assert error < 1e-4

    def test_mixed_precision(self) -> None:
        """In bfloat16 the logits are float32, the variables too, and near the exact ones."""
        exact = self.build()
        net = model.DeepLab(
            exact.options, dtype=keras.DTypePolicy("mixed_bfloat16"), random_weights=False
        )
        golden.assign(checkpoint.official_variables(net))
        images = self.images()
        logits, expected = net(images), exact(images)
        assert logits.dtype == tf.float32
        assert all(variable.dtype == "float32" for variable in net.weights)
        assert np.all(np.isfinite(logits))
        assert np.corrcoef(np.ravel(logits), np.ravel(expected))[0, 1] > 0.95

    def test_training_reaches_every_variable(self) -> None:
        """No part is cut off from the loss; averages move, unless batch norm is frozen."""
        net, images = self.build(), self.images(batch=2)
        averages = [v for v in net.non_trainable_weights if "moving_" in v.name]
        net.set_fine_tune_batch_norm(False)
        before = [average.numpy() for average in averages]
        net(images, training=True)
        frozen = [average.numpy() for average in averages]
        np.testing.assert_equal(frozen, before)

        net.set_fine_tune_batch_norm(True)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(net(images, training=True)))
        variables = net.trainable_weights
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        dead = [v.path for v, g in zip(variables, gradients, strict=True) if g is None]
        assert not dead
        assert all(np.all(np.isfinite(gradient)) for gradient in gradients)
        still = [v.path for v, g in zip(variables, gradients, strict=True) if not np.any(g)]
        still += [
            v.path
            for v, old in zip(averages, before, strict=True)
            if np.array_equal(v.numpy(), old)
        ]
        assert not still
        # As other tests find the network.
        for average, old in zip(averages, before, strict=True):
            average.assign(old)
