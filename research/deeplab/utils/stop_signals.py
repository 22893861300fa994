"""Ends a loop in good order when its process is told to end."""

import signal
import threading
import types

from absl import logging


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
        self.__exit__()
        logging.info(
            "%s: this step is ended and saved first (once more: at once)", self.received.name
        )
