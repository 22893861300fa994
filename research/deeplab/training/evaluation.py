"""Evaluation inside training: the curve of the mean IoU, and the best checkpoint so far."""

import json
import os
from collections.abc import Callable

import tensorflow as tf
from absl import logging

from deeplab.evaluation.evaluator import NEWEST_RESULT, Evaluator
from deeplab.training import guards
from deeplab.training.state import TrainState
from deeplab.utils import checkpoint, checkpoint_integrity, reports

# Folders within that of the run.
LOGS = "eval"
BEST = "best"


class TrainingEvaluation:
    """Evaluates a network every so many steps of its training, and at the last.

    Results go to the folder `eval`, as those of `eval.py` do. The checkpoint of the highest mean
    IoU so far is kept in the folder `best`, with its result in `eval.json`, by which a run that
    was stopped knows what it has to surpass.

    Example:
        evaluation = TrainingEvaluation(Evaluator(predictor, records), every=1000)
        trainer.train(batches, evaluation)
    """

    def __init__(self, evaluator: Evaluator, every: int):
        """Puts the parts together.

        Args:
            evaluator: evaluates the network that is trained.
            every: number of steps between two evaluations.
        """
        self._evaluator = evaluator
        self._every = every

    def is_due(self, step: int, last: int) -> bool:
        """Whether the network is to be evaluated after a step.

        Args:
            step: number of the step.
            last: that of the last one.
        """
        return step % self._every == 0 or step == last

    def is_missing(self, step: int, last: int, logdir: str) -> bool:
        """Whether the evaluation after a step was due, but not ended.

        Args:
            step: number of the step.
            last: that of the last one.
            logdir: folder of the run.
        """
        result = os.path.join(logdir, LOGS, f"eval-{step}.json")
        return self.is_due(step, last) and not tf.io.gfile.exists(result)

    def run(
        self, state: TrainState, logdir: str, path: str, should_stop: Callable[[], bool]
    ) -> None:
        """Evaluates, reports, and keeps the network if it is the best so far.

        Args:
            state: the state of the run.
            logdir: folder of the run.
            path: the checkpoint with the same values.
            should_stop: asked before each batch; if it says so, nothing is reported.

        Raises:
            ValueError: a record cannot be read, or a label is no class; the message names it.
        """
        result = self._evaluator.evaluate(should_stop)
        if result is None:
            return
        step = state.step
        best = os.path.join(logdir, BEST)
        with guards.going_on(f"the evaluation of step {step} could not be written"):
            before = _best_miou(best)
            if before is None or result.mean_iou > before:
                checkpoint_integrity.remove_leftovers(best)
                # The result last: a kill in between makes it the best once more.
                state.save(best, max_to_keep=1)
                facts = self._evaluator.facts(result, path, step)
                reports.write_json(os.path.join(best, NEWEST_RESULT), facts)
                logging.info("step %d is the best so far: it is kept in %s", step, best)
            self._evaluator.report(result, path, step, os.path.join(logdir, LOGS))


def _best_miou(folder: str) -> float | None:
    """The mean IoU of the best checkpoint so far; None: there is none."""
    path = os.path.join(folder, NEWEST_RESULT)
    if checkpoint.latest(folder) is None or not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path) as stream:
        return json.load(stream)["miou"]
