"""Several replicas and hosts make the steps of one device, and resume after a host is lost."""

import json
import os
import pathlib
import signal
import socket
import time
from unittest import mock

import grpc
import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab import common, model
from deeplab.core import keras_internals, normalization
from deeplab.core.options import TrainOptions
from deeplab.testing import golden, processes, tiny
from deeplab.training import coordination, distribution
from deeplab.training.state import begin_run
from deeplab.training.step import TrainStep
from deeplab.utils import checkpoint, checkpoint_files

_IGNORE_LABEL = 255
# Cases: the number of steps and the options; each is run on one device and on two.
_CASES = {
    "frozen": (
        2,
        {
            "fine_tune_batch_norm": False,
            "last_layer_gradient_multiplier": 10.0,
            "label_weights": (1.0, 2.0, 3.0),
            "loss": "cross_entropy_dice",
            "clip_gradient_norm": 1.0,
            "weight_decay": 0.01,
            "gradient_accumulation_steps": 2,
            "ema_decay": 0.9,
        },
    ),
    "sync": (1, {"sync_batch_norm": True}),
    "own": (1, {"sync_batch_norm": False}),
    # Ranges are learned, and nothing is rounded yet: that would turn rounding errors into levels.
    "quantized": (1, {"sync_batch_norm": True, "quantize_delay_step": 2}),
}


def _batch() -> dict[str, np.ndarray]:
    """Return four images; the third one has fewer labeled pixels, the last one has none."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, (4, 33, 33, 1)).astype(np.int32)
    labels[2, :20] = labels[3] = _IGNORE_LABEL
    return {"image": random.uniform(0, 255, (4, 33, 33, 3)).astype(np.float32), "label": labels}


def _batches(num_shards: int = 1, shard: int = 0, replicas_per_shard: int = 1) -> tf.data.Dataset:
    assert (num_shards, shard) == (1, 0)
    samples = tf.data.Dataset.from_tensor_slices(_batch())
    return samples.batch(4 // replicas_per_shard).repeat()


def _train(strategy: tf.distribute.Strategy, steps: int, **options) -> dict[str, np.ndarray]:
    """Return losses and variables after some steps; after one, the momentum is the gradient."""
    keras.utils.set_random_seed(1)
    with strategy.scope(), tiny.minimal():
        net = model.DeepLab(
            common.ModelOptions(
                depth_multiplier=0.1,
                aspp_convs_filters=8,
                num_classes=3,
                quantize="quantize_delay_step" in options,
            )
        )
        golden.assign(checkpoint.official_variables(net))
        for layer in keras_internals.sublayers(net):
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0
        options = TrainOptions(train_batch_size=4, base_learning_rate=0.01, **options)
        step = TrainStep(begin_run(net, options), options, _IGNORE_LABEL)
    results = {}
    for number, batch in zip(range(steps), distribution.batches(strategy, _batches), strict=False):
        for name, value in step(batch["image"], batch["label"]).items():
            results[f"loss/{name}/{number}"] = value.numpy()
    for name, variable in step.state.variables().items():
        results[name] = variable.numpy()
    for variable in step.state.variables().values():
        copies = [copy.numpy() for copy in strategy.experimental_local_results(variable.value)]
        assert all(np.array_equal(copy, copies[0]) for copy in copies), variable.path
    return results


def _normalize(strategy: tf.distribute.Strategy) -> list[np.ndarray]:
    """Return output, gradients and moving averages of a synchronized batch norm."""
    x, dy = np.random.default_rng(2).normal(3, 2, (2, 4, 5, 7, 6)).astype(np.float32)
    with strategy.scope():
        layer = normalization.BatchNorm(normalization.BatchNormOptions(decay=0.9, epsilon=1e-3))
        layer.sync = True
        layer.build((None, None, None, 6))
        layer.gamma.assign(np.linspace(0.5, 2, 6))
    size = 4 // strategy.num_replicas_in_sync
    parts = strategy.experimental_distribute_values_from_function(
        lambda context: tf.stack(
            [v[context.replica_id_in_sync_group * size :][:size] for v in (x, dy)]
        )
    )

    @tf.function(autograph=False)
    def step(parts):
        def replica(part):
            x, dy = tf.unstack(part)
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, training=True)
            dx, *gradients = tape.gradient(
                y, (x, layer.gamma.value, layer.beta.value), output_gradients=dy
            )
            context = tf.distribute.get_replica_context()
            return y, dx, context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)

        return strategy.run(replica, (parts,))

    y, dx, gradients = step(parts)
    whole = [np.concatenate(strategy.experimental_local_results(v)) for v in (y, dx)]
    whole += [strategy.experimental_local_results(v)[0].numpy() for v in gradients]
    return [*whole, layer.moving_mean.numpy(), layer.moving_variance.numpy()]


def _normalize_constants(strategy: tf.distribute.Strategy) -> np.ndarray:
    """Return the output of a synchronized batch norm for channels that are constant."""
    with strategy.scope():
        layer = normalization.BatchNorm(normalization.BatchNormOptions(decay=0.9, epsilon=1e-5))
        layer.sync = True
        layer.build((None, None, None, 200))
    x = np.broadcast_to(np.linspace(5, 60, 200, dtype=np.float32), (2, 33, 33, 200))
    step = tf.function(lambda x: strategy.run(lambda: layer(x, training=True)))
    return strategy.experimental_local_results(step(tf.constant(x)))[0].numpy()


def _mean(strategy: tf.distribute.Strategy) -> list[tuple[float, float]]:
    """Return, for each replica with its index as value, the mean and d(x * mean) / dx."""

    def replica():
        context = tf.distribute.get_replica_context()
        x = tf.cast(context.replica_id_in_sync_group, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(x)
            mean = distribution.mean({"x": x})["x"]
            product = x * mean
        return mean, tape.gradient(product, x)

    mean, gradient = map(strategy.experimental_local_results, tf.function(strategy.run)(replica))
    return [(float(a), float(b)) for a, b in zip(mean, gradient, strict=True)]


def _one_and_two() -> dict:
    """Run in a process of its own, because devices must be created before TensorFlow starts."""
    one, two = tf.distribute.get_strategy(), distribution.make_strategy(2, clone_on_cpu=True)
    strategies = {"one": one, "two": two}
    results = {
        (case, name): _train(strategy, steps, **options)
        for case, (steps, options) in _CASES.items()
        for name, strategy in strategies.items()
        if (case, name) != ("own", "one")
    }
    results["own", "one"] = results["sync", "one"]
    for name, strategy in strategies.items():
        results["layer", name] = _normalize(strategy)
        results["mean", name] = _mean(strategy)
    results["constants", "two"] = _normalize_constants(two)
    return results


@pytest.fixture(scope="module")
def trained():
    return processes.result(_one_and_two)


@pytest.mark.slow
def test_two_replicas_take_the_step_of_one(trained):
    """Losses and weights agree, with every option that scales gradients."""
    one, two = trained["frozen", "one"], trained["frozen", "two"]
    assert set(one) == set(two)
    for name, value in one.items():
        scale = np.max(np.abs(value))
        np.testing.assert_allclose(two[name], value, rtol=0, atol=1e-5 * scale, err_msg=name)


@pytest.mark.slow
def test_synchronized_batch_norm_is_that_of_the_whole_batch(trained):
    names = ("output", "dx", "dgamma", "dbeta", "moving mean", "moving variance")
    for name, split, whole in zip(
        names, trained["layer", "two"], trained["layer", "one"], strict=True
    ):
        np.testing.assert_allclose(split, whole, rtol=1e-5, atol=2e-6, err_msg=name)


@pytest.mark.slow
def test_synchronized_batch_norm_takes_channels_without_variance(trained):
    """Rounding can make a difference of squares negative; its root is NaN."""
    assert np.isfinite(trained["constants", "two"]).all()


@pytest.mark.slow
def test_two_replicas_with_synchronized_batch_norm_take_the_step_of_one(trained):
    """Rounding grows in a deep random network, here to 1e-4 of the gradient."""
    one, two = trained["sync", "one"], trained["sync", "two"]
    for name, value in one.items():
        if name.startswith("loss/"):
            np.testing.assert_allclose(two[name], value, rtol=2e-5, err_msg=name)
        elif name.endswith(("moving_mean", "moving_variance")):
            np.testing.assert_allclose(two[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    assert _gradient_error(trained, "sync") < 1e-3
    # Without synchronization the error is far larger.
    assert _gradient_error(trained, "own") > 0.05


@pytest.mark.slow
def test_two_replicas_share_the_ranges_of_8_bit_values(trained):
    """They are those of the whole batch, whose extremes are in one replica or the other."""
    one, two = trained["quantized", "one"], trained["quantized", "two"]
    ranges = [name for name in one if "quant" in name and name.endswith(("/min", "/max"))]
    assert len(ranges) > 40
    for name in ranges:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-4, atol=1e-5, err_msg=name)
    assert _gradient_error(trained, "quantized") < 1e-3


def _gradient_error(trained, case: str) -> float:
    """Return the relative error of the gradient of two replicas."""
    one, two = trained[case, "one"], trained[case, "two"]
    names = [name for name in one if name.endswith("/Momentum")]
    difference = sum(np.sum((two[name] - one[name]) ** 2) for name in names)
    return float(np.sqrt(difference / sum(np.sum(one[name] ** 2) for name in names)))


@pytest.mark.slow
def test_replicas_by_themselves_average_their_moving_averages(trained):
    """The mean over equal parts is the mean of the batch; `_train` compares the copies."""
    name = "MobilenetV2/Conv/BatchNorm/moving_mean"
    one, two = trained["own", "one"][name], trained["own", "two"][name]
    np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_mean_is_a_constant(trained):
    """The mean of 0 and 1 is 0.5, and so is the gradient of x * mean."""
    assert trained["mean", "one"] == [(0, 0)]
    assert trained["mean", "two"] == [(0.5, 0.5), (0.5, 0.5)]


def test_a_mean_outside_of_a_replica_is_the_value():
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        assert distribution.mean(tf.constant(3.0)) == 3


# --- What is asked for, and what there is ---


def _config(**task) -> str:
    cluster = {"worker": ["host0:1", "host1:1"]}
    return json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 0} | task})


@pytest.mark.parametrize(
    ("config", "arguments", "message"),
    [
        ("", {"num_clones": 0}, "--num_clones is 0"),
        ("", {"num_clones": 99}, "--num_clones is 99, but TensorFlow can use"),
        ("", {"num_replicas": 2}, "--num_replicas is 2, but TF_CONFIG lists 1 host;"),
        ("", {"task": 1}, "--task is 1, but TF_CONFIG gives this host the index 0"),
        ("{", {}, "TF_CONFIG is '{', which cannot be parsed"),
        ("[]", {}, "cannot be parsed"),
        pytest.param("[" * 5000, {}, "cannot be parsed: .* nested too deeply", id="nested"),
        (_config(index=float("inf")), {}, "cannot be parsed"),
        (
            _config().replace("host1:1", "host1:70000"),
            {},
            "lists 'host1:70000'; .* from 1 to 65535",
        ),
        (_config().replace("host1:1", "host1"), {}, "lists 'host1'; it must be <address>:<port>"),
        (_config(index=2), {}, "gives this worker the index 2, but lists 2 of them"),
        (_config(type="evaluator"), {}, "the type 'evaluator': run deeplab-eval"),
        (_config(type="ps"), {}, "the type 'ps': use worker for all hosts"),
        (_config(), {"num_replicas": 3}, "--num_replicas is 3, but TF_CONFIG lists 2 hosts"),
        (_config(index=1), {"task": 2}, "--task is 2, but TF_CONFIG gives this host the index 1"),
        (_config(), {"num_clones": 2, "clone_on_cpu": True}, "the CPU of a host is one replica"),
    ],
)
def test_what_cannot_be_had_is_one_error(monkeypatch, config, arguments, message):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(ValueError, match=message):
        distribution.make_strategy(**arguments)


@pytest.mark.parametrize("config", ["", "{}", '{"cluster": {"worker": ["host0:1"]}}'])
def test_one_device_needs_no_strategy(monkeypatch, config):
    monkeypatch.setenv("TF_CONFIG", config)
    strategy = distribution.make_strategy()
    assert strategy is tf.distribute.get_strategy()
    assert distribution.is_chief(strategy)
    assert distribution.mean_over_hosts(strategy, 7) == 7


def test_all_hosts_find_that_one_of_them_is_elsewhere(monkeypatch):
    """This includes the host whose value is the mean of all."""
    steps = (5, 0, 10)
    for own in steps:
        # As three hosts would compute it: the mean of their values, then of their deviations.
        means = iter([5.0, sum(abs(step - 5.0) for step in steps) / 3])
        monkeypatch.setattr(distribution, "mean_over_hosts", lambda *_, means=means: next(means))
        assert not distribution.is_same_on_all_hosts(None, own)


@pytest.mark.parametrize(
    ("mean_fails", "met", "said"), [(False, True, 1), (False, False, 0), (True, True, 0)]
)
def test_a_host_says_that_it_is_done_if_all_have_met(monkeypatch, caplog, mean_fails, met, said):
    """Otherwise another host that waits for its numbers would wait forever."""
    hosts = [coordination.Task("worker", index, f"host{index}:1") for index in range(2)]
    strategy = mock.Mock(spec=tf.distribute.MultiWorkerMirroredStrategy)
    done = []

    def mean(*_):
        if mean_fails:
            raise tf.errors.UnavailableError(None, None, "the tasks have crashed")

    monkeypatch.setattr(distribution, "mean_over_hosts", mean)
    monkeypatch.setattr(coordination, "tasks", lambda _: (hosts[1], hosts))
    monkeypatch.setattr(coordination, "meet", lambda *_: met)
    monkeypatch.setattr(coordination, "say_done", lambda *hosts: done.append(hosts))
    with distribution.ending(strategy):
        distribution.leave_together(strategy)
        assert not done
    assert done == [(hosts[0], hosts[1])] * said
    assert ("another host has ended before this one: the tasks" in caplog.text) == mean_fails


# --- Hosts ---


@pytest.fixture
def data(tmp_path):
    samples = {}
    for index in range(5):
        label = np.random.default_rng(index).integers(0, 4, (36, 40)).astype(np.uint8)
        samples[f"image_{index}"] = (tiny.picture(36, 40, index), label)
    records = tiny.write_records(tmp_path / "records", samples, split="train")
    tiny.DATASET.save(os.path.join(records, "tiny.json"))
    return records


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class _Hosts:
    """Two processes that run as two hosts.

    Args:
        log: Beginning of the names of their logs.
        function: The function that they call.
        arguments: Its arguments, for each host.
    """

    def __init__(self, log, function, *arguments):
        workers = [f"127.0.0.1:{port}" for port in _free_ports(2)]
        self.logs = [pathlib.Path(f"{log}-{index}.log") for index in range(2)]
        self.processes = []
        for index in range(2):
            config = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
            self.processes.append(
                function(*arguments[index], self.logs[index], TF_CONFIG=json.dumps(config))
            )

    @classmethod
    def training(cls, data, logdir, *flags: str) -> "_Hosts":
        """Train together."""
        flags = (
            f"--dataset={data}/tiny.json",
            f"--dataset_dir={data}",
            f"--train_logdir={logdir}",
            "--model_variant=mobilenet_v2",
            "--depth_multiplier=0.1",
            "--aspp_convs_filters=8",
            "--train_crop_size=33,33",
            "--train_batch_size=2",
            "--deterministic_ops",
            *flags,
        )
        return cls(logdir, processes.train, (flags,), (flags,))

    def __enter__(self) -> "_Hosts":
        return self

    def __exit__(self, *_) -> None:
        for process in self.processes:
            process.kill()
            process.join()

    def wait(self) -> list[int]:
        """Wait for all processes; return their exit codes."""
        for process in self.processes:
            process.join(timeout=300)
        return [process.exitcode for process in self.processes]

    def wait_for_step(self, logdir, step: int) -> None:
        """Wait until there is a checkpoint of this step or a later one."""
        while not any(
            int(name.removeprefix("model.ckpt-")) >= step
            for name in checkpoint_files.names(str(logdir))
        ):
            assert all(process.is_alive() for process in self.processes), self.logs
            time.sleep(0.05)


def _leave(busy_secs: float, end_secs: float, first_message: str = "arrives") -> None:
    """End as a run ends.

    Args:
        busy_secs: Time that it takes after all hosts have met.
        end_secs: Time that the process takes to end.
        first_message: What happens with the first message to the service: it "arrives", it "fails",
            or the host "is killed" before it.
    """
    if first_message != "arrives":
        coordination._call_once = _failing_once(coordination._call_once, first_message)
    strategy = distribution.make_strategy()
    with distribution.ending(strategy):
        distribution.leave_together(strategy)
        time.sleep(busy_secs)
    print("has left", flush=True)
    time.sleep(end_secs)


def _failing_once(call, how: str):
    calls = []

    def called(*arguments):
        calls.append(arguments)
        if len(calls) > 1:
            return call(*arguments)
        if how == "is killed":
            os.kill(os.getpid(), signal.SIGKILL)
        error = grpc.RpcError("connection reset")
        error.code = lambda: grpc.StatusCode.UNAVAILABLE
        raise error

    return called


@pytest.mark.slow
def test_hosts_leave_without_reporting_each_other(tmp_path):
    """The first host watches for 10 seconds without a sign of life, and is busy for longer.

    A message of the other one is lost, and it is slow to end.
    """
    first, other = (12, 0), (1, 2, "fails")
    with _Hosts(tmp_path / "hosts", processes.call, (_leave, first), (_leave, other)) as hosts:
        assert hosts.wait() == [0, 0]
        for log in hosts.logs:
            text = log.read_text()
            assert "has left" in text
            for complaint in ("have crashed", "UNAVAILABLE", "heartbeat", "have met"):
                assert complaint not in text


@pytest.mark.slow
def test_the_first_host_ends_when_the_other_one_has_gone(tmp_path):
    """It neither waits until that host is missed, nor reports it as crashed."""
    first, other = (0, 0), (0, 0, "is killed")
    with _Hosts(tmp_path / "hosts", processes.call, (_leave, first), (_leave, other)) as hosts:
        assert hosts.wait() == [0, -signal.SIGKILL]
        text = hosts.logs[0].read_text()
    assert "not all hosts have met at the end: worker 1" in text
    assert "have crashed" not in text


@pytest.mark.slow
def test_two_hosts_train_checkpoint_once_and_resume_after_a_loss(data, tmp_path):
    """A run that is killed, then stopped, then resumed ends with the bits of an uninterrupted one.

    The first host evaluates the parts on the way and at the end, while the other one waits.
    """
    flags = ("--training_number_of_steps=16", "--save_interval_secs=0")
    with _Hosts.training(data, tmp_path / "whole", *flags) as hosts:
        assert hosts.wait() == [0, 0]

    logdir = tmp_path / "parts"
    flags += ("--eval_every=6", "--eval_split=train", "--eval_crop_size=33,41")
    with _Hosts.training(data, logdir, *flags) as hosts:
        hosts.wait_for_step(logdir, 3)
        hosts.processes[1].kill()
        assert hosts.wait() != [0, -signal.SIGKILL]
        assert hosts.processes[0].exitcode is not None
        killed = [len(log.read_text()) for log in hosts.logs]
    with _Hosts.training(data, logdir, *flags) as hosts:
        hosts.wait_for_step(logdir, 8)
        # SIGTERM goes to the host that writes nothing; both end after the same step.
        hosts.processes[1].terminate()
        assert hosts.wait() == [0, 0]
        assert checkpoint.global_step(checkpoint.read(str(logdir))) < 16
    with _Hosts.training(data, logdir, *flags) as hosts:
        assert hosts.wait() == [0, 0]
        chief, other = (log.read_text() for log in hosts.logs)

    whole, parts = (checkpoint.read(str(tmp_path / name)) for name in ("whole", "parts"))
    names = whole.get_variable_to_shape_map()
    assert names == parts.get_variable_to_shape_map()
    assert parts.get_tensor("global_step") == 16
    for name in names:
        np.testing.assert_array_equal(parts.get_tensor(name), whole.get_tensor(name), err_msg=name)
    assert {path.name for path in logdir.glob("eval/eval-*.json")} == {
        "eval-6.json",
        "eval-12.json",
        "eval-16.json",
    }
    # Only the chief writes.
    assert f"saved {logdir}" in chief
    assert f"saved {logdir}" not in other
    # The only host that was missed is the one that was killed.
    assert "have crashed" not in chief[killed[0] :] + other[killed[1] :]
