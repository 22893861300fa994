"""Work in processes keeps its order, and a killed process is one error."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from deeplab.cli import processes

_ROOT = str(pathlib.Path(__file__).resolve().parents[2])
# Starts a process that never ends of itself.
_PARENT = """
import multiprocessing, time
from deeplab.cli import processes

def work():
    processes.begin()
    print("begun", flush=True)
    time.sleep(600)

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=work).start()
    time.sleep(600)
"""

# The module is one that nothing else imports.
_EARLY = """
import os, sys
from deeplab.cli import processes

def state():
    return "colorsys" in sys.modules, os.environ.get("CUDA_VISIBLE_DEVICES")

if __name__ == "__main__":
    processes.start_early(2, ["colorsys"])
    with processes.pool(1, "looks", remedy="") as pool:
        print(state(), pool.submit(state).result())
"""


def _square(number: int) -> int:
    return number**2


def _kill(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_results_come_in_order():
    with processes.pool(2, "squares", remedy="") as pool:
        assert list(pool.map(_square, range(9))) == [number**2 for number in range(9)]


def test_processes_have_their_modules_from_the_start_and_no_gpu(tmp_path):
    path = tmp_path / "early.py"
    path.write_text(_EARLY)
    environment = {"PYTHONPATH": _ROOT, "PATH": "/usr/bin:/bin"}
    command = [sys.executable, str(path)]
    output = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, env=environment, check=True, timeout=120
    )
    assert output.stdout == "(False, None) (True, '')\n"


def test_a_killed_process_is_one_error_that_names_memory_and_remedy():
    message = "a process that reads was killed, most likely because memory ran out: set --num_w"
    with (
        pytest.raises(ChildProcessError, match=message),
        processes.pool(2, "reads", remedy="set --num_workers to 0") as pool,
    ):
        list(pool.map(_kill, range(4)))


@pytest.mark.parametrize("error", [EOFError, ConnectionResetError, BrokenPipeError])
def test_so_is_the_one_that_starts_them(error):
    with (
        pytest.raises(ChildProcessError, match="was killed, most likely because memory ran out"),
        processes.pool(2, "reads", remedy=""),
    ):
        # As starting a process does then.
        raise error


def test_a_process_ends_with_the_one_that_started_it(tmp_path):
    path = tmp_path / "parent.py"
    path.write_text(_PARENT)
    parent = subprocess.Popen(
        [sys.executable, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": _ROOT, "PATH": "/usr/bin:/bin"},
    )
    assert parent.stdout.readline() == "begun\n"
    parent.kill()
    # The process that it started has the same standard output.
    assert parent.communicate(timeout=120) == ("", None)
