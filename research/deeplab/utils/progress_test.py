"""Progress of a pass over images."""

import logging
import types

import pytest

from deeplab.utils import progress


@pytest.fixture
def clock(monkeypatch):
    fake = types.SimpleNamespace(now=0.0)
    fake.monotonic = lambda: fake.now
    monkeypatch.setattr(progress, "time", fake)
    return fake


def test_speed_and_time_left_without_the_slow_first_images(clock, caplog):
    caplog.set_level(logging.INFO)
    run = progress.Progress("evaluated", 100)
    clock.now = 9.0  # The network is compiled.
    run.advance(2)
    for _ in range(49):
        clock.now += 0.5
        run.advance(2)
    assert caplog.messages == [
        "evaluated 6 of 100 images, 4.0 images/s, 0:00:24 left",
        "evaluated 46 of 100 images, 4.0 images/s, 0:00:14 left",
        "evaluated 86 of 100 images, 4.0 images/s, 0:00:04 left",
        "evaluated 100 images in 0:00:34",
    ]


def test_hours_are_told(clock, caplog):
    caplog.set_level(logging.INFO)
    run = progress.Progress("visualized", 10_001)
    run.advance()
    clock.now = 3600.0
    run.advance(1000)
    assert caplog.messages == ["visualized 1001 of 10001 images, 0.3 images/s, 9:00:00 left"]
