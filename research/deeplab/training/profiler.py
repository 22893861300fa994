"""Profiles a few training steps for TensorBoard."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf
from absl import logging

from deeplab.training import guards

# The first steps are skipped, in which graphs are traced and buffers are filled.
_WARM_UP = 10
_STEPS = 5


class StepProfiler:
    """Profiles a few steps of a run, once, after its first ones.

    Args:
        logdir: Folder for the profile, to be opened with TensorBoard; None: no profile.
        first: Number of steps that were made before this run.
        last: The last step. A run of few steps is profiled in its second half.

    Example:
        with StepProfiler("profile", first=0, last=600) as profiler:
            for step in range(1, 601):
                with profiler.step(step):
                    ...
    """

    def __init__(self, logdir: str | None, first: int, last: int):
        self._logdir = logdir
        self._begin = first + 1 + min(_WARM_UP, (last - first) // 2)
        self._end = min(self._begin + _STEPS - 1, last)
        self._running = False

    def __enter__(self) -> "StepProfiler":
        """Return the profiler; the profile starts with its first step."""
        return self

    def __exit__(self, *_: object) -> None:
        """Write a profile that has started but not ended."""
        self._stop()

    @contextlib.contextmanager
    def step(self, step: int) -> Iterator[None]:
        """Profile the training step inside, if its number is in the range."""
        if self._logdir is None or not self._begin <= step <= self._end:
            yield
            return
        if step == self._begin:
            tf.profiler.experimental.start(self._logdir)
            self._running = True
        with tf.profiler.experimental.Trace("train", step_num=step, _r=1):
            yield
        if step == self._end:
            self._stop()

    def _stop(self) -> None:
        if not self._running:
            return
        self._running = False
        with guards.logged_errors("the profile could not be written"):
            tf.profiler.experimental.stop()
            logging.info(
                "wrote a profile of steps %d to %d into %s", self._begin, self._end, self._logdir
            )
