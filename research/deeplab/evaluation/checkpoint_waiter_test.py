"""Waiting for checkpoints, on a clock that only the waiting moves."""

import itertools
import logging
import os
import types

import pytest

from deeplab.evaluation import checkpoint_waiter
from deeplab.utils import checkpoint


class _Clock:
    """A clock that moves when somebody sleeps, and events that happen on the way."""

    def __init__(self):
        self.now = 100.0
        self.events = []

    def at(self, seconds, event):
        """Lets `event()` happen that many seconds after the start."""
        self.events.append((100.0 + seconds, event))

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        assert self.now < 10_000, "waits for ever"
        for due, event in [item for item in self.events if item[0] <= self.now]:
            self.events.remove((due, event))
            event()


@pytest.fixture
def clock(monkeypatch):
    fake = _Clock()
    module = types.SimpleNamespace(monotonic=fake.monotonic, sleep=fake.sleep)
    monkeypatch.setattr(checkpoint_waiter, "time", module)
    return fake


@pytest.fixture(autouse=True)
def _log(caplog):
    caplog.set_level(logging.INFO)


def _write(folder, step):
    os.makedirs(folder, exist_ok=True)
    return checkpoint.save(str(folder), step, {})


def _steps(paths):
    return [int(path.rpartition("-")[2]) for path in paths]


def test_each_new_checkpoint_once_and_the_outdated_not_at_all(tmp_path, clock):
    for step in (1, 2):
        _write(tmp_path, step)
    clock.at(20, lambda: _write(tmp_path, 3))
    clock.at(300, lambda: [_write(tmp_path, step) for step in (4, 5)])
    paths = checkpoint_waiter.new_checkpoints(str(tmp_path), max_number=3)
    assert _steps(paths) == [2, 3, 5]


def test_without_a_limit_it_keeps_watching(tmp_path, clock):
    for step in range(1, 8):
        clock.at(30 * step, lambda step=step: _write(tmp_path, step))
    paths = checkpoint_waiter.new_checkpoints(str(tmp_path))
    assert _steps(itertools.islice(paths, 7)) == [1, 2, 3, 4, 5, 6, 7]


def test_the_interval_is_kept_from_start_to_start(tmp_path, clock):
    _write(tmp_path, 0)
    for step in range(1, 100):
        clock.at(10 * step, lambda step=step: _write(tmp_path, step))
    times = []
    for _ in checkpoint_waiter.new_checkpoints(str(tmp_path), 60, max_number=4):
        times.append(clock.now)
        clock.sleep(25)  # The evaluation.
    assert times[0] == 100.0
    assert [later - sooner for sooner, later in itertools.pairwise(times)] == [60, 60, 60]


def test_an_evaluation_that_takes_longer_than_the_interval_is_followed_at_once(tmp_path, clock):
    _write(tmp_path, 0)
    clock.at(50, lambda: _write(tmp_path, 1))
    times = []
    for _ in checkpoint_waiter.new_checkpoints(str(tmp_path), 60, max_number=2):
        times.append(clock.now)
        clock.sleep(200)
    assert times == [100.0, 300.0]


def test_a_named_checkpoint_is_the_only_one(tmp_path, clock):
    path = _write(tmp_path, 1)
    _write(tmp_path, 2)
    assert list(checkpoint_waiter.new_checkpoints(path, 300)) == [path]
    assert clock.now == 100.0


def test_it_says_once_what_it_waits_for(tmp_path, clock, caplog):
    folder = tmp_path / "later"
    clock.at(60, lambda: os.makedirs(folder))
    clock.at(120, lambda: _write(folder, 7))
    path = checkpoint_waiter.wait(str(folder))
    assert _steps([path]) == [7]
    (message,) = caplog.messages
    assert f"the first checkpoint in {folder}, which is not there yet" in message
    assert "(checked every 5 s" in message

    caplog.clear()
    clock.at(300, lambda: _write(folder, 8))
    checkpoint_waiter.wait(str(folder), path, pause_secs=90)
    (message,) = caplog.messages
    assert f"newer than model.ckpt-7 in {folder}" in message
    assert "checked every 5 s, after a pause of 90 s" in message


def test_a_checkpoint_that_is_there_is_not_waited_for(tmp_path, clock, caplog):
    _write(tmp_path, 7)
    checkpoint_waiter.wait(str(tmp_path))
    assert clock.now == 100.0
    assert not caplog.messages


@pytest.mark.parametrize("name", ["model.ckpt-5", "model.ckpt-7.index", "elsewhere/model.ckpt"])
def test_a_named_checkpoint_that_is_not_there_is_an_error(tmp_path, clock, name):
    _write(tmp_path, 7)
    with pytest.raises(FileNotFoundError, match="no checkpoint at .*holds (model.ckpt-7|none)"):
        checkpoint_waiter.wait(str(tmp_path / name))


def test_checkpoints_without_a_state_file_are_an_error_that_says_what_to_give(tmp_path, clock):
    path = _write(tmp_path, 7)
    (tmp_path / "checkpoint").unlink()
    with pytest.raises(FileNotFoundError, match=f"holds model.ckpt-7, .*--checkpoint_dir={path}"):
        checkpoint_waiter.wait(str(tmp_path))


def test_a_state_file_from_elsewhere_is_an_error_that_says_what_to_give(tmp_path, clock):
    path = _write(tmp_path, 7)
    state = 'model_checkpoint_path: "/gone/model.ckpt-7"\n'
    (tmp_path / "checkpoint").write_text(state)
    with pytest.raises(FileNotFoundError, match=f"names none of them.*--checkpoint_dir={path}"):
        checkpoint_waiter.wait(str(tmp_path))


def test_a_checkpoint_whose_state_file_follows_is_waited_for(tmp_path, clock):
    path = _write(tmp_path, 7)
    state = (tmp_path / "checkpoint").read_text()
    (tmp_path / "checkpoint").unlink()
    clock.at(3, lambda: (tmp_path / "checkpoint").write_text(state))
    assert checkpoint_waiter.wait(str(tmp_path)) == path
