"""Settings of all tests."""

import gc
import os
import sys
from collections.abc import Generator
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pytest  # noqa: E402
from absl import logging  # noqa: E402


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--slow`, which runs all tests."""
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the slow tests without `--slow`."""
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow: run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


def pytest_collection_finish() -> None:
    """Leave what the imports have made out of the search for garbage.

    There are some million such objects. A network is thousands of them that refer to each other,
    and makes Python search all over again.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape what is no text in logs, such as names of files: processes send each other text."""
    report = yield
    report.sections = [
        (title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections
    ]
    return report


@pytest.fixture(autouse=True)
def _log_what_scripts_log() -> None:
    """Let `caplog` see the log of scripts, whatever ran before in the same process."""
    logging.set_verbosity(logging.INFO)


# Largest difference from the official code by backbone, over all processes that ran tests.
_WORST: dict[str, float] = {}


def _merge(worst: dict[str, float]) -> None:
    for variant, error in worst.items():
        _WORST[variant] = max(error, _WORST.get(variant, 0.0))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Record what this process measured, and hand it to the process that reports."""
    if parity := sys.modules.get("deeplab.testing.parity"):
        _merge(parity.worst)
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["worst"] = _WORST


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Record what a process of pytest-xdist measured."""
    _merge(getattr(node, "workeroutput", {}).get("worst", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the largest difference of each backbone's outputs from the official ones."""
    if _WORST:
        terminalreporter.section("largest difference from the official code, as a share of range")
        for variant, error in sorted(_WORST.items()):
            terminalreporter.line(f"{variant:28} {error:.1e}")
