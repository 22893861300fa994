"""Says how a training run goes."""

import sys

import keras
import tensorflow as tf
from absl import logging

from deeplab.utils.progress import Pace


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
        self._pace = Pace(first * batch_size)
        self._loss = keras.metrics.Mean()
        self._bar = None
        if sys.stdout.isatty():
            names = ("step", "loss", "learning rate", "images/s")
            # It counts the steps of this process, so that its estimate is right.
            self._bar = keras.utils.Progbar(last - first, stateful_metrics=names, unit_name="step")

    def restart(self, step: int) -> None:
        """Leaves the time since the last line out of the speed; the step is done."""
        self._pace.mark(step * self._batch_size)

    def add(self, loss: tf.Tensor) -> None:
        """Takes a step's loss, a scalar."""
        self._loss.update_state(loss)

    def log(self, step: int, rate: float) -> None:
        """Says it for a step; loss and speed are the means since the last time.

        Where no step was timed since, as after the first, nothing is said of speed and time left.
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
