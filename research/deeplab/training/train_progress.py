"""Logs the progress of training."""

import sys

import keras
import tensorflow as tf
from absl import logging

from deeplab.utils.progress import Pace


class TrainProgress:
    """Logs step, loss, learning rate, speed and the time left.

    On a terminal it shows a Keras progress bar; otherwise it writes log lines.

    Args:
        first: Number of steps that were made before this run.
        last: The last step.
        batch_size: Images per step.
    """

    def __init__(self, first: int, last: int, batch_size: int):
        self._first = first
        self._last = last
        self._batch_size = batch_size
        self._pace = Pace(first * batch_size)
        self._loss = keras.metrics.Mean()
        self._bar = None
        if sys.stdout.isatty():
            names = ("step", "loss", "learning rate", "images/s")
            # It counts the steps of this process only, so that its estimate is right.
            self._bar = keras.utils.Progbar(last - first, stateful_metrics=names, unit_name="step")

    def restart(self, step: int) -> None:
        """Leave the time up to now, after this step, out of the speed."""
        self._pace.mark(step * self._batch_size)

    def add(self, loss: tf.Tensor) -> None:
        """Add the loss of a step, a scalar."""
        self._loss.update_state(loss)

    def log(self, step: int, rate: float) -> None:
        """Log the progress at a step.

        Loss and speed are means since the last call. Speed and time left are omitted if no step was
        timed since then, as after the first step.

        Args:
            step: Number of the step.
            rate: Its learning rate.
        """
        loss = float(self._loss.result())
        self._loss.reset_state()
        done = step * self._batch_size
        if self._bar is not None:
            values = [("step", step), ("loss", loss), ("learning rate", rate)]
            if (speed := self._pace.speed(done)) is not None:
                values.append(("images/s", speed))
            self._bar.update(step - self._first, values, finalize=step == self._last)
        else:
            pace = self._pace.text(done, self._last * self._batch_size)
            line = f"step {step} of {self._last}: loss {loss:.4f}, learning rate {rate:.3g}{pace}"
            logging.info(line)
        self._pace.mark(done)
