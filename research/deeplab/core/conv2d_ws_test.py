"""Convolutions with standardized weights and group norm."""

import numpy as np
import tensorflow as tf

from deeplab.core import conv2d_ws


def test_scale_and_offset_of_the_kernel_do_not_matter():
    layer = conv2d_ws.StandardizedConv2D(64, 3, activation=tf.nn.relu, name="conv")
    images = tf.random.stateless_uniform((2, 9, 11, 8), (0, 0))
    before = layer(images)
    layer.kernel.assign(layer.kernel.value * 5.0 + 2.0)
    np.testing.assert_allclose(layer(images), before, atol=2e-3)


def test_an_image_is_normalized_by_itself():
    layer = conv2d_ws.StandardizedConv2D(64, 3, name="conv")
    images = tf.random.stateless_uniform((2, 9, 11, 8), (0, 0)) * [[[[1.0]]], [[[100.0]]]]
    together = layer(images, training=True)
    np.testing.assert_allclose(together[:1], layer(images[:1], training=True), atol=1e-5)
    groups = np.reshape(together, (2, 9, 11, 32, 2))
    np.testing.assert_allclose(np.mean(groups, axis=(1, 2, 4)), 0.0, atol=1e-4)
    np.testing.assert_allclose(np.var(groups, axis=(1, 2, 4)), 1.0, atol=1e-2)


def test_stride_and_channels():
    layer = conv2d_ws.StandardizedConv2D(16, 3, stride=2, symmetric_padding=True, name="conv")
    assert layer(tf.zeros((1, 10, 13, 3))).shape == (1, 5, 7, 16)
