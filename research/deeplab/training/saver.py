"""Saves checkpoints at intervals, and handles checkpoints that cannot be written."""

import time
from collections.abc import Callable

import tensorflow as tf
from absl import logging

from deeplab.core import error_text
from deeplab.training import guards
from deeplab.training.state import TrainState
from deeplab.utils import checkpoint_files


class CheckpointSaver:
    """Saves checkpoints of a run at intervals.

    If a checkpoint cannot be written, an error is logged and training continues.

    Args:
        state: The state of the run.
        logdir: Folder of the checkpoints; None: nothing is saved, because another host does it.
        interval_secs: Seconds between two checkpoints.
        describe_batch: Returns a description of the newest batch, for messages.

    Attributes:
        newest: Prefix of the newest checkpoint; None before the first one, and after one that could
            not be written.
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
        self._failures = 0
        self._postpone()

    def is_due(self) -> bool:
        """Return whether the interval is over."""
        return time.monotonic() >= self._due

    def save(self, *, needed: bool = False) -> None:
        """Save the current step, unless it is saved already.

        Args:
            needed: Raise an error if the checkpoint cannot be written, instead of logging it.

        Raises:
            OSError: The checkpoint is needed but cannot be written.
            FloatingPointError: A variable is not finite.
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
                f" checkpoint is still {checkpoint_files.latest(self._logdir) or 'none'}"
            )
            if needed:
                raise OSError(
                    f"{message}; fix this and run the same command again to resume from there"
                ) from None
            self._failures += 1
            if self._failures > 1:
                message += (
                    f"; {self._failures} saves in a row have failed: all training since then is"
                    " lost if the run ends before a save succeeds"
                )
            logging.error("%s; training continues until the next save", message)
            return None
        self._failures = 0
        logging.info("saved %s", path)
        return path
