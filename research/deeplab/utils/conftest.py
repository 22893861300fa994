"""Fixtures for the tests of files."""

import subprocess
import sys

import pytest


@pytest.fixture(scope="session")
def gone() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid
