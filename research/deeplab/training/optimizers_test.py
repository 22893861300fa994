import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab import model
from deeplab.core.options import TrainOptions
from deeplab.testing import golden, processes
from deeplab.training import learning_rate, losses, optimizers

SHAPES = {"a/weights": (3, 2), "a/biases": (2,), "b/gamma": (5,)}
OFFICIAL = {"Momentum": optimizers.Momentum, "Adam": optimizers.Adam}
OURS = OFFICIAL | {"AdamW": optimizers.AdamW}


def _values(step):
    random = np.random.default_rng(step)
    return [random.standard_normal(shape).astype(np.float32) for shape in SHAPES.values()]


def _variables():
    named = zip(SHAPES, _values(0), strict=True)
    return {name: keras.Variable(value, name=name.replace("/", "_")) for name, value in named}


def _schedule():
    return learning_rate.learning_rate_schedule(
        TrainOptions(
            learning_policy="step",
            base_learning_rate=0.1,
            training_number_of_steps=9,
            learning_rate_decay_step=2,
            learning_rate_decay_factor=0.3,
        )
    )


def _train(optimizer, steps=5, jit_compile=False):
    """Return the variables after some steps with random gradients."""
    variables = _variables()
    optimizer.build(list(variables.values()))

    @tf.function(jit_compile=jit_compile)
    def update(gradients):
        optimizer.apply(gradients, list(variables.values()))

    for step in range(1, steps + 1):
        update([tf.constant(value) for value in _values(step)])
    return variables


def _train_with_tensorflow_1(kind, steps=5):
    """Return weights and state of TensorFlow 1's optimizer by their names in a checkpoint."""
    compat = tf.compat.v1
    with tf.Graph().as_default(), compat.Session() as session:
        variables = [
            compat.get_variable(name, initializer=value, use_resource=True)
            for name, value in zip(SHAPES, _values(0), strict=True)
        ]
        gradients = [compat.placeholder(tf.float32, shape) for shape in SHAPES.values()]
        global_step = compat.train.get_or_create_global_step()
        rate = _schedule()(global_step)
        optimizer = {
            "Momentum": lambda: compat.train.MomentumOptimizer(rate, 0.9),
            "Adam": lambda: compat.train.AdamOptimizer(rate, epsilon=1e-3),
        }[kind]()
        update = optimizer.apply_gradients(zip(gradients, variables, strict=True), global_step)
        session.run(compat.global_variables_initializer())
        for step in range(1, steps + 1):
            session.run(update, dict(zip(gradients, _values(step), strict=True)))
        return {
            v.op.name: session.run(v) for v in compat.global_variables() if v is not global_step
        }


def _make(kind, **kwargs):
    if kind != "Momentum":
        kwargs["epsilon"] = 1e-3  # large enough to tell where it is added
    return OURS[kind](_schedule(), **kwargs)


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("kind", OFFICIAL)
def test_weights_and_state_are_tensorflow_1s(kind, jit_compile):
    optimizer = _make(kind)
    variables = _train(optimizer, jit_compile=jit_compile)
    ours = variables | optimizer.official_variables(variables)
    theirs = _train_with_tensorflow_1(kind)
    assert set(ours) == set(theirs)
    assert optimizer.iterations == 5
    for name, value in theirs.items():
        assert ours[name].shape == value.shape
        if jit_compile:
            np.testing.assert_allclose(ours[name], value, rtol=1e-5, atol=1e-7, err_msg=name)
        else:
            np.testing.assert_array_equal(ours[name], value, err_msg=name)


@pytest.mark.parametrize("kind", OURS)
def test_restored_state_continues_to_the_bit(kind):
    whole = _train(_make(kind), steps=5)
    first = _make(kind)
    variables = _train(first, steps=3)

    second = _make(kind)
    resumed = _variables()
    second.build(list(resumed.values()))
    for name, variable in resumed.items():
        variable.assign(variables[name])
    for name, slot in second.official_variables(resumed).items():
        slot.assign(first.official_variables(variables)[name])
    second.iterations.assign(3)
    for step in (4, 5):
        second.apply([tf.constant(value) for value in _values(step)], list(resumed.values()))
    for name, variable in whole.items():
        np.testing.assert_array_equal(resumed[name], variable)


def test_adamw_decays_the_weights_apart_from_the_gradients():
    """Algorithm 2 of the paper in NumPy, with the epsilon of Adam; one variable learns faster."""
    optimizer = optimizers.AdamW(_schedule(), weight_decay=0.2, epsilon=1e-3)
    variables = _variables()
    trained = list(variables.values())
    optimizer.exclude_from_weight_decay([variables["a/biases"]])
    optimizer.build(trained)
    assert optimizer.take_factors(trained, [1.0, 2.0, 1.0]) == [1.0, 1.0, 1.0]
    weights = [np.float64(value) for value in _values(0)]
    means, squares = ([np.zeros_like(value) for value in weights] for _ in range(2))
    for step in range(1, 6):
        optimizer.apply([tf.constant(value) for value in _values(step)], trained)
        rate = 0.1 * 0.3 ** ((step - 1) // 2)
        for index, gradient in enumerate(_values(step)):
            means[index] = 0.9 * means[index] + 0.1 * gradient
            squares[index] = 0.999 * squares[index] + 0.001 * np.float64(gradient) ** 2
            correction = np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            move = correction * means[index] / (np.sqrt(squares[index]) + 1e-3)
            decay = 0.0 if index == 1 else 0.2 * weights[index]
            weights[index] -= rate * ((2.0 if index == 1 else 1.0) * move + decay)
    for variable, expected in zip(trained, weights, strict=True):
        np.testing.assert_allclose(variable, expected, rtol=1e-5, atol=1e-6)
    slots = {f"{name}/{slot}" for name in SHAPES for slot in ("AdamW", "AdamW_1")}
    assert set(optimizer.official_variables(variables)) == slots | {"beta1_power", "beta2_power"}


def test_the_norm_of_all_gradients_is_clipped():
    norm = np.sqrt(sum(np.sum(np.float64(value) ** 2) for value in _values(1)))
    plain, same, clipped = (
        _train(optimizers.Momentum(1.0, global_clipnorm=limit), steps=1)
        for limit in (None, 1.01 * norm, 0.25 * norm)
    )
    for name, before, gradient in zip(SHAPES, _values(0), _values(1), strict=True):
        np.testing.assert_array_equal(same[name], plain[name])
        np.testing.assert_allclose(clipped[name], before - 0.25 * gradient, rtol=1e-5, atol=1e-6)


def test_slots_exist_for_what_is_trained_alone():
    optimizer = optimizers.Adam()
    variables = _variables()
    with pytest.raises(ValueError, match="adam has no slots yet: call build"):
        optimizer.official_variables(variables)
    trained = list(variables.values())[:1]
    optimizer.build(trained)
    assert list(optimizer.official_variables(variables)) == [
        "a/weights/Adam",
        "a/weights/Adam_1",
        "beta1_power",
        "beta2_power",
    ]


@pytest.mark.parametrize("kind", OURS)
def test_an_optimizer_survives_its_config(kind):
    optimizer = _make(kind, clipnorm=1.0)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert copy.get_config() == optimizer.get_config()
    weights, copied = _train(optimizer), _train(copy)
    for name, value in weights.items():
        np.testing.assert_array_equal(copied[name], value)


@pytest.mark.parametrize(
    "kind",
    ["Momentum", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("Adam", "AdamW"))],
)
def test_a_saved_model_has_its_optimizer_and_loss(kind, tmp_path):
    net = keras.Sequential([keras.Input([4, 4, 3]), keras.layers.Conv2D(5, 1)])
    net.compile(_make(kind), losses.SegmentationLoss(ignore_label=255))
    images, labels = np.ones([2, 4, 4, 3], np.float32), np.ones([2, 4, 4], np.int32)
    net.fit(images, labels, epochs=2, verbose=0)
    net.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    for trained in (net, copy):
        trained.fit(images, labels, epochs=2, verbose=0)
    assert copy.optimizer.iterations == 4
    for ours, theirs in zip(
        copy.weights + copy.optimizer.variables,
        net.weights + net.optimizer.variables,
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("kind", OURS)
def test_keras_accumulates_gradients_into_one_update(kind):
    optimizer = _make(kind, gradient_accumulation_steps=2)
    variables = _variables()
    for _ in range(2):
        optimizer.apply([tf.constant(value) for value in _values(1)], list(variables.values()))
    # Keras evaluates the schedule at the number of calls, within its first interval of two.
    for name, value in _train(_make(kind), steps=1).items():
        np.testing.assert_array_equal(variables[name], value)
    if kind != "Momentum":
        state = optimizer.official_variables(variables)
        np.testing.assert_allclose(state["beta1_power"], 0.81)


def _on_two_and_one() -> dict[str, list[list[np.ndarray]]]:
    """Return weights and state after some steps of each optimizer, on two replicas and on one.

    Run in a process of its own, because devices must be created before TensorFlow starts.
    """
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

    images = np.random.default_rng(0).standard_normal([4, 9, 9, 3]).astype(np.float32)
    labels = np.random.default_rng(1).integers(0, 4, [4, 17, 17])
    labels[2:, :12] = 255  # the second replica has fewer labeled pixels
    values = {kind: [] for kind in OURS}
    for kind, strategy in itertools.product(OURS, (two, tf.distribute.get_strategy())):
        keras.utils.set_random_seed(0)
        with strategy.scope():
            net = keras.Sequential([keras.Input([9, 9, 3]), keras.layers.Conv2D(4, 3)])
            # The gradient of a part of the batch is longer than that of the whole.
            optimizer = OURS[kind](0.1, global_clipnorm=0.5)
            net.compile(optimizer, losses.SegmentationLoss(ignore_label=255))
        net.fit(images, labels, batch_size=4, epochs=3, shuffle=False, verbose=0)
        state = optimizer.official_variables({"kernel": net.layers[0].kernel})
        values[kind].append(
            [
                np.array(keras.ops.convert_to_numpy(v))
                for v in (*net.weights, *state.values(), optimizer.iterations)
            ]
        )
    return values


@pytest.fixture(scope="module")
def on_two_and_one():
    return processes.result(_on_two_and_one)


@pytest.mark.slow
@pytest.mark.parametrize("kind", OURS)
def test_two_replicas_take_the_step_of_one(on_two_and_one, kind):
    for split, whole in zip(*on_two_and_one[kind], strict=True):
        np.testing.assert_allclose(split, whole, rtol=1e-5, atol=1e-6)


MULTIPLIERS = golden.misc("gradient_multipliers_and_weight_decay")[0]


def _names(name):
    """Return all variables of the network if they are known, otherwise the trainable ones."""
    steps = golden.misc("train_steps")[0].get(f"{name}_ftbn0")
    if steps:
        return list(steps["var__l2_sum_deltal2__after_steps"]["1"])
    case = MULTIPLIERS[name]
    return list(dict.fromkeys([*case["regularized"], *case["grad_mult_1"]]))


@pytest.mark.parametrize("name", MULTIPLIERS)
def test_gradient_multipliers_are_the_official_ones(name):
    case, names = MULTIPLIERS[name], _names(name)
    for last_layers, multiplier, expected in (
        (model.last_layer_scopes(logits_only=False), 10.0, case["grad_mult_10"]),
        (model.last_layer_scopes(logits_only=True), 10.0, case["grad_mult_10_logits_only"]),
        (model.last_layer_scopes(logits_only=False), 1.0, case["grad_mult_1"]),
    ):
        assert optimizers.gradient_multipliers(names, last_layers, multiplier) == expected
