"""Says how a pass over images goes."""

import time

from absl import logging

_EVERY_SECS = 10.0


class Progress:
    """Logs, every ten seconds and at the end, how far a pass is, its speed and the time left.

    Example:
        progress = Progress("evaluated", total=1449)
        for batch in batches:
            ...
            progress.advance(len(batch))
    """

    def __init__(self, verb: str, total: int):
        """Starts the clock.

        Args:
            verb: what is done to the images, such as "evaluated".
            total: the number of images.
        """
        self._verb = verb
        self._total = total
        self._done = 0
        self._start = self._said = time.monotonic()
        # The first images wait for the network to be compiled and say nothing about the speed.
        self._first: tuple[int, float] | None = None

    def advance(self, count: int = 1) -> None:
        """Counts some images."""
        self._done += count
        now = time.monotonic()
        if self._done >= self._total:
            logging.info("%s %d images in %s", self._verb, self._done, _clock(now - self._start))
        elif now - self._said >= _EVERY_SECS:
            self._said = now
            logging.info(
                "%s %d of %d images%s", self._verb, self._done, self._total, self._speed(now)
            )
        self._first = self._first or (self._done, now)

    def _speed(self, now: float) -> str:
        if self._first is None or now <= self._first[1]:
            return ""
        done, start = self._first
        speed = (self._done - done) / (now - start)
        left = (self._total - self._done) / speed
        return f", {speed:.1f} images/s, {_clock(left)} left"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
