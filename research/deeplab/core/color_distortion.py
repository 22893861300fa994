"""Random changes of an image's colors and sharpness."""

import math

import tensorflow as tf

from deeplab.core.options import AugmentationOptions

_PROBABILITY = 0.5
# Random numbers that `distort` and `blur` take.
DISTORT_DRAWS, BLUR_DRAWS = 9, 2


def distort(image: tf.Tensor, uniform: tf.Tensor, options: AugmentationOptions) -> tf.Tensor:
    """Change brightness, contrast, saturation and hue, in the order of SSD.

    Brightness is a number that is added, contrast and saturation are factors, hue is an angle. Each
    is changed with probability 0.5, by an amount that is even in its range. Contrast comes after
    brightness or, with probability 0.5, after hue. Values are limited to 0..255 after each.

    Args:
        image: float32 [height, width, 3], RGB 0..255.
        uniform: float32 [DISTORT_DRAWS], random numbers in [0, 1).
        options: The ranges; what has none is left out.

    Returns:
        float32 [height, width, 3].

    Reference: the photometric distortion of Liu et al., "SSD", arXiv:1512.02325, and of its code,
        whose 18 of 180 for hue are 36 degrees here.
    """
    change = 2.0 * uniform - 1.0
    applied = uniform < _PROBABILITY
    contrast_last = applied[8]

    def limited(value: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_value(value, 0.0, 255.0)

    def contrasted(image: tf.Tensor, now: tf.Tensor) -> tf.Tensor:
        factor = tf.where(applied[2] & now, 1.0 + options.random_contrast * change[3], 1.0)
        return limited(image * factor)

    if options.random_brightness:
        image = limited(image + tf.where(applied[0], options.random_brightness * change[1], 0.0))
    if options.random_contrast:
        image = contrasted(image, ~contrast_last)
    if options.random_saturation or options.random_hue:
        factor = tf.where(applied[4], 1.0 + options.random_saturation * change[5], 1.0)
        turn = tf.where(applied[6], options.random_hue * change[7] / 360.0, 0.0)

        def recolored() -> tf.Tensor:
            hue, saturation, value = tf.unstack(tf.image.rgb_to_hsv(image / 255.0), axis=-1)
            hue = tf.math.floormod(hue + turn, 1.0)
            saturation = tf.minimum(saturation * factor, 1.0)
            return limited(255.0 * tf.image.hsv_to_rgb(tf.stack([hue, saturation, value], -1)))

        image = tf.cond((factor != 1.0) | (turn != 0.0), recolored, lambda: image)
    if options.random_contrast:
        image = contrasted(image, contrast_last)
    return image


def blur(image: tf.Tensor, uniform: tf.Tensor, max_sigma: float) -> tf.Tensor:
    """Blur an image with probability 0.5; the pixels at its borders are repeated beyond them.

    Args:
        image: float32 [height, width, channels].
        uniform: float32 [BLUR_DRAWS], random numbers in [0, 1).
        max_sigma: Largest standard deviation of the Gaussian in pixels; it is even from 0 on.

    Returns:
        float32 [height, width, channels].
    """
    sigma = (1.0 - uniform[1]) * max_sigma
    radius = math.ceil(3 * max_sigma)
    weights = tf.exp(-tf.square(tf.range(-radius, radius + 1, dtype=tf.float32) / sigma) / 2.0)
    weights = tf.unstack(weights / tf.reduce_sum(weights))

    def blurred() -> tf.Tensor:
        result = image
        for axis in range(2):
            length = tf.shape(image)[axis]
            total = tf.zeros_like(result)
            for shift, weight in enumerate(weights, start=-radius):
                places = tf.clip_by_value(tf.range(length) + shift, 0, length - 1)
                total += weight * tf.gather(result, places, axis=axis)
            result = total
        return result

    return tf.cond(uniform[0] < _PROBABILITY, blurred, lambda: image)
