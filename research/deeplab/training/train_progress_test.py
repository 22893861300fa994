"""The log lines and the progress bar of training."""

import re
import sys
import time

import pytest

from deeplab.training.train_progress import TrainProgress


@pytest.fixture
def clock(monkeypatch):
    """Return the time in seconds, which tests can set."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_line_tells_speed_and_time_left(clock, caplog):
    with caplog.at_level("INFO", logger="absl"):
        progress = TrainProgress(first=100, last=30000, batch_size=8)
        clock[0] = 5.0
        progress.add(1.25)
        progress.log(110, 0.007)
    line = "step 110 of 30000: loss 1.2500, learning rate 0.007, 16.0 images/s, 4:09:05 left"
    assert caplog.messages == [line]


def test_a_first_step_says_nothing_about_the_speed(clock, caplog):
    """The first step includes the compilation."""
    with caplog.at_level("INFO", logger="absl"):
        progress = TrainProgress(first=0, last=300_000, batch_size=8)
        clock[0] = 100.0
        progress.add(1.25)
        progress.restart(1)
        progress.log(1, 0.007)
        clock[0] = 102.5
        progress.log(11, 0.007)
    first, second = caplog.messages
    assert first == "step 1 of 300000: loss 1.2500, learning rate 0.007"
    assert second.endswith("32.0 images/s, 20:49:57 left")


def test_the_loss_is_the_mean_since_the_line_before(caplog):
    with caplog.at_level("INFO", logger="absl"):
        progress = TrainProgress(first=0, last=30, batch_size=8)
        for step, losses in ((2, (1.0, 4.0)), (5, (0.5, 0.25, 3.0))):
            for loss in losses:
                progress.add(loss)
            progress.log(step, 0.007)
    assert [message.split(",")[0] for message in caplog.messages] == [
        "step 2 of 30: loss 2.5000",
        "step 5 of 30: loss 1.2500",
    ]


def test_what_comes_between_does_not_count_as_training(clock, caplog):
    with caplog.at_level("INFO", logger="absl"):
        progress = TrainProgress(first=0, last=30, batch_size=8)
        clock[0] = 1000.0
        progress.restart(10)
        clock[0] = 1005.0
        progress.log(20, 0.007)
    assert "16.0 images/s, 0:00:05 left" in caplog.text


def test_a_terminal_has_the_bar_of_keras(monkeypatch, capsys, caplog):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    progress = TrainProgress(first=100, last=120, batch_size=8)
    with caplog.at_level("INFO", logger="absl"):
        for step in (110, 120):
            progress.add(1.25)
            progress.log(step, 0.007)
    assert not caplog.text
    shown = re.sub(r"\x1b\[\d*m|\x08", "", capsys.readouterr().out)
    assert "20/20" in shown
    assert "loss: 1.2500" in shown
