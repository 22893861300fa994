import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab.core.options import TrainOptions
from deeplab.testing import golden
from deeplab.training import learning_rate

FACTS = golden.misc("learning_rate")[0]
STEPS = FACTS["steps"]


def _rates(schedule, steps=STEPS):
    rate = tf.function(schedule, input_signature=[tf.TensorSpec([], tf.int64)])
    return np.array([rate(step) for step in steps])


@pytest.mark.parametrize("name", FACTS["cases"])
def test_rates_are_the_official_ones(name):
    case = FACTS["cases"][name]
    schedule = learning_rate.learning_rate_schedule(TrainOptions(**case["args"]))
    np.testing.assert_allclose(_rates(schedule), case["lr"], rtol=1e-6)


@pytest.mark.parametrize("name", FACTS["cases"])
def test_a_schedule_survives_its_config(name):
    options = TrainOptions(**FACTS["cases"][name]["args"])
    schedule = learning_rate.learning_rate_schedule(options)
    config = keras.optimizers.schedules.serialize(schedule)
    copy = keras.optimizers.schedules.deserialize(config)
    np.testing.assert_array_equal(_rates(copy), _rates(schedule))


def test_an_optimizer_asks_for_the_rate_of_the_updates_made_so_far():
    schedule = learning_rate.learning_rate_schedule(
        TrainOptions(base_learning_rate=1.0, training_number_of_steps=10, slow_start_step=2)
    )
    optimizer = keras.optimizers.SGD(schedule)
    variable = keras.Variable([0.0])
    rates = []
    for _ in range(4):
        before = variable.numpy()
        optimizer.apply([tf.ones([1])], [variable])
        rates.append((before - variable.numpy()).item())
    expected = [1e-4, 1e-4, 1.0, (1 - 1 / 8) ** 0.9]
    np.testing.assert_allclose(rates, expected, rtol=1e-3)


def test_a_run_that_is_all_slow_start_keeps_the_slow_rate():
    for policy in ("poly", "cosine"):
        schedule = learning_rate.learning_rate_schedule(
            TrainOptions(
                learning_policy=policy,
                base_learning_rate=1.0,
                training_number_of_steps=10,
                slow_start_step=10,
                slow_start_learning_rate=0.5,
            )
        )
        np.testing.assert_array_equal(_rates(schedule, range(10)), [0.5] * 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"learning_policy": "linear"},
            "--learning_policy is 'linear'; it must be one of poly, step, cosine, multi_steps",
        ),
        (
            {"boundaries": [10]},
            "--boundaries and --boundary_learning_rates belong to --learning_policy=multi_steps",
        ),
        (
            {"slow_start_burnin_type": "exp"},
            "--slow_start_burnin_type is 'exp'; it must be one of none, linear",
        ),
        (
            {"learning_policy": "multi_steps"},
            "one more --boundary_learning_rates, not None and None",
        ),
        (
            {
                "learning_policy": "multi_steps",
                "boundaries": [20, 10],
                "boundary_learning_rates": [3.0, 2.0, 1.0],
            },
            "needs increasing --boundaries",
        ),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        learning_rate.learning_rate_schedule(
            TrainOptions(base_learning_rate=1.0, training_number_of_steps=10, **arguments)
        )
