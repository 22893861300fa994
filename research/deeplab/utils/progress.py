"""Progress of long work: how far it is, its speed, and the time that is left."""

import time

from absl import logging

_LOG_EVERY_SECS = 10.0


class Pace:
    """Measures the speed of work that is counted in images, from a mark on.

    Args:
        done: Images that are done when the clock starts.
    """

    def __init__(self, done: int = 0):
        self.mark(done)

    def mark(self, done: int) -> None:
        """Leave everything up to now out of the speed."""
        self._done, self._time = done, time.monotonic()

    def speed(self, done: int) -> float | None:
        """Return the images per second since the mark; None if there were none."""
        seconds = time.monotonic() - self._time
        return (done - self._done) / seconds if done > self._done and seconds > 0 else None

    def text(self, done: int, total: int | None, noun: str = "images") -> str:
        """Return speed and time left, such as ", 16.0 images/s, 0:00:05 left"; "" if unknown."""
        speed = self.speed(done)
        if speed is None:
            return ""
        left = "" if total is None else f", {clock_text((total - done) / speed)} left"
        return f", {speed:.1f} {noun}/s{left}"


class Progress:
    """Logs the progress of a pass over images, every ten seconds and at the end.

    Args:
        verb: Past participle of the work, such as "evaluated".
        total: Number of images. None: unknown; `finish` ends the pass.
        noun: Plural of the things that are counted, such as "images".

    Example:
        progress = Progress("evaluated", total=1449)
        for batch in batches:
            ...
            progress.advance(len(batch))
    """

    def __init__(self, verb: str, total: int | None, noun: str = "images"):
        self._verb = verb
        self._total = total
        self._noun = noun
        self._done = 0
        self._start = self._logged = time.monotonic()
        self._pace: Pace | None = None

    def advance(self, count: int = 1) -> None:
        """Count some images."""
        self._done += count
        now = time.monotonic()
        if self._total is not None and self._done >= self._total:
            self.finish()
        elif now - self._logged >= _LOG_EVERY_SECS:
            self._logged = now
            pace = self._pace.text(self._done, self._total, self._noun) if self._pace else ""
            of = "" if self._total is None else f" of {self._total}"
            logging.info("%s %d%s %s%s", self._verb, self._done, of, self._noun, pace)
        if self._pace is None:
            # The first images wait for the network to be compiled and say nothing about the speed.
            self._pace = Pace(self._done)

    def finish(self) -> None:
        """Tell that all images are done; where the total was wrong, more may follow."""
        self._total = None
        seconds = clock_text(time.monotonic() - self._start)
        noun = self._noun.removesuffix("s") if self._done == 1 else self._noun
        logging.info("%s %d %s in %s", self._verb, self._done, noun, seconds)


def clock_text(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds, such as "1:05:09"."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
