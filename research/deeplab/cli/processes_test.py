"""Work in processes keeps its order, and a killed process is one error."""

import os
import signal

import pytest

from deeplab.cli import processes


def _square(number: int) -> int:
    return number**2


def _kill(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_results_come_in_order():
    with processes.pool(2, "squares", remedy="") as pool:
        assert list(pool.map(_square, range(9))) == [number**2 for number in range(9)]


def test_a_killed_process_is_one_error_that_names_memory_and_remedy():
    message = "a process that reads was killed, most likely because memory ran out: set --num_w"
    with (
        pytest.raises(ChildProcessError, match=message),
        processes.pool(2, "reads", remedy="set --num_workers to 0") as pool,
    ):
        list(pool.map(_kill, range(4)))
