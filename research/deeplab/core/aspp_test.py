"""The head: its image-level feature, whose windows may be larger than an image, and its gate."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab.core import aspp


def image_pooling(window=(129, 193), stride=(1, 2), gate=None) -> aspp.ImagePooling:
    """A layer whose windows are 9 x 13 features, with the weights of a seed."""
    tf.random.set_seed(0)
    layer = aspp.ImagePooling(4, window, stride, output_stride=16, gate=gate)
    layer(tf.zeros((1, 9, 13, 6)))
    layer.kernel.assign(tf.random.normal(layer.kernel.shape))
    return layer


def features(height: int, width: int) -> tf.Tensor:
    """Random features [2, height, width, 6]."""
    return tf.constant(np.random.default_rng(0).normal(size=(2, height, width, 6)), tf.float32)


SIZES = [(9, 13), (12, 20), (5, 20), (12, 7), (5, 7), (1, 1)]


@pytest.mark.parametrize(
    "known", [(None, None), (None, "width"), ("height", None)], ids=["none", "width", "height"]
)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_sizes_known_at_run_time_give_what_sizes_known_before_give(height, width, known):
    layer, x = image_pooling(), features(height, width)
    shape = [value and {"height": height, "width": width}[value] for value in known]
    signature = tf.TensorSpec((None, *shape, 6))
    traced = tf.function(lambda images: layer(images), input_signature=[signature], autograph=False)
    np.testing.assert_allclose(traced(x), layer(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(9, 13), (5, 7)])
def test_a_window_that_covers_the_image_is_the_global_mean(height, width):
    x = features(height, width)
    whole = image_pooling(window=None)
    np.testing.assert_allclose(image_pooling()(x), whole(x), rtol=0, atol=1e-6)


def test_windows_follow_the_scale_of_a_pyramid():
    """At half the scale a window has half the size: 65 x 97 pixels, 5 x 7 features."""
    x, half = features(9, 13), image_pooling(window=(65, 97))
    expected, scaled = half(x), image_pooling()(x, scale=0.5)
    np.testing.assert_array_equal(scaled, expected)
    assert np.ptp(scaled, axis=(1, 2)).max() > 0.01


def test_gate_is_a_convolution_with_bias_and_without_batch_norm():
    layer = image_pooling(window=None, gate=tf.nn.sigmoid)
    assert {variable.name for variable in layer.weights} == {"weights", "biases"}
    assert np.all((layer(features(9, 13)) > 0) & (layer(features(9, 13)) < 1))


def test_a_gate_wants_one_branch_or_their_projection():
    gated = {"squeeze_and_excitation": True, "concat_projection": False}
    assert aspp.ASPP(16, None, 4, **gated)(features(5, 7)).shape == (2, 5, 7, 4)
    with pytest.raises(ValueError, match=r"--aspp_with_squeeze_and_excitation.* \(2, 3\)"):
        aspp.ASPP(16, (2, 3), 4, **gated)
    aspp.ASPP(16, (2, 3), 4, **gated, image_level_feature=False)
