"""Says how a training run goes."""

import time

from absl import logging


class TrainProgress:
    """Says how far training is, how fast it goes and how long it will take."""

    def __init__(self, first: int, last: int, batch_size: int):
        """Starts the clock.

        Args:
            first: the steps that are done.
            last: the step at which training ends.
            batch_size: images a step.
        """
        self._last = last
        self._batch_size = batch_size
        self._seen = first
        self._time = time.monotonic()

    def restart(self, step: int) -> None:
        """Leaves the time since the last line out of the speed; the step is done."""
        self._seen, self._time = step, time.monotonic()

    def log(self, step: int, loss: float, rate: float) -> None:
        """One line; the speed is that since the previous one."""
        now = time.monotonic()
        seconds_a_step = (now - self._time) / max(step - self._seen, 1)
        self._seen, self._time = step, now
        left = time.gmtime(seconds_a_step * (self._last - step))
        logging.info(
            "step %d of %d: loss %.4f, learning rate %.3g, %.1f images/s, %d:%s left",
            step,
            self._last,
            loss,
            rate,
            self._batch_size / seconds_a_step,
            left.tm_hour + 24 * (left.tm_yday - 1),
            time.strftime("%M:%S", left),
        )
