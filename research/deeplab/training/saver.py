"""When a run is saved, and what happens where it cannot be."""

import time
from collections.abc import Callable

import tensorflow as tf
from absl import logging

from deeplab.training import guards
from deeplab.training.state import TrainState
from deeplab.utils import checkpoint, error_text


class CheckpointSaver:
    """Saves a run from time to time.

    A checkpoint that cannot be written is an error in the log, unless it is the last one.

    Args:
        state: the state of the run.
        logdir: folder of the checkpoints; None: nothing is saved, another host does it.
        interval_secs: seconds between two checkpoints.
        describe_batch: returns what the newest batch was, for messages.

    Attributes:
        newest: prefix of the checkpoint that was written last; None before the first, and after an
            attempt that failed.
    """

    def __init__(
        self,
        state: TrainState,
        logdir: str | None,
        interval_secs: float,
        describe_batch: Callable[[], str],
    ):
        self.newest: str | None = None
        self._state = state
        self._logdir = logdir
        self._interval_secs = interval_secs
        self._describe_batch = describe_batch
        self._due = 0.0
        self._postpone()

    def is_due(self) -> bool:
        """Whether the interval is over."""
        return time.monotonic() >= self._due

    def save(self, *, needed: bool = False) -> None:
        """Save this step, if that is not done yet.

        Args:
            needed: raise where it cannot be written, instead of logging an error.

        Raises:
            OSError: it cannot be written, but it is needed.
            FloatingPointError: a variable is not finite.
        """
        if self._logdir and not self._is_saved():
            self.newest = self._save(needed)
        self._postpone()

    def _is_saved(self) -> bool:
        return self.newest is not None and self.newest.endswith(f"-{self._state.step}")

    def _postpone(self) -> None:
        self._due = time.monotonic() + self._interval_secs

    def _save(self, needed: bool) -> str | None:
        try:
            path = self._state.save(self._logdir)
        except FloatingPointError as error:
            raise FloatingPointError(
                f"{error}; {self._describe_batch()} ({guards.REMEDY})"
            ) from None
        except (OSError, tf.errors.OpError) as error:
            message = (
                f"step {self._state.step} cannot be saved: {error_text.one_line(error)}; the newest"
                f" checkpoint is still {checkpoint.latest(self._logdir) or 'none'}"
            )
            if needed:
                raise OSError(
                    f"{message}; mend that and give the same command to go on from there"
                ) from None
            logging.error("%s; training goes on to the next save", message)
            return None
        logging.info("saved %s", path)
        return path
