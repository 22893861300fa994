"""Runs of the training script that are killed, stopped and resumed."""

import json
import math
import os
import pathlib
import random
import signal
import time

import numpy as np
import pytest

from deeplab.testing import processes, tiny
from deeplab.utils import checkpoint, checkpoint_files

_STEPS = 18
_EVAL_EVERY = 6


@pytest.fixture(scope="module")
def flags(tmp_path_factory) -> list[str]:
    """Return the flags of a run that saves after each step and takes a few seconds.

    It computes partly in bfloat16, so that what stays in float32 is resumed, too.
    """
    folder = tmp_path_factory.mktemp("data")
    for split, count in (("train", 5), ("val", 2)):
        samples = {}
        for index in range(count):
            label = np.random.default_rng(index).integers(0, 4, (36, 40)).astype(np.uint8)
            samples[f"{split}_{index}"] = (tiny.picture(36, 40, index), label)
        tiny.write_records(folder, samples, split=split)
    tiny.DATASET.save(folder / "tiny.json")
    return [
        f"--dataset={folder / 'tiny.json'}",
        f"--dataset_dir={folder}",
        "--model_variant=mobilenet_v2",
        "--depth_multiplier=0.1",
        "--aspp_convs_filters=8",
        "--train_crop_size=33,33",
        "--train_batch_size=2",
        "--base_learning_rate=0.01",
        "--save_interval_secs=0",
        f"--training_number_of_steps={_STEPS}",
        "--deterministic_ops",
        "--precision=mixed_bfloat16",
    ]


@pytest.fixture(scope="module")
def whole(flags, tmp_path_factory) -> pathlib.Path:
    """Return the folder of an uninterrupted run."""
    logdir = tmp_path_factory.mktemp("whole")
    process = processes.train([*flags, f"--train_logdir={logdir}"], logdir / "log")
    process.join()
    assert process.exitcode == 0, (logdir / "log").read_text()
    return logdir


def _tensors(prefix: str) -> dict[str, np.ndarray]:
    reader = checkpoint.read(prefix)
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def _assert_same_bits(ours: pathlib.Path, theirs: pathlib.Path) -> None:
    """Compare everything in the newest checkpoints of two runs."""
    ours, theirs = _tensors(str(ours)), _tensors(str(theirs))
    assert set(ours) == set(theirs)
    assert ours["global_step"] == _STEPS
    for kind in ("weights/Momentum", "moving_variance", "gamma"):
        assert any(name.endswith(kind) for name in ours)
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


def _wait_for_a_save(process, logdir: pathlib.Path, seconds: float = math.inf) -> None:
    """Wait for a new state file, for a time, or until the process has ended."""
    state = logdir / "checkpoint"
    before = state.stat().st_mtime_ns if state.exists() else 0
    end = time.monotonic() + seconds
    while process.is_alive() and time.monotonic() < end:
        if state.exists() and state.stat().st_mtime_ns != before:
            return
        time.sleep(0.002)


def _wait_for_a_write(process, logdir: pathlib.Path) -> None:
    """Wait for an unfinished checkpoint, or until six steps before the end."""
    late = f"{logdir}/model.ckpt-{_STEPS - 6}.index"
    while process.is_alive() and not os.path.exists(late):
        if any(".tempstate" in name for name in os.listdir(logdir)):
            return


def _wait_for_the_moment(kill: int, process, logdir: pathlib.Path) -> None:
    """Kill the run soon after a save, then at any time, then during a save."""
    if kill == 0:
        _wait_for_a_save(process, logdir)
        time.sleep(random.uniform(0, 0.1))
    elif kill == 1:
        _wait_for_a_save(process, logdir, seconds=random.uniform(0, 5))
    else:
        _wait_for_a_write(process, logdir)


@pytest.mark.slow
def test_a_run_that_is_killed_ends_with_the_same_bits(flags, whole, tmp_path):
    """The moments differ each time. The run also evaluates, which the other run does not."""
    log = tmp_path / "log"
    arguments = [*flags, f"--train_logdir={tmp_path}", f"--eval_every={_EVAL_EVERY}"]
    for kill in range(3):
        process = processes.train(arguments, log)
        _wait_for_the_moment(kill, process, tmp_path)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, f"kill {kill}: {log.read_text()}"
        if (newest := checkpoint_files.latest(str(tmp_path))) is not None:
            _tensors(newest)  # It can be read after every kill.
    process = processes.train(arguments, log)
    process.join()
    assert process.exitcode == 0, log.read_text()
    _assert_same_bits(tmp_path, whole)

    results = {}
    for step in range(_EVAL_EVERY, _STEPS + 1, _EVAL_EVERY):
        results[step] = json.loads((tmp_path / f"eval/eval-{step}.json").read_text())["miou"]
    best = json.loads((tmp_path / "best/eval.json").read_text())
    assert best["miou"] == max(results.values()) == results[best["step"]]
    assert checkpoint_files.latest(str(tmp_path / "best")).endswith(f"model.ckpt-{best['step']}")
    assert checkpoint.load_options(str(tmp_path / "best")).depth_multiplier == 0.1
    assert not list(tmp_path.glob("*tempstate*"))


@pytest.mark.slow
def test_a_run_that_is_told_to_stop_saves_first(flags, whole, tmp_path):
    log = tmp_path / "log"
    log.touch()
    # Without the signal nothing would be saved before the end.
    arguments = [*flags, f"--train_logdir={tmp_path}", "--save_interval_secs=600", "--log_steps=1"]
    before = 0
    for number, code in ((signal.SIGTERM, 0), (signal.SIGINT, 130)):
        process = processes.train(arguments, log)
        while process.is_alive() and f"step {before + 2} of" not in log.read_text():
            time.sleep(0.002)
        os.kill(process.pid, number)
        process.join()
        assert process.exitcode == code, log.read_text()
        step = int(_tensors(str(tmp_path))["global_step"])
        assert before + 2 <= step < _STEPS
        assert f"stopped at step {step}; the same command resumes" in log.read_text()
        before = step

    process = processes.train(arguments, log)
    process.join()
    assert process.exitcode == 0
    _assert_same_bits(tmp_path, whole)
