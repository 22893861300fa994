"""`fit` makes the steps of the trainer, and resumes exactly from `.keras` files."""

import dataclasses
import pathlib
from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab import common, model
from deeplab.core import keras_internals, networks
from deeplab.core.options import TrainOptions
from deeplab.evaluation import keras_metrics
from deeplab.testing import golden, processes, tiny
from deeplab.training import keras_fit, learning_rate, losses, optimizers, trainer
from deeplab.utils import checkpoint

_IGNORE_LABEL = 255
# With dropout and every option that Keras' own step does not have.
_NETWORK = common.ModelOptions(
    depth_multiplier=0.1, aspp_convs_filters=8, num_classes=3, image_pyramid=(0.5, 1.0)
)
_TRAINING = TrainOptions(
    training_number_of_steps=6,
    train_batch_size=2,
    base_learning_rate=0.01,
    weight_decay=0.01,
    label_weights=(1.0, 2.0, 0.5),
    top_k_percent_pixels=0.5,
    hard_example_mining_step=4,
    last_layer_gradient_multiplier=3.0,
    fine_tune_batch_norm=False,
    seed=5,
)


@pytest.fixture(scope="module", autouse=True)
def _minimal():
    """Use minimal networks, because most of the time is spent on graphs."""
    with tiny.minimal():
        yield


def _samples(count: int = 6) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, (count, 33, 33, 1))
    labels[:, :4] = _IGNORE_LABEL
    return random.uniform(0, 255, (count, 33, 33, 3)).astype(np.float32), labels.astype(np.int32)


def _batches() -> tf.data.Dataset:
    """Return three batches of two samples."""
    return tf.data.Dataset.from_tensor_slices(_samples()).batch(2)


def _with_weights(net: model.DeepLab) -> model.DeepLab:
    """Give a network golden weights and a repeatable dropout."""
    golden.assign(checkpoint.official_variables(net))
    for generator in networks.seed_generators(net):
        generator.state.assign([3, 0])
    return net


def _trainable() -> keras_fit.TrainableDeepLab:
    """Return a network that is trained as by the trainer; its weights are always the same."""
    net = _with_weights(keras_fit.TrainableDeepLab(_NETWORK))
    net.compile(_TRAINING, _IGNORE_LABEL, [keras_metrics.MeanIoU(3)])
    return net


def _plain() -> model.DeepLab:
    """Return a network that is trained with the step of Keras."""
    net = _with_weights(model.DeepLab(dataclasses.replace(_NETWORK, image_pyramid=None)))
    net.set_fine_tune_batch_norm(False)
    schedule = learning_rate.learning_rate_schedule(
        TrainOptions(base_learning_rate=0.01, training_number_of_steps=6)
    )
    net.compile(
        optimizers.Momentum(schedule),
        losses.SegmentationLoss(_IGNORE_LABEL),
        metrics=[keras_metrics.MeanIoU(3)],
    )
    return net


def _fit(net: keras.Model, batches: tf.data.Dataset, **options) -> dict[str, list[float]]:
    """Train, by default three epochs of one batch; return the curves."""
    options = {"epochs": 3, "steps_per_epoch": 1, "shuffle": False, "verbose": 0} | options
    return net.fit(batches, **options).history


def _state(net: keras.Model) -> dict[str, np.ndarray]:
    """Return the network's variables, the optimizer's slots and the step."""
    variables = checkpoint.official_variables(net)
    state = variables | net.optimizer.official_variables(variables)
    arrays = {name: variable.numpy() for name, variable in state.items()}
    return arrays | {"global_step": net.optimizer.iterations.numpy()}


def _assert_equal(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    assert set(ours) == set(theirs)
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


class _Interrupt(keras.callbacks.Callback):
    """Stops a run when its second epoch begins."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


@dataclasses.dataclass
class _Run:
    """Three steps of `fit`: the network's function, the curves, the last state and the files.

    They are not traced, which takes longer, nor are those that must have the same bits.
    """

    make: Callable[[], keras.Model]
    curves: dict[str, list[float]]
    state: dict[str, np.ndarray]
    folder: pathlib.Path


@pytest.fixture(scope="module", params=[_trainable, _plain], ids=["trainable", "plain"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> _Run:
    folder = tmp_path_factory.mktemp("whole")
    net = request.param()
    callbacks = [
        keras.callbacks.ModelCheckpoint(folder / "{epoch}.keras"),
        keras.callbacks.TensorBoard(folder / "logs"),
    ]
    with tiny.eager():
        curves = _fit(net, _batches(), callbacks=callbacks)
    return _Run(request.param, curves, _state(net), folder)


@pytest.mark.slow
@pytest.mark.parametrize("whole", [_trainable], ids=["trainable"], indirect=True)
def test_fit_makes_the_trainers_steps(whole):
    """Up to rounding: in a graph, operations have another order."""
    run = trainer.Trainer(_with_weights(model.DeepLab(_NETWORK)), _TRAINING, _IGNORE_LABEL)
    run.begin()
    before = {name: variable.numpy() for name, variable in run.variables().items()}
    for step, batch in enumerate(_batches()):
        total = float(run.train_step(*batch)["total_loss"])
        assert whole.curves["loss"][step] == pytest.approx(total, rel=1e-6)
    assert run.step == whole.state["global_step"] == 3
    assert set(whole.state) == {*run.variables(), "global_step"}
    for name, variable in run.variables().items():
        after = variable.numpy()
        change = np.linalg.norm(after - before[name])
        difference = np.linalg.norm(whole.state[name] - after)
        # A smaller change than the resolution of the variable is rounding.
        assert difference <= 1e-4 * change + 2e-7 * np.linalg.norm(after), name
        assert (change > 0) == (not name.endswith(("moving_mean", "moving_variance"))), name


@pytest.mark.slow
def test_a_file_of_the_second_step_resumes_to_the_same_bits(whole):
    """This includes weights, slots, learning rate, dropout and the curve of the metric."""
    net = keras.models.load_model(whole.folder / "1.keras")
    assert not net.fine_tune_batch_norm
    with tiny.eager():
        curves = _fit(net, _batches().skip(1), initial_epoch=1)
    _assert_equal(_state(net), whole.state)
    assert curves == {name: values[1:] for name, values in whole.curves.items()}
    assert set(curves) == {"loss", "mean_iou"}


@pytest.mark.slow
def test_an_interrupted_fit_is_taken_up_again(whole, tmp_path):
    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)

    with tiny.eager(), pytest.raises(KeyboardInterrupt):
        _fit(whole.make(), _batches(), callbacks=[backup(), _Interrupt()])
    net = whole.make()
    with tiny.eager():
        _fit(net, _batches().skip(1), callbacks=[backup()])
    _assert_equal(_state(net), whole.state)


@pytest.mark.slow
def test_evaluate_and_predict_measure_what_the_network_gives(whole):
    net = keras.models.load_model(whole.folder / "3.keras")
    images, labels = _samples()
    logits = net.predict(images, batch_size=4, verbose=0)
    np.testing.assert_allclose(logits, net(images), atol=1e-5)
    values = net.evaluate(images, labels, batch_size=6, verbose=0, return_dict=True)

    metric = keras_metrics.MeanIoU(3)
    metric.update_state(labels, logits)
    assert values["mean_iou"] == pytest.approx(float(metric.result()))
    loss, decay = losses.softmax_cross_entropy(logits, labels, ignore_label=_IGNORE_LABEL), 0.0
    if whole.make is _trainable:
        loss = losses.softmax_cross_entropy(logits, labels, _TRAINING, ignore_label=_IGNORE_LABEL)
        decay = losses.l2_loss(networks.regularized_variables(net), _TRAINING.weight_decay)
    assert values["loss"] == pytest.approx(float(loss + decay), rel=1e-5)


@pytest.mark.slow
def test_tensorboard_gets_the_curves(whole):
    files = (whole.folder / "logs/train").glob("events.out.tfevents.*")
    tags = {
        value.tag
        for file in files
        for record in tf.data.TFRecordDataset(str(file))
        for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value
    }
    assert {"epoch_loss", "epoch_mean_iou", "epoch_learning_rate"} <= tags


def test_xla_is_asked_for_by_the_options_of_training():
    net = keras_fit.TrainableDeepLab(_NETWORK)
    with pytest.raises(ValueError, match=r"set TrainOptions\(jit_compile=True\) instead"):
        net.compile(_TRAINING, _IGNORE_LABEL, jit_compile=True)


@pytest.mark.parametrize(
    ("network", "training", "dtype"),
    [
        pytest.param(
            {"quantize": True},
            {"quantize_delay_step": 2},
            "float32",
            id="quantized",
            marks=pytest.mark.slow,
        ),
        pytest.param({}, {}, "mixed_float16", id="float16"),
    ],
)
def test_a_file_keeps_the_state_that_is_not_the_optimizers(tmp_path, network, training, dtype):
    options = dataclasses.replace(_NETWORK, image_pyramid=None, **network)
    net = keras_fit.TrainableDeepLab(options, dtype=dtype)
    net.compile(dataclasses.replace(_TRAINING, **training), _IGNORE_LABEL)
    state = net._step.state.own_variables()
    for number, variable in enumerate(state.values(), start=1):
        variable.assign(tf.fill(variable.shape, tf.cast(number, variable.dtype)))
    net.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras")._step.state.own_variables()
    assert len(state) > 0
    assert {name: float(each) for name, each in loaded.items()} == {
        name: float(number) for number, name in enumerate(state, start=1)
    }


def test_weights_of_samples_are_refused():
    net = _trainable()
    images, labels = _samples(2)
    with pytest.raises(ValueError, match="takes no sample_weight or class_weight"):
        net.fit(images, labels, sample_weight=np.ones(2), verbose=0)


@tiny.minimal()
def _two_replicas() -> None:
    """Run in a process of its own, because devices must be created before TensorFlow starts."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    # Hard example mining and dropout differ between replicas.
    training = dataclasses.replace(_TRAINING, top_k_percent_pixels=1.0)
    network = dataclasses.replace(_NETWORK, image_pyramid=None)
    states, curves = [], []
    for strategy in (
        tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]),
        tf.distribute.get_strategy(),
    ):
        with strategy.scope():
            net = _with_weights(keras_fit.TrainableDeepLab(network))
            for layer in keras_internals.sublayers(net):
                if isinstance(layer, keras.layers.Dropout):
                    layer.rate = 0.0
            net.compile(training, _IGNORE_LABEL, [keras_metrics.MeanIoU(3)])
        curves.append(_fit(net, _batches(), validation_data=_batches()))
        states.append(_state(net))
    for name, values in curves[0].items():
        np.testing.assert_allclose(values, curves[1][name], rtol=1e-4, err_msg=name)
    for name, value in states[0].items():
        np.testing.assert_allclose(value, states[1][name], rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_two_replicas_fit_as_one():
    processes.result(_two_replicas)
