"""Labels by cells are those of the arg-max of everything."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab.core import upsampled_labels, utils


@tf.function(
    input_signature=[
        tf.TensorSpec((None, None, None, 5)),
        tf.TensorSpec((2,), tf.int32),
    ],
    autograph=False,
)
def _labels(logits, size):
    return upsampled_labels.arg_max(logits, size, 4.0)


def _plain(logits, size):
    return np.argmax(utils.resize_bilinear(tf.constant(logits), tf.constant(size)), axis=-1)


def _logits(kind, generator, batch, height, width):
    """Logits of 5 classes: large areas, ties, near ties, or a class of its own at every corner."""
    if kind == "areas":
        coarse = generator.normal(size=(batch, 3, 3, 5)).astype(np.float32)
        return tf.image.resize(coarse, (height, width)).numpy()
    if kind == "ties":
        return generator.integers(-1, 2, (batch, height, width, 5)).astype(np.float32)
    noise = generator.normal(size=(batch, height, width, 5)).astype(np.float32)
    if kind == "near ties":
        return 100 + noise * np.float32(1e-5)
    return noise


@pytest.mark.parametrize("kind", ["areas", "ties", "near ties", "noise"])
def test_labels_by_cells_are_those_of_every_pixel(kind):
    generator = np.random.default_rng(3)
    for height, width in ((2, 2), (9, 12), (1, 5), (17, 17)):
        logits = _logits(kind, generator, 2, height, width)
        size = np.array([4 * height - 3, 4 * width - 3], np.int32)
        labels = _labels(logits, size)
        # Whatever the share of unclear cells, both ways agree.
        corners, unclear = upsampled_labels._corners(tf.constant(logits))
        by_cells = upsampled_labels._by_cells(tf.constant(logits), corners, unclear, 4)
        np.testing.assert_array_equal(labels, _plain(logits, size))
        np.testing.assert_array_equal(by_cells, _plain(logits, size))


def test_few_cells_of_large_areas_are_unclear():
    logits = np.zeros((1, 17, 17, 5), np.float32)
    logits[:, :8, :, 1] = logits[:, 8:, :, 2] = 3.0
    _, unclear = upsampled_labels._corners(tf.constant(logits))
    assert np.unique(np.nonzero(unclear)[1]).tolist() == [7]


@pytest.mark.parametrize("size", [(30, 33), (33, 47), (32, 32)])
def test_images_of_parts_of_cells_are_upsampled(size):
    logits = _logits("areas", np.random.default_rng(5), 1, 9, 9)
    size = np.array(size, np.int32)
    np.testing.assert_array_equal(_labels(logits, size), _plain(logits, size))
