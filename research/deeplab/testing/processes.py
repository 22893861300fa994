"""Runs scripts and functions in processes that tests can kill and stop.

Each has its own TensorFlow. They are forked from a server that has imported it, which saves seconds
for each.
"""

import contextlib
import importlib
import multiprocessing
import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

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
    """Start `deeplab-train` with flags, for a minimal network; see `start` and `tiny.minimal`."""
    return start("train", arguments, log, minimal=True, **environment)


def result(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of a module in a separate process, and return its result.

    TensorFlow has not started in the process, so that it can still be told which devices to make.
    """
    with _CONTEXT.Pool(1) as pool:
        return pool.apply(function, arguments)


def start(
    script: str,
    arguments: Sequence[str],
    log: pathlib.Path,
    *,
    minimal: bool = False,
    **environment: str,
) -> multiprocessing.Process:
    """Start a script with flags.

    Args:
        script: Its module, such as "train".
        arguments: The flags.
        log: File to which its output is appended.
        minimal: Build minimal networks, see `tiny.minimal`.
        **environment: Environment variables besides those of this process.

    Returns:
        The running process.
    """
    return call(_run, (script, list(arguments), minimal), log, **environment)


def call(
    function: Callable[..., Any], arguments: Sequence[Any], log: pathlib.Path, **environment: str
) -> multiprocessing.Process:
    """Start a process that calls a function of a module.

    Args:
        function: The function.
        arguments: Its arguments.
        log: File to which its output is appended.
        **environment: Environment variables besides those of this process.

    Returns:
        The running process.
    """
    process = _CONTEXT.Process(
        target=_call, args=(function, tuple(arguments), str(log), environment)
    )
    process.start()
    return process


def _call(
    function: Callable[..., Any],
    arguments: Sequence[Any],
    log: str,
    environment: dict[str, str],
) -> None:
    os.environ.update(environment)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    from deeplab.cli import processes

    # A killed test run leaves no process behind.
    processes.begin()
    function(*arguments)


def _run(script: str, arguments: list[str], minimal: bool = False) -> None:
    module = importlib.import_module(f"deeplab.{script}")
    from deeplab.testing import tiny

    sys.argv = [f"{script}.py", *arguments]
    with tiny.minimal() if minimal else contextlib.nullcontext():
        module.run()
