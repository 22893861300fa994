"""The training loop: full disks, bad numbers, signals, evaluation and summaries."""

import dataclasses
import os
import pathlib
import resource
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab import common, model
from deeplab.testing import tiny
from deeplab.training import trainer
from deeplab.training.state import TrainState
from deeplab.utils import checkpoint, checkpoint_files

_IGNORE_LABEL = 255
_LAST = 6


@pytest.fixture(scope="module")
def compiled() -> tuple[trainer.Trainer, dict[str, np.ndarray]]:
    """Return a trainer that all tests share, and the initial values of its variables."""
    keras.utils.set_random_seed(1)
    with tiny.minimal():
        net = model.DeepLab(
            common.ModelOptions(depth_multiplier=0.1, aspp_convs_filters=8, num_classes=3)
        )
    options = trainer.TrainOptions(
        training_number_of_steps=_LAST, train_batch_size=2, base_learning_rate=0.01
    )
    run = trainer.Trainer(net, options, _IGNORE_LABEL)
    run.begin()
    return run, {name: variable.numpy() for name, variable in run.variables().items()}


@pytest.fixture
def run(compiled, tmp_path) -> trainer.Trainer:
    """Return the trainer at step 0, with an empty folder; it saves after each step."""
    run, values = compiled
    for name, variable in run.variables().items():
        variable.assign(values[name])
    run.optimizer.iterations.assign(0)
    run.is_chief = True
    run.options = dataclasses.replace(
        run.options,
        fine_tune_batch_norm=True,
        profile_logdir=None,
        save_interval_secs=0,
        log_steps=1,
        save_summaries_secs=600,
    )
    run.open(str(tmp_path))
    return run


def _batches(first: int = 0, **actions):
    """Yield the batches of the steps after `first`; an action `step_3` is called before step 3."""
    for step in range(first + 1, _LAST + 1):
        if action := actions.get(f"step_{step}"):
            action()
        random = np.random.default_rng(step)
        yield {
            "image": tf.constant(random.uniform(0, 255, (2, 33, 33, 3)), tf.float32),
            "label": tf.constant(random.integers(0, 3, (2, 33, 33, 1)), tf.int32),
            "image_name": tf.constant([f"image{step}a", f"image{step}b"]),
        }


def _events(folder: pathlib.Path) -> list[tf.compat.v1.Event]:
    return [
        tf.compat.v1.Event.FromString(record.numpy())
        for file in sorted(folder.glob("events.out.tfevents.*"))
        for record in tf.data.TFRecordDataset(str(file))
    ]


# --- A full disk ---


@pytest.fixture
def disk_full_at(monkeypatch):
    """Make the disk full for the checkpoints of some steps."""
    steps, real = set(), checkpoint.save

    def save(logdir, step, *arguments):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        if step in steps:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        try:
            return real(logdir, step, *arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    monkeypatch.setattr(checkpoint, "save", save)
    return steps


@pytest.mark.slow
def test_a_full_disk_costs_a_checkpoint_and_no_more(run, tmp_path, caplog, disk_full_at):
    disk_full_at |= {2, 3}
    kept = []

    def look():
        kept.append(sorted(path.name for path in tmp_path.glob("*ckpt*")))

    run.train(_batches(step_2=look, step_4=look))
    assert "step 2 cannot be saved: " in caplog.text
    assert (
        f"newest checkpoint is still {tmp_path / 'model.ckpt-1'}; training continues" in caplog.text
    )
    assert kept[0] == kept[1] == ["model.ckpt-1.data-00000-of-00001", "model.ckpt-1.index"]
    assert run.step == _LAST
    assert checkpoint_files.names(str(tmp_path)) == [f"model.ckpt-{step}" for step in (1, 4, 5, 6)]


def test_a_last_checkpoint_that_cannot_be_saved_is_an_error(run, tmp_path, disk_full_at):
    disk_full_at |= {_LAST}
    with pytest.raises(OSError, match="step 6 cannot be saved: .*; the newest .* is still .*-5; "):
        run.train(_batches())
    assert checkpoint.global_step(checkpoint.read(str(tmp_path))) == _LAST - 1


# --- Numbers that are not finite, labels that are not a class ---


def test_weights_that_were_not_finite_before_name_the_step_before(run, tmp_path):
    """The current batch is not the cause."""

    def spoil():
        run.variables()["logits/semantic/weights"].assign(np.full((1, 1, 8, 3), np.inf))

    with pytest.raises(
        FloatingPointError,
        match=r"at step 3: .* the weights are not finite since step 2, images image2a, image2b",
    ):
        run.train(_batches(step_3=spoil))
    assert checkpoint_files.latest(str(tmp_path)).endswith("model.ckpt-2")


def test_a_save_of_weights_that_are_not_finite_names_the_images(run, tmp_path, monkeypatch):
    """The loss of the step was finite, but its update was not."""
    save = TrainState.save

    def spoil_and_save(state, folder):
        if state.step == 3:
            state.variables()["logits/semantic/biases"].assign([np.nan] * 3)
        return save(state, folder)

    monkeypatch.setattr(TrainState, "save", spoil_and_save)
    with pytest.raises(
        FloatingPointError,
        match=r"biases is not finite after step 3; .*-2; learning rate 0.0\d+, images image3a,",
    ):
        run.train(_batches())
    assert checkpoint_files.latest(str(tmp_path)).endswith("model.ckpt-2")


def test_a_label_that_is_no_class_names_the_image(run):
    def batches():
        for batch in _batches():
            batch["label"] = tf.concat([batch["label"][:1], batch["label"][1:] + 70], axis=0)
            yield batch

    with pytest.raises(
        ValueError, match="image image1b has label 7[0-2], which is neither one of the 3"
    ):
        run.train(batches())


@pytest.mark.slow
def test_steps_leave_the_folder_of_checkpoints_alone(run, monkeypatch):
    """The folder may be on a remote file system."""
    run.options = dataclasses.replace(run.options, save_interval_secs=600)
    for name in ("latest", "names"):
        monkeypatch.setattr(checkpoint_files, name, None)
    monkeypatch.setattr(checkpoint, "read", None)
    run.train(_batches())
    assert run.step == _LAST


# --- Signals ---


def test_sigterm_ends_the_step_and_saves_it(run, tmp_path, caplog):
    run.options = dataclasses.replace(run.options, save_interval_secs=600)
    with caplog.at_level("INFO", logger="absl"):
        run.train(_batches(step_3=lambda: os.kill(os.getpid(), signal.SIGTERM)))
    assert run.step == 3
    assert checkpoint_files.latest(str(tmp_path)).endswith("model.ckpt-3")
    assert "stopped at step 3" in caplog.text
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_an_interrupt_is_passed_on_after_the_save(run, tmp_path):
    run.options = dataclasses.replace(run.options, save_interval_secs=600)
    with pytest.raises(KeyboardInterrupt):
        run.train(_batches(step_2=lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert checkpoint_files.latest(str(tmp_path)).endswith("model.ckpt-2")


def test_a_second_interrupt_stops_at_once(run, tmp_path, request):
    # A background process of a shell ignores SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    run.options = dataclasses.replace(run.options, save_interval_secs=600)

    def interrupt_twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run.train(_batches(step_2=interrupt_twice))
    assert checkpoint_files.latest(str(tmp_path)) is None


# --- Evaluation on the way ---


class _Evaluation:
    """Records the steps and checkpoints that it is called with."""

    def __init__(self, done: list, every: int = 2, stop_at: int | None = None):
        self.done, self.every, self.stop_at = done, every, stop_at

    def is_due(self, step, last):
        return step % self.every == 0 or step == last

    def is_missing(self, step, last, logdir):
        return self.is_due(step, last) and not any(step == done for done, _ in self.done)

    def run(self, state, logdir, path, should_stop):
        if state.step == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        if not should_stop():
            assert os.path.dirname(path) == logdir
            self.done.append((state.step, os.path.basename(path)))


def test_evaluations_come_in_time_and_after_a_save(run):
    run.options = dataclasses.replace(run.options, save_interval_secs=600)
    done = []
    run.train(_batches(), _Evaluation(done, every=4))
    assert done == [(4, "model.ckpt-4"), (6, "model.ckpt-6")]


@pytest.mark.slow
def test_an_evaluation_that_was_cut_off_is_made_up_for(run):
    run.options = dataclasses.replace(run.options, save_interval_secs=600)
    done = []
    run.train(_batches(), _Evaluation(done, stop_at=4))
    assert done == [(2, "model.ckpt-2")]
    assert run.step == 4
    run.train(_batches(first=4), _Evaluation(done))
    assert done == [(step, f"model.ckpt-{step}") for step in (2, 4, 6)]
    run.train(_batches(first=6), _Evaluation(done))
    assert len(done) == 3


@pytest.mark.slow
def test_what_was_not_saved_is_not_evaluated(run, disk_full_at):
    disk_full_at |= {2}
    done = []
    run.train(_batches(), _Evaluation(done))
    assert [step for step, _ in done] == [4, 6]


# --- What TensorBoard shows ---


def test_the_graph_of_a_step_is_written_once(run, tmp_path):
    run.train(_batches())
    (graph,) = [event.graph_def for event in _events(tmp_path) if event.graph_def]
    operations = {node.op for node in tf.compat.v1.GraphDef.FromString(graph).node}
    assert {"Conv2D", "Conv2DBackpropFilter", "ResourceApplyMomentum"} <= operations


@pytest.mark.slow
def test_a_profile_of_a_few_steps_can_be_read(run, tmp_path):
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    run.options = dataclasses.replace(run.options, profile_logdir=str(tmp_path / "profile"))
    run.train(_batches())
    (file,) = (tmp_path / "profile").glob("plugins/profile/*/*.xplane.pb")
    space = xplane_pb2.XSpace.FromString(file.read_bytes())
    names = {each.name for plane in space.planes for each in plane.event_metadata.values()}
    # A run of few steps is profiled in its second half.
    assert any("train" in name for name in names)
    steps = {
        stat.int64_value or stat.uint64_value
        for plane in space.planes
        for line in plane.lines
        for event in line.events
        for stat in event.stats
        if plane.stat_metadata[stat.metadata_id].name == "step_num"
    }
    assert steps == {4, 5, 6}


@pytest.mark.slow
def test_a_network_that_predicts_one_class_is_noticed(run, caplog):
    def spoil():
        run.variables()["logits/semantic/biases"].assign([0.0, 100.0, 0.0])

    run.train(_batches(step_6=spoil))
    assert "step 6: every pixel is predicted as class 1" in caplog.text


def test_a_network_without_batch_norm_is_not_warned_of(tmp_path, caplog):
    options = common.ModelOptions(
        model_variant="vgg_16", vgg_fc6_filters=2, aspp_with_batch_norm=False, num_classes=3
    )
    run = trainer.Trainer(
        model.DeepLab(options), trainer.TrainOptions(train_batch_size=2), _IGNORE_LABEL
    )
    run.open(str(tmp_path))
    run.train([])
    assert "batch norm" not in caplog.text


def test_frozen_batch_norm_without_statistics_is_noticed(run, caplog):
    for frozen in (False, True):
        run.options = dataclasses.replace(run.options, fine_tune_batch_norm=not frozen)
        run.train([])
        assert ("batch norm is frozen" in caplog.text) == frozen
    caplog.clear()
    for name, value in (("moving_mean", 1), ("moving_mean", 0), ("beta", 1)):
        variable = run.variables()[f"MobilenetV2/Conv/BatchNorm/{name}"]
        variable.assign(np.full(3, value))
        caplog.clear()
        run.train([])
        # One that is folded into its convolution has an offset only.
        assert ("batch norm is frozen" in caplog.text) == (value == 0)


@pytest.mark.slow
def test_one_host_makes_the_profile(run, tmp_path):
    """Otherwise several hosts would write the same file."""
    run.options = dataclasses.replace(run.options, profile_logdir=str(tmp_path / "profile"))
    run.is_chief = False
    run.train(_batches())
    assert run.step == _LAST
    assert not (tmp_path / "profile").exists()


def test_the_warnings_come_before_the_first_step(run, caplog):
    run.train([])
    assert "batch norm is trained with 2 images at a time" in caplog.text
