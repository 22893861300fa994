"""Changes of colors against plain ones, pixel by pixel."""

import colorsys

import numpy as np
import pytest
import tensorflow as tf

from deeplab.core import color_distortion
from deeplab.core.options import AugmentationOptions

_SSD = AugmentationOptions(
    random_brightness=32, random_contrast=0.5, random_saturation=0.5, random_hue=36
)


def _image(size=(4, 5)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.float32)


def _plain(image: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """SSD's order, with numbers for "whether" and "how much" in turn, and the place of contrast."""
    change = 2 * np.float64(uniform) - 1
    applied = uniform < 0.5
    result = np.float64(image)
    if applied[0]:
        result = np.clip(result + 32 * change[1], 0, 255)
    contrast = 1 + 0.5 * change[3] if applied[2] else 1.0
    if not applied[8]:
        result = np.clip(result * contrast, 0, 255)
    if applied[4] or applied[6]:
        for place in np.ndindex(*image.shape[:2]):
            hue, saturation, value = colorsys.rgb_to_hsv(*result[place] / 255)
            if applied[4]:
                saturation = min(saturation * (1 + 0.5 * change[5]), 1)
            if applied[6]:
                hue = (hue + 36 / 360 * change[7]) % 1
            result[place] = 255 * np.array(colorsys.hsv_to_rgb(hue, saturation, value))
    if applied[8]:
        result = np.clip(result * contrast, 0, 255)
    return result


def test_colors_change_as_in_ssd():
    image = _image()
    for seed in range(40):
        uniform = np.random.default_rng(seed).uniform(size=color_distortion.DISTORT_DRAWS)
        ours = color_distortion.distort(tf.constant(image), tf.constant(uniform, tf.float32), _SSD)
        np.testing.assert_allclose(ours, _plain(image, uniform), atol=2e-3, err_msg=str(seed))


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_each_change_has_its_own_option(name):
    """With its numbers, the others off, and none left out where it is not drawn."""
    index = ("brightness", "contrast", "saturation", "hue").index(name)
    options = AugmentationOptions(
        **{f"random_{name}": {"brightness": 32, "hue": 36}.get(name, 0.5)}
    )
    image = tf.constant(_image())
    for is_applied in (True, False):
        uniform = np.full(color_distortion.DISTORT_DRAWS, 0.9, np.float32)
        others = np.array(uniform)
        others[2 * index] = 0.1
        uniform[2 * index] = 0.1 if is_applied else 0.9
        ours = color_distortion.distort(image, tf.constant(uniform), options)
        if is_applied:
            np.testing.assert_allclose(ours, _plain(image.numpy(), others), atol=2e-3)
        else:
            np.testing.assert_array_equal(ours, image)


def test_a_blur_is_the_plain_convolution():
    image, uniform = _image((9, 4)), np.float32([0.2, 0.4])
    ours = color_distortion.blur(tf.constant(image), tf.constant(uniform), max_sigma=2.0)
    sigma, radius = 1.2, 6
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    kernel = np.outer(weights, weights) / weights.sum() ** 2
    padded = np.pad(image, [(radius, radius), (radius, radius), (0, 0)], mode="edge")
    for place in np.ndindex(*image.shape[:2]):
        part = padded[place[0] :, place[1] :][: 2 * radius + 1, : 2 * radius + 1]
        expected = np.einsum("ijc,ij->c", part, kernel)
        np.testing.assert_allclose(ours[place], expected, rtol=1e-4)
    sharp = color_distortion.blur(tf.constant(image), tf.constant([0.6, 0.4]), max_sigma=2.0)
    np.testing.assert_array_equal(sharp, image)
