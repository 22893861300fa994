"""Losses of regions: how badly the predicted region of a class covers the labeled one.

A pixel's share in such a loss depends on the other pixels of its class, so that a class of few
pixels counts as much as a large one. All of them are defined here for one image, over its pixels
that are not ignored, and for each class of which the image has a pixel:

    loss of an image = weighted mean of the losses of the classes that its label contains
    loss of a batch = mean of the losses of its images that have a labeled pixel

The definition by images makes the loss of a batch the same however it is divided over replicas and
over time. A class that is absent from the label has no term. Probability that it gets is missing
from the classes that are present, so it raises their loss.
"""

from collections.abc import Sequence

import tensorflow as tf


def dice(probabilities: tf.Tensor, truth: tf.Tensor) -> tf.Tensor:
    """Return 1 - D for each class, with D = 2 sum(p g) / (sum(p^2) + sum(g^2)).

    Args:
        probabilities: Float32 [batch, pixels, classes]; 0 at ignored pixels.
        truth: The labels as float32 of the same shape: 1 for the class of a pixel, otherwise 0;
            all 0 at ignored pixels.

    Returns:
        Float32 [batch, classes], 0 to 1; without meaning for classes that an image does not have.

    Reference: Milletari et al., "V-Net", arXiv:1606.04797, section 3, where an image is a volume.
    """
    # 1 - D, without the difference of two numbers that are almost the same.
    miss = tf.reduce_sum(tf.math.squared_difference(probabilities, truth), axis=1)
    size = tf.reduce_sum(tf.square(probabilities) + truth, axis=1)
    return tf.math.divide_no_nan(miss, size)


def tversky(
    probabilities: tf.Tensor, truth: tf.Tensor, alpha: float = 0.3, beta: float = 0.7
) -> tf.Tensor:
    """Return 1 - T for each class, with T = TP / (TP + alpha FP + beta FN), of probabilities.

    With alpha = beta = 0.5 it is the dice loss without squares.

    Args:
        probabilities: See `dice`, also for the result.
        truth: See `dice`.
        alpha: Weight of false positives, FP = sum(p (1 - g)).
        beta: Weight of false negatives, FN = sum((1 - p) g).

    Reference: Salehi et al., arXiv:1706.05721, equation 1; the defaults are its best values.
    """
    hits = tf.reduce_sum(probabilities * truth, axis=1)
    # No difference of sums: both may be far smaller than these.
    miss = tf.reduce_sum((1.0 - probabilities) * truth * beta, axis=1)
    miss += tf.reduce_sum(probabilities * (1.0 - truth) * alpha, axis=1)
    return tf.math.divide_no_nan(miss, hits + miss)


def lovasz(probabilities: tf.Tensor, truth: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
    """Return the Lovász extension of 1 - IoU of each class, at the errors of the probabilities.

    The error of a pixel is 1 - p if it belongs to the class, otherwise p. With errors of 0 and 1
    only, the loss is 1 - IoU.

    Args:
        probabilities: See `dice`, also for the result.
        truth: See `dice`.
        kept: Float32 [batch, pixels, 1]: 0 at ignored pixels, otherwise 1.

    Reference: Berman et al., arXiv:1705.08790, equations 8 to 12, for the IoU of an image; the
        weights of the errors are those of equation 9.
    """
    # Only the classes that an image has are sorted, which takes by far the most time.
    present = tf.reduce_max(truth, axis=1) > 0
    pairs = tf.where(present)
    inside = tf.gather_nd(tf.transpose(truth, [0, 2, 1]), pairs)
    errors = tf.abs(inside - tf.gather_nd(tf.transpose(probabilities, [0, 2, 1]), pairs))
    # Ignored pixels come last, where their weight changes no other.
    keys = tf.stop_gradient(errors) - tf.gather(1.0 - kept[..., 0], pairs[:, 0])
    order = tf.argsort(keys, axis=-1, direction="DESCENDING")
    inside = tf.gather(inside, order, axis=-1, batch_dims=1)
    total = tf.reduce_sum(inside, axis=-1, keepdims=True)
    # If the pixels up to each one were wrong: what would be left of the class, and the union.
    left = total - tf.cumsum(inside, axis=-1)
    union = total + tf.cumsum(1.0 - inside, axis=-1)
    # By how much the pixel raises 1 - left / union, without a difference of almost equal numbers.
    of_others = tf.math.divide_no_nan(left, union * (union - 1.0))
    weights = tf.where(inside > 0, tf.math.divide_no_nan(1.0, union), of_others)
    errors = tf.gather(errors, order, axis=-1, batch_dims=1)
    losses = tf.reduce_sum(errors * tf.stop_gradient(weights), axis=-1)
    return tf.scatter_nd(pairs, losses, tf.shape(present, out_type=tf.int64))


def mean_over_classes(
    losses: tf.Tensor, truth: tf.Tensor, weights: Sequence[float] | None = None
) -> tf.Tensor:
    """Return the loss of each image: the weighted mean over the classes that its label contains.

    Args:
        losses: Float32 [batch, classes].
        truth: See `dice`.
        weights: Weight of each class. None: they are equal.

    Returns:
        Float32 [batch]; 0 for an image without a labeled pixel.
    """
    present = tf.reduce_max(truth, axis=1)
    shares = present if weights is None else present * tf.constant(weights, tf.float32)
    return tf.math.divide_no_nan(
        tf.reduce_sum(losses * shares, axis=-1), tf.reduce_sum(shares, axis=-1)
    )
