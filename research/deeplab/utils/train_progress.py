"""Says how a training run goes."""

import sys
import time

import keras
import tensorflow as tf
from absl import logging


class TrainProgress:
    """Says how far training is, how fast it goes and how long it will take.

    On a terminal that is Keras' progress bar, elsewhere lines in the log.
    """

    def __init__(self, first: int, last: int, batch_size: int):
        """Starts the clock.

        Args:
            first: the steps that are done.
            last: the step at which training ends.
            batch_size: images a step.
        """
        self._first = first
        self._last = last
        self._batch_size = batch_size
        self._seen = first
        self._time = time.monotonic()
        self._loss = keras.metrics.Mean()
        self._bar = None
        if sys.stdout.isatty():
            names = ("step", "loss", "learning rate", "images/s")
            # It counts the steps of this process, so that its estimate is right.
            self._bar = keras.utils.Progbar(last - first, stateful_metrics=names, unit_name="step")

    def restart(self, step: int) -> None:
        """Leaves the time since the last line out of the speed; the step is done."""
        self._seen, self._time = step, time.monotonic()

    def add(self, loss: tf.Tensor) -> None:
        """Takes a step's loss, a scalar."""
        self._loss.update_state(loss)

    def log(self, step: int, rate: float) -> None:
        """Says it for a step; loss and speed are the means since the last time."""
        loss = float(self._loss.result())
        self._loss.reset_state()
        now = time.monotonic()
        seconds_a_step = (now - self._time) / max(step - self._seen, 1)
        self._seen, self._time = step, now
        speed = self._batch_size / seconds_a_step
        if self._bar is not None:
            values = [("step", step), ("loss", loss), ("learning rate", rate), ("images/s", speed)]
            self._bar.update(step - self._first, values, finalize=step == self._last)
            return
        left = time.gmtime(seconds_a_step * (self._last - step))
        logging.info(
            "step %d of %d: loss %.4f, learning rate %.3g, %.1f images/s, %d:%s left",
            step,
            self._last,
            loss,
            rate,
            speed,
            left.tm_hour + 24 * (left.tm_yday - 1),
            time.strftime("%M:%S", left),
        )
