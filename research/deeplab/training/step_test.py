"""One update: gradient accumulation, precisions, and moving averages of the weights."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab import common, model
from deeplab.core import keras_internals, networks
from deeplab.core.options import TrainOptions
from deeplab.testing import golden, tiny
from deeplab.training import loss_scale, optimizers, trainer
from deeplab.training.state import begin_run
from deeplab.training.step import TrainStep
from deeplab.utils import checkpoint

_IGNORE_LABEL = 255
_MODEL = common.ModelOptions(depth_multiplier=0.1, aspp_convs_filters=8, num_classes=3)


def _batch() -> tuple[tf.Tensor, tf.Tensor]:
    """Return four images with different numbers of labeled pixels."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, (4, 33, 33, 1))
    labels[2:, :20] = _IGNORE_LABEL
    images = random.uniform(0, 255, (4, 33, 33, 3))
    return tf.constant(images, tf.float32), tf.constant(labels, tf.int32)


def _step(precision: str = "float32", dropout: bool = False, **options) -> TrainStep:
    """Return the step of a network with golden weights and frozen batch norm."""
    keras.utils.set_random_seed(1)
    net = model.DeepLab(_MODEL, dtype=precision)
    golden.assign(checkpoint.official_variables(net))
    for layer in keras_internals.sublayers(net):
        if isinstance(layer, keras.layers.Dropout) and not dropout:
            layer.rate = 0.0
    options = {"train_batch_size": 4, "base_learning_rate": 0.01, **options}
    options.setdefault("fine_tune_batch_norm", False)
    options = TrainOptions(**options)
    return TrainStep(begin_run(net, options), options, _IGNORE_LABEL)


def _train(step: TrainStep, count: int = 2, *, traced: bool = False) -> list[dict[str, float]]:
    """Return the losses of some updates, by default without tracing, which takes longer."""
    batch = _batch()
    with contextlib.nullcontext() if traced else tiny.eager():
        return [{name: float(v) for name, v in step(*batch).items()} for _ in range(count)]


def _values(step: TrainStep) -> dict[str, np.ndarray]:
    return {name: variable.numpy() for name, variable in step.state.variables().items()}


@pytest.fixture(autouse=True, scope="module")
def _minimal():
    """A step does not look at the depth of its network."""
    with tiny.minimal():
        yield


@pytest.fixture(scope="module")
def plain() -> tuple[list[dict[str, float]], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return losses and values of two plain updates, and the values after the first."""
    step = _step(last_layer_gradient_multiplier=10.0)
    losses = _train(step, 1)
    first = _values(step)
    return losses + _train(step, 1), _values(step), first


def _assert_like(plain, losses, values, tolerance: float) -> None:
    for ours, theirs in zip(losses, plain[0], strict=True):
        assert ours == pytest.approx(theirs, rel=tolerance)
    for name, value in plain[1].items():
        error = np.max(np.abs(values[name] - value))
        assert error <= tolerance * np.max(np.abs(value)), name


@pytest.mark.slow
def test_parts_make_the_update_of_the_whole(plain):
    """Batch norm is frozen, and the parts have different numbers of labeled pixels."""
    step = _step(last_layer_gradient_multiplier=10.0, gradient_accumulation_steps=4)
    losses = _train(step, traced=True)
    _assert_like(plain, losses, _values(step), 1e-5)
    assert int(step.state.optimizer.iterations.numpy()) == 2


def test_a_batch_that_is_not_the_sum_of_its_parts_is_an_error():
    """Otherwise the remaining images would be ignored."""
    step = _step(gradient_accumulation_steps=2)
    images, labels = (tf.repeat(each, 2, axis=0) for each in _batch())
    with (
        tiny.eager(),
        pytest.raises(
            tf.errors.InvalidArgumentError, match="must have 4 images: train_batch_size is 4"
        ),
    ):
        step(images, labels)


@pytest.mark.slow
def test_small_labels_are_counted_at_the_size_of_the_logits():
    """Without `upsample_logits`, the loss is divided by the number of resized pixels."""
    losses = [
        _train(_step(upsample_logits=False, gradient_accumulation_steps=parts), 1)
        for parts in (1, 4)
    ]
    assert losses[1][0] == pytest.approx(losses[0][0], rel=1e-5)


@pytest.mark.slow
def test_parts_drop_other_features():
    """Dropout differs between parts, and is the same in a second run."""
    images, labels = _batch()
    same = tf.repeat(images[:1], 4, axis=0), tf.repeat(labels[:1], 4, axis=0)
    losses = []
    for parts in (1, 2, 2):
        step = _step(dropout=True, gradient_accumulation_steps=parts)
        with tiny.eager():
            losses.append(float(step(*same)["total_loss"]))
    assert losses[1] == losses[2] != losses[0]


@pytest.mark.slow
def test_a_compiled_step_is_the_same(plain):
    step = _step(last_layer_gradient_multiplier=10.0, jit_compile=True)
    losses = _train(step, traced=True)
    _assert_like(plain, losses, _values(step), 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_half_the_bits_come_near(plain, precision):
    """The loss has the precision of the format; all variables and losses are float32.

    Rounding opens and closes rectifiers of a random network, so that its gradient is not as near.
    """
    step = _step(precision, last_layer_gradient_multiplier=10.0)
    if precision == "mixed_float16":
        # With the initial scale, these gradients overflow and the update is skipped.
        step.state.variables()["loss_scale"].assign(2.0**7)
    tolerance = {"mixed_bfloat16": 0.02, "mixed_float16": 0.003}[precision]
    (losses,) = _train(step, 1)
    assert losses.pop("loss_scale", 1.0) == (2.0**7 if precision == "mixed_float16" else 1.0)
    assert losses == pytest.approx(plain[0][0], rel=tolerance)
    values = _values(step)
    gradients = {name: value for name, value in plain[2].items() if name.endswith("/Momentum")}
    difference = sum(np.sum((values[name] - value) ** 2) for name, value in gradients.items())
    length = sum(np.sum(value**2) for value in gradients.values())
    assert np.sqrt(difference / length) < 0.1
    names = set(step.state.variables()) - {"loss_scale_good_steps"}
    assert all(step.state.variables()[name].dtype == "float32" for name in names)
    assert ("loss_scale" in names) == (precision == "mixed_float16")


@pytest.mark.slow
def test_averages_of_the_weights_move_and_are_read(plain, tmp_path):
    step = _step(last_layer_gradient_multiplier=10.0, ema_decay=0.75)
    _train(step, 1)
    first = _values(step)
    _train(step, 1)
    second = _values(step)
    averages = [name for name in second if name.endswith("/ExponentialMovingAverage")]
    assert len(averages) == len(step.state.net.trainable_weights)
    for average in averages:
        name = average.rpartition("/")[0]
        expected = 0.75 * first[name] + 0.25 * second[name]
        np.testing.assert_allclose(second[average], expected, rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(second[name], plain[1][name])

    path = checkpoint.save(str(tmp_path), 2, step.state.variables())
    net = model.DeepLab(_MODEL)
    for with_averages in (False, True):
        checkpoint.restore(net, path, averages=with_averages)
        name = "logits/semantic/weights"
        stored = f"{name}/ExponentialMovingAverage" if with_averages else name
        value = checkpoint.official_variables(net)[name].numpy()
        np.testing.assert_array_equal(value, second[stored])


@pytest.fixture(scope="module")
def untrained() -> model.DeepLab:
    return model.DeepLab(_MODEL)


def test_averages_that_are_not_there_are_an_error(untrained, tmp_path):
    path = checkpoint.save(str(tmp_path), 1, checkpoint.official_variables(untrained))
    with pytest.raises(
        ValueError, match="holds no moving averages because it was trained without --ema"
    ):
        checkpoint.restore(untrained, path, averages=True)


@pytest.mark.slow
def test_a_run_in_parts_with_averages_and_float16_resumes_to_the_bit(tmp_path):
    """A checkpoint contains everything that these options add to the state."""
    options = {"gradient_accumulation_steps": 2, "ema_decay": 0.9, "fine_tune_batch_norm": True}
    options |= {"optimizer": "adamw", "clip_gradient_norm": 0.5, "loss": "lovasz"}

    def run(name: str, precision: str = "mixed_float16", **changes) -> trainer.Trainer:
        step = _step(precision, dropout=True, **(options | changes))
        run = trainer.Trainer(step.state.net, step.options, _IGNORE_LABEL)
        run.open(str(tmp_path / name))
        return run

    whole = run("whole")
    first = run("parts")
    batch = _batch()
    with tiny.eager():
        for each in (whole, first):
            each.train_step(*batch)
        first.save()
        second = run("parts")
        assert second.step == 1
        for each in (whole, second):
            each.train_step(*batch)
    for name, variable in whole.variables().items():
        np.testing.assert_array_equal(
            second.variables()[name].numpy(), variable.numpy(), err_msg=name
        )


@pytest.mark.slow
def test_a_clipped_step_in_parts_is_that_of_the_whole():
    """The loss of regions and the norm of the gradient are those of the whole batch."""
    values, each_loss = [], []
    for parts in (1, 2):
        step = _step(
            loss="cross_entropy_dice",
            last_layer_gradient_multiplier=10.0,
            clip_gradient_norm=0.01,
            gradient_accumulation_steps=parts,
        )
        each_loss += _train(step, 1)
        values.append(_values(step))
    assert each_loss[1] == pytest.approx(each_loss[0], rel=1e-5)
    whole, split = values
    slots = [name for name in whole if name.endswith("/Momentum")]
    # After the first step, they are the gradient.
    assert np.sqrt(sum(np.sum(whole[name] ** 2) for name in slots)) == pytest.approx(0.01, rel=1e-5)
    for name in slots:
        error = np.max(np.abs(split[name] - whole[name]))
        assert error <= 1e-4 * np.max(np.abs(whole[name])), name


@pytest.mark.slow
def test_adamw_decays_what_has_weight_decay_officially():
    step = _step(optimizer="adamw", adamw_weight_decay=0.5, base_learning_rate=0.1)
    before = _values(step)
    decayed = {v.path for v in networks.regularized_variables(step.state.net)}
    images, labels = _batch()
    with tiny.eager():
        losses = step(images, tf.fill(labels.shape, _IGNORE_LABEL))
    # Without a labeled pixel there is no gradient: only the decay is left.
    assert losses["total_loss"] == losses["total_regularization_loss"] == 0
    for name, variable in step.state.network.items():
        factor = 0.95 if variable.path in decayed else 1.0
        np.testing.assert_allclose(variable, factor * before[name], rtol=1e-6, err_msg=name)


@pytest.mark.slow
def test_averages_that_begin_on_the_way_begin_with_the_weights(tmp_path):
    step = _step()
    run = trainer.Trainer(step.state.net, step.options, _IGNORE_LABEL)
    run.open(str(tmp_path))
    run.optimizer.iterations.assign(7)
    run.save()
    step = _step(ema_decay=0.9)
    later = trainer.Trainer(step.state.net, step.options, _IGNORE_LABEL)
    later.open(str(tmp_path))
    values = {name: variable.numpy() for name, variable in later.variables().items()}
    name = "logits/semantic/weights"
    np.testing.assert_array_equal(values[f"{name}/ExponentialMovingAverage"], values[name])


# --- The scale of the loss, on two variables ---


def _scaled_steps(gradients: list[float]) -> tuple[list[float], dict[str, float], int]:
    """Return weights, state and step after updates with these gradients, each times the scale."""
    scale = loss_scale.LossScale()
    optimizer = optimizers.Momentum(1.0, momentum=0.0)
    weight = keras.Variable(0.0, name="weight")
    optimizer.build([weight])

    @tf.function
    def step(gradient):
        scale.apply(optimizer, [gradient * scale.value], [weight])

    weights = []
    for gradient in gradients:
        step(tf.constant(gradient))
        weights.append(float(weight.numpy()))
    state = {name: float(variable.numpy()) for name, variable in scale.variables().items()}
    return weights, state, int(optimizer.iterations.numpy())


def test_an_overflow_is_left_out_halves_the_scale_and_counts_as_a_step():
    weights, state, steps = _scaled_steps([1.0, np.inf, 2.0, np.nan])
    assert weights == [-1.0, -1.0, -3.0, -3.0]
    assert state == {"loss_scale": 2.0**13, "loss_scale_good_steps": 0}
    assert steps == 4


def test_good_steps_double_the_scale(monkeypatch):
    monkeypatch.setattr(loss_scale, "_STEPS_TO_DOUBLE", 3)
    weights, state, _ = _scaled_steps([1.0] * 4)
    assert weights == [-1.0, -2.0, -3.0, -4.0]
    assert state == {"loss_scale": 2.0**16, "loss_scale_good_steps": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gradient_accumulation_steps": 3}, "cannot be split evenly .*accumulation_steps=3"),
        ({"gradient_accumulation_steps": 0}, "--gradient_accumulation_steps is 0"),
        (
            {"ema_decay": 1.0},
            "--ema_decay is 1.0; it must be a finite number, above 0 and below 1$",
        ),
    ],
)
def test_what_cannot_be_is_one_error(untrained, options, message):
    with pytest.raises(ValueError, match=message):
        begin_run(untrained, TrainOptions(train_batch_size=4, **options))
