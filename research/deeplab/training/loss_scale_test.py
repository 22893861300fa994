"""Updates that are skipped because float16 overflowed."""

import keras
import numpy as np
import tensorflow as tf

from deeplab.training import loss_scale, optimizers


def test_averages_begin_with_the_weights_where_the_first_update_is_left_out():
    """This is common, because the first scale is high."""
    scale = loss_scale.LossScale()
    optimizer = optimizers.Momentum(1.0, momentum=0.0, use_ema=True, ema_momentum=0.75)
    weight = keras.Variable(8.0, name="weight")
    optimizer.build([weight])
    (average,) = optimizer.official_averages({"weight": weight}).values()

    @tf.function
    def step(gradient):
        scale.apply(optimizer, [gradient * scale.value], [weight])

    values = []
    for gradient in (np.inf, 4.0):
        step(tf.constant(gradient))
        values.append((float(weight.numpy()), float(average.numpy())))
    assert values == [(8.0, 8.0), (4.0, 0.75 * 8.0 + 0.25 * 4.0)]
    assert int(optimizer.iterations.numpy()) == 2


def test_a_factor_below_one_says_that_nothing_can_be_applied():
    """Each overflow halves the scale."""
    scale = loss_scale.LossScale()
    optimizer = optimizers.Momentum(1.0, momentum=0.0)
    weight = keras.Variable(8.0, name="weight")
    optimizer.build([weight])

    @tf.function
    def step():
        scale.apply(optimizer, [tf.constant(np.inf)], [weight])

    for _ in range(15):
        step()
    assert float(scale.value) == 1.0
    step()
    assert float(scale.value) == 0.5
    assert weight.numpy() == 8.0
