"""Evaluation during training: the curve of the mean IoU, and the best checkpoint so far."""

import os
from collections.abc import Callable

import tensorflow as tf
from absl import logging

from deeplab.core.options import fields
from deeplab.evaluation.evaluator import NEWEST_RESULT, Evaluator
from deeplab.evaluation.worst_images import WorstImages
from deeplab.training import guards
from deeplab.training.state import TrainState
from deeplab.utils import checkpoint_files, checkpoint_integrity, files, reports

# Subfolders of the folder of the run.
LOGS = "eval"
BEST = "best"


class TrainingEvaluation:
    """Evaluates a network at regular steps of its training, and at the last step.

    Results are written to the folder `eval`, as by `eval.py`. The checkpoint with the highest mean
    IoU so far is kept in the folder `best`, with its result in `eval.json`. A resumed run reads
    that result, to compare with it.

    Args:
        evaluator: Evaluates the network that is trained.
        every: Number of steps between two evaluations.
        make_worst: Returns a collector of the worst images of an evaluation for TensorBoard. None:
            show none.

    Example:
        evaluation = TrainingEvaluation(Evaluator(predictor, records), every=1000)
        trainer.train(batches, evaluation)
    """

    def __init__(
        self,
        evaluator: Evaluator,
        every: int,
        make_worst: Callable[[], WorstImages] | None = None,
    ):
        self._evaluator = evaluator
        self._every = every
        self._make_worst = make_worst

    @staticmethod
    def check_best(logdir: str) -> None:
        """Reject a damaged result of the best checkpoint, before the first step of a resumed run.

        Args:
            logdir: Folder of the run.

        Raises:
            OSError: The result is damaged; the message names the file.
        """
        _best_miou(os.path.join(logdir, BEST))

    def is_due(self, step: int, last: int) -> bool:
        """Return whether an evaluation is due after a step.

        Args:
            step: Number of the step.
            last: Number of the last step.
        """
        return step % self._every == 0 or step == last

    def is_missing(self, step: int, last: int, logdir: str) -> bool:
        """Return whether an evaluation was due after a step, but did not finish.

        Args:
            step: Number of the step.
            last: Number of the last step.
            logdir: Folder of the run.
        """
        result = os.path.join(logdir, LOGS, f"eval-{step}.json")
        return self.is_due(step, last) and not tf.io.gfile.exists(result)

    def run(
        self, state: TrainState, logdir: str, path: str, should_stop: Callable[[], bool]
    ) -> None:
        """Evaluate, report the result, and keep the checkpoint if it is the best so far.

        Args:
            state: The state of the run.
            logdir: Folder of the run.
            path: The checkpoint with the same values, for the report.
            should_stop: Called before each batch. If it returns true, evaluation ends without a
                result.

        Raises:
            ValueError: A record cannot be read, or a label is not a class; the message names it.
        """
        worst = self._make_worst() if self._make_worst else None
        result = self._evaluator.evaluate(should_stop, [worst.add] if worst else ())
        if result is None:
            return
        step = state.step
        best = os.path.join(logdir, BEST)
        with guards.logged_errors(f"the evaluation of step {step} could not be written"):
            before = _best_miou(best)
            if before is None or result.mean_iou > before:
                checkpoint_integrity.remove_leftovers(best)
                # The result comes last: after a kill in between, the evaluation is repeated.
                state.save(best, max_to_keep=1)
                facts = self._evaluator.facts(result, path, step)
                reports.write_json(os.path.join(best, NEWEST_RESULT), facts)
                logging.info("step %d is the best so far; its checkpoint is kept in %s", step, best)
            pictures = worst.pictures() if worst else ()
            self._evaluator.report(result, path, step, os.path.join(logdir, LOGS), pictures)


def _best_miou(folder: str) -> float | None:
    """Return the mean IoU of the best checkpoint so far; None if there is none, or no number."""
    path = os.path.join(folder, NEWEST_RESULT)
    if checkpoint_files.latest(folder) is None or not tf.io.gfile.exists(path):
        return None
    try:
        miou = files.read_json(path)["miou"]
        # Without a pixel that counts there is no mean, which is null in the file.
        return None if miou is None else fields.convert(fields.Share, miou)
    except (ValueError, TypeError, KeyError, IndexError):
        raise OSError(
            f"{path} is damaged, so the best mean IoU is unknown; remove it to keep the next best"
            " checkpoint"
        ) from None
