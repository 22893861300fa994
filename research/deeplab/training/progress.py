"""Says how a training run goes."""

import datetime
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
        """Says it for a step; loss and speed are the means since the last time.

        Where no step was timed since, as after the first, nothing is said of speed and time left.
        """
        loss = float(self._loss.result())
        self._loss.reset_state()
        now, steps = time.monotonic(), step - self._seen
        seconds = now - self._time
        self._seen, self._time = step, now
        speed = steps * self._batch_size / seconds if steps else None
        if self._bar is not None:
            values = [("step", step), ("loss", loss), ("learning rate", rate)]
            if speed is not None:
                values.append(("images/s", speed))
            self._bar.update(step - self._first, values, finalize=step == self._last)
            return
        line = f"step {step} of {self._last}: loss {loss:.4f}, learning rate {rate:.3g}"
        if speed is not None:
            left = datetime.timedelta(seconds=round(seconds / steps * (self._last - step)))
            line += f", {speed:.1f} images/s, {left} left"
        logging.info(line)
