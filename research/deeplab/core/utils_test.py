"""Sizes and aligned resizing."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab.core import utils
from deeplab.testing import golden


def test_scale_dimension_is_the_official_one():
    facts, _ = golden.misc("preprocess")
    for dimension, scale, expected in facts["scale_dimension"]:
        assert utils.scale_dimension(dimension, scale) == expected
        assert int(utils.scale_dimension(tf.constant(dimension), scale)) == expected


def test_bilinear_keeps_corners_and_is_linear_between_them():
    ramp = np.linspace(0, 12, 5, dtype=np.float32)
    images = tf.constant(ramp[None, :, None, None] + ramp[None, None, :, None])
    fine = np.linspace(0, 12, 9, dtype=np.float32)
    resized = utils.resize_bilinear(images, (9, 9))[0, :, :, 0]
    np.testing.assert_allclose(resized, fine[:, None] + fine[None, :], atol=1e-5)


def test_nearest_takes_existing_labels_and_keeps_corners():
    labels = tf.constant(np.arange(35).reshape(1, 5, 7, 1), tf.int32)
    resized = utils.resize_nearest(labels, (9, 13)).numpy()[0, :, :, 0]
    assert resized.dtype == np.int32
    np.testing.assert_array_equal(resized[::2, ::2], labels[0, :, :, 0])


@pytest.mark.parametrize("resize", [utils.resize_bilinear, utils.resize_nearest])
def test_same_size_is_not_resampled(resize):
    images = tf.random.stateless_uniform([1, 5, 7, 2], (0, 1))
    assert resize(images, (5, 7)) is images
    assert resize(images, tf.constant([5, 7])) is images

    @tf.function
    def traced(images, height):
        assert resize(images, (5, height)) is not images
        return resize(images, (5, height))

    np.testing.assert_array_equal(traced(images, tf.constant(7)), images)


def test_static_sizes_survive_tracing():
    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3])])
    def traced(images):
        return utils.resize_bilinear(images, (9, 13))

    assert traced.get_concrete_function().structured_outputs.shape[1:] == (9, 13, 3)


@pytest.mark.parametrize(
    ("given", "asked", "result"),
    [
        (tf.uint8, None, tf.float32),
        (tf.bfloat16, None, tf.bfloat16),
        (tf.float32, None, tf.float32),
        (tf.bfloat16, tf.float32, tf.float32),
    ],
)
def test_dtype_of_the_result(given, asked, result):
    images = tf.cast(tf.reshape(tf.range(12), [1, 3, 4, 1]), given)
    for size in ((3, 4), (5, 7)):
        assert utils.resize_bilinear(images, size, dtype=asked).dtype == result


@pytest.mark.parametrize("scale", [0.35, 0.5, 0.7, 1.3, 1.4, 1 / 16])
def test_sizes_are_the_same_whether_known_or_not(scale):
    for side in range(1, 400, 7):
        unknown = utils.scale_dimension(tf.constant(side), scale)
        assert int(unknown) == utils.scale_dimension(side, scale), side
