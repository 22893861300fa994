import numpy as np
import tensorflow as tf

from deeplab.datasets import balanced_sampling


def test_the_rarest_class_of_an_image_decides():
    has_class = np.zeros((16, 4), bool)
    has_class[:, 0] = True
    has_class[:4, 1] = True
    has_class[0, 2] = True
    # Nobody has the last class; the last image has none.
    has_class[15] = False
    found = balanced_sampling.repetitions(has_class)
    common = np.sqrt(16 / 15)
    np.testing.assert_allclose(found, [4, 2, 2, 2, *[common] * 11, 1])


def test_epochs_repeat_images_by_their_factor():
    factors = np.array([4.0, 1.5, 1.25, 1.0, 1.0, 1.1])
    epochs = balanced_sampling.Epochs(factors)
    assert len(epochs) == 10
    seeds = [tf.constant([3, -1 - epoch], tf.int64) for epoch in range(200)]
    draw = tf.function(epochs.order)
    counts = []
    for seed in seeds:
        order = draw(seed).numpy()
        assert order.shape == (10,)
        counts.append(np.bincount(order, minlength=6))
    assert np.min(counts) >= 1
    assert np.all(np.max(counts, axis=0) <= np.ceil(factors) + 1)
    # The sum of the factors is 9.85; the rest goes to one record at random.
    np.testing.assert_allclose(np.mean(counts, axis=0), factors + 0.15 / 6, atol=0.1)
    np.testing.assert_array_equal(epochs.order(seeds[7]), draw(seeds[7]))
    assert not np.array_equal(draw(seeds[7]), draw(seeds[8]))


def test_without_rare_classes_an_epoch_is_a_permutation():
    epochs = balanced_sampling.Epochs(np.ones(7))
    order = epochs.order(tf.constant([3, -1], tf.int64))
    np.testing.assert_array_equal(np.sort(order), np.arange(7))
