"""Ends a process in good order when it is told to end."""

import contextlib
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator

from absl import logging


@contextlib.contextmanager
def leaving() -> Iterator[None]:
    """Within it SIGTERM ends the process at once, exit code 0: there is nothing to save."""

    def leave(number: int, frame: types.FrameType | None) -> None:
        del number, frame
        logging.info("SIGTERM: there is nothing to save")
        sys.exit(0)

    with _handling(leave):
        yield


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """Within it SIGTERM is obeyed as ever: for a wait in which no handler of Python's runs."""
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


class StopSignals:
    """Within it, the first SIGTERM or SIGINT (Ctrl-C) is noted, not obeyed; a second one is.

    Example:
        with StopSignals() as stop:
            while not stop.received:
                ...
        stop.interrupt()

    In threads other than the main one signals cannot be handled, and nothing is noted.

    Attributes:
        received: the signal, as soon as there was one.
    """

    def __init__(self):
        self.received: signal.Signals | None = None
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopSignals":
        """Begins to listen."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        """Leaves the signals to whoever had them before."""
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def interrupt(self) -> None:
        """Passes Ctrl-C on.

        Raises:
            KeyboardInterrupt: the signal was SIGINT.
        """
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: types.FrameType | None) -> None:
        del frame
        self.received = signal.Signals(number)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        logging.info(
            "%s: this step is ended and saved first (once more: at once)", self.received.name
        )
