"""A batch that no machine like this one can hold is refused, and nothing else."""

import os

import pytest

from deeplab.core.options import batch_memory

_GB = 10**9


@pytest.fixture
def machine(monkeypatch):
    monkeypatch.setattr(batch_memory, "_physical_bytes", lambda: 24 * _GB)


@pytest.mark.usefixtures("machine")
def test_a_batch_beyond_the_memory_names_both_flags():
    with pytest.raises(ValueError, match="lower one of them") as raised:
        batch_memory.check("train", 65536, (513, 515))
    assert str(raised.value).startswith(
        "--train_batch_size=65536 with --train_crop_size=513,515 needs 277 GB"
    )
    assert "this machine has 24 GB" in str(raised.value)
    assert "\n" not in str(raised.value)
    with pytest.raises(ValueError, match="--vis_batch_size=8 "):
        batch_memory.check("vis", 8, (16384, 16384))
    with pytest.raises(ValueError, match="--eval_batch_size=8 with --window=16384,16384 needs"):
        batch_memory.check("eval", 8, (16384, 16384), size_flag="window")
    # Each host has its part.
    batch_memory.check("train", 8, (16384, 16384), hosts=2)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("batch_size", "crop_size"),
    [(16, (513, 513)), (32, (769, 769)), (16, (1025, 2049)), (2048, (513, 513)), (1, (16384,) * 2)],
)
def test_what_may_fit_is_not_refused(batch_size, crop_size):
    batch_memory.check("train", batch_size, crop_size)


def test_a_system_may_not_tell_its_memory(monkeypatch):
    assert batch_memory._physical_bytes() > 0
    monkeypatch.setattr(os, "sysconf", lambda name: -1)
    assert batch_memory._physical_bytes() is None
    batch_memory.check("train", 65536, (16384, 16384))
