"""Runs scripts in processes that tests can kill and stop, each with its own TensorFlow.

They are forked from a server that has imported TensorFlow, which saves seconds for each.
"""

import importlib
import multiprocessing
import os
import pathlib
import sys
from collections.abc import Sequence

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "deeplab.train",
        "deeplab.training.run",
        "deeplab.evaluation.evaluate",
    ]
)


def train(
    arguments: Sequence[str], log: pathlib.Path, **environment: str
) -> multiprocessing.Process:
    """Start `deeplab-train` with flags; see `start`."""
    return start("train", arguments, log, **environment)


def start(
    script: str, arguments: Sequence[str], log: pathlib.Path, **environment: str
) -> multiprocessing.Process:
    """Start a script with flags.

    Args:
        script: its module, such as "train".
        arguments: the flags.
        log: file to which its output is appended.
        **environment: environment variables besides those of this process.

    Returns:
        The running process.
    """
    process = _CONTEXT.Process(target=_run, args=(script, list(arguments), str(log), environment))
    process.start()
    return process


def _run(script: str, arguments: list[str], log: str, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    module = importlib.import_module(f"deeplab.{script}")
    from deeplab.cli import processes

    # A killed test run leaves no process behind.
    processes.begin()
    sys.argv = [f"{script}.py", *arguments]
    module.run()
