"""Epochs in which images with rare classes come several times."""

import numpy as np
import tensorflow as tf

# Parts of one that repetitions are counted in: sums of integers have no rounding.
_UNIT = 2**20


def repetitions(has_class: np.ndarray) -> np.ndarray:
    """Return how often each image comes in an epoch, on average.

    A class that a share f of the images has asks for 1 / sqrt(f); the rarest class of an image
    decides.

    Args:
        has_class: Booleans [images, classes].

    Returns:
        float64 [images], at least 1.

    Reference: repeat factor sampling of Gupta et al., "LVIS", arXiv:1908.03195, with
        the threshold 1.
    """
    share = has_class.mean(axis=0)
    factors = 1 / np.sqrt(np.maximum(share, 1 / max(len(has_class), 1)))
    return np.where(has_class, factors, 1.0).max(axis=1)


class Epochs:
    """The records of each epoch, as functions of seed and epoch alone.

    All epochs have the same length. In each, every record comes at least once, and its repetitions
    rounded up or down, at random, so that the mean is right.

    Args:
        repetitions: Number of times that each record occurs, at least 1.
    """

    def __init__(self, repetitions: np.ndarray):
        self._parts = np.ceil(np.float64(repetitions) * _UNIT).astype(np.int64)
        self._length = -(-int(self._parts.sum()) // _UNIT)

    def __len__(self) -> int:
        """Return the number of samples of an epoch."""
        return self._length

    def order(self, seed: tf.Tensor) -> tf.Tensor:
        """Return the records of an epoch in the order of its samples.

        Args:
            seed: Integers [2], those of the epoch.

        Returns:
            int32 [length of an epoch].
        """
        records = _permutation(len(self._parts), seed)
        # One record gets what is missing from a whole number.
        ends = tf.cumsum(tf.gather(tf.constant(self._parts), records))
        ends = tf.concat([[0], ends[:-1], [self._length * _UNIT]], axis=0)
        rounding_seed = tf.random.experimental.stateless_fold_in(seed, 1, alg="philox")
        rounding = tf.random.stateless_uniform([], rounding_seed, 0, _UNIT, tf.int64, alg="philox")
        wholes = (ends + rounding) // _UNIT
        repeated = tf.repeat(records, wholes[1:] - wholes[:-1])
        order_seed = tf.random.experimental.stateless_fold_in(seed, 2, alg="philox")
        return tf.gather(repeated, _permutation(self._length, order_seed))


def _permutation(count: int, seed: tf.Tensor) -> tf.Tensor:
    keys = tf.random.stateless_uniform([count], seed, None, None, tf.int64, alg="philox")
    return tf.argsort(keys, stable=True)
