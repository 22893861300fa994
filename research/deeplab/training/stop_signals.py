"""Handles signals that ask a process to stop."""

import contextlib
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator

from absl import logging


@contextlib.contextmanager
def leaving() -> Iterator[None]:
    """Let SIGTERM end the process at once with exit code 0, because there is nothing to save."""

    def leave(number: int, frame: types.FrameType | None) -> None:
        del number, frame
        logging.info("SIGTERM: there is nothing to save")
        sys.exit(0)

    with _handling(leave):
        yield


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """Restore the default SIGTERM handler, for a wait during which Python handlers cannot run."""
    with _handling(signal.SIG_DFL):
        yield


@contextlib.contextmanager
def _handling(handler: Callable[..., None] | signal.Handlers) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, after everything was done that the first one asks for."""


class StopSignals:
    """Records the first SIGTERM or SIGINT (Ctrl-C); a second one has its usual effect.

    Signals can be handled in the main thread only. In other threads nothing is recorded.

    Attributes:
        received: The signal that was received; None before.

    Example:
        with StopSignals() as signals:
            while not signals.received:
                ...
        signals.interrupt()
    """

    def __init__(self):
        self.received: signal.Signals | None = None
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopSignals":
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._record)
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the previous handlers."""
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def interrupt(self) -> None:
        """Raise `Interrupted` if the signal was SIGINT."""
        if self.received == signal.SIGINT:
            raise Interrupted

    def _record(self, number: int, frame: types.FrameType | None) -> None:
        del frame
        self.received = signal.Signals(number)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        logging.info(
            "%s: stopping after this step is saved (repeat it to stop at once)", self.received.name
        )
