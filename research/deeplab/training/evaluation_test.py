"""Evaluation during training: when it is due and what is kept; train_test covers the results."""

import json
import os
import pathlib

import keras
import numpy as np
import pytest

from deeplab.evaluation.segmentation import SegmentationResult
from deeplab.training.evaluation import TrainingEvaluation
from deeplab.utils import checkpoint, checkpoint_files, reports


class _Evaluator:
    """Returns a result with a given number of right pixels out of 10; None: no pixels at all."""

    right: int | None = 0

    def evaluate(self, should_stop, observers):
        if should_stop():
            return None
        if self.right is None:
            return SegmentationResult(np.zeros((2, 2), int))
        return SegmentationResult(np.array([[self.right, 10 - self.right], [0, 0]]))

    def facts(self, result, path, step):
        return {"checkpoint": path, "step": step, "miou": result.mean_iou}

    def report(self, result, path, step, eval_logdir, worst):
        reports.write_json(
            os.path.join(eval_logdir, f"eval-{step}.json"), self.facts(result, path, step)
        )


class _State:
    """The state of a run with one variable, whose value is the step."""

    def __init__(self, logdir: pathlib.Path):
        self.logdir = str(logdir)
        self.step = 0
        self.full = False

    def save(self, folder, max_to_keep):
        if self.full:
            raise OSError("No space left on device")
        value = keras.Variable(float(self.step))
        return checkpoint.save(folder, self.step, {"value": value}, max_to_keep)


@pytest.fixture
def trained(tmp_path) -> _State:
    return _State(tmp_path)


def _go(trained, steps_to_right, stop=False):
    """Evaluate at some steps, each time as a new process would."""
    for step, right in steps_to_right.items():
        trained.step = step
        evaluator = _Evaluator()
        evaluator.right = right
        evaluation = TrainingEvaluation(evaluator, every=10)
        evaluation.run(trained, trained.logdir, f"model.ckpt-{step}", lambda: stop)


def _best(trained) -> int:
    """Return the step of the best checkpoint; it must be the step of its result."""
    folder = pathlib.Path(trained.logdir) / "best"
    facts = json.loads((folder / "eval.json").read_text())
    reader = checkpoint.read(str(folder))
    assert facts["step"] == checkpoint.global_step(reader) == reader.get_tensor("value")
    assert checkpoint_files.names(str(folder)) == [f"model.ckpt-{facts['step']}"]
    return facts["step"]


def test_the_best_checkpoint_is_kept_across_restarts(trained):
    for steps, best in (
        ({10: 5}, 10),
        ({20: 4}, 10),
        ({30: 7}, 30),
        ({40: 7}, 30),
        ({50: 6, 60: 8, 70: 0}, 60),
    ):
        _go(trained, steps)
        assert _best(trained) == best


def test_a_result_that_is_no_number_is_surpassed(trained):
    """Such as the result of a split without labeled pixels."""
    _go(trained, {10: None})
    assert _best(trained) == 10
    _go(trained, {20: 1, 30: None})
    assert _best(trained) == 20


def test_a_kill_between_best_checkpoint_and_result_is_made_up_for(trained):
    _go(trained, {10: 5, 20: 6})
    folder = pathlib.Path(trained.logdir)
    # The checkpoint is from step 20, but its result was not written.
    facts = json.loads((folder / "best/eval.json").read_text())
    reports.write_json(folder / "best/eval.json", {**facts, "step": 10, "miou": 0.25})
    (folder / "eval/eval-20.json").unlink()
    evaluation = TrainingEvaluation(_Evaluator(), every=10)
    assert evaluation.is_missing(20, 100, trained.logdir)
    _go(trained, {20: 6})
    assert _best(trained) == 20


def test_an_evaluation_is_due_every_so_many_steps_and_at_the_last(trained):
    evaluation = TrainingEvaluation(_Evaluator(), every=10)
    assert [step for step in range(1, 26) if evaluation.is_due(step, last=25)] == [10, 20, 25]
    _go(trained, {10: 5})
    assert not evaluation.is_missing(10, 25, trained.logdir)
    assert not evaluation.is_missing(15, 25, trained.logdir)
    assert evaluation.is_missing(20, 25, trained.logdir)


def test_an_evaluation_that_is_given_up_reports_nothing(trained):
    _go(trained, {10: 5}, stop=True)
    assert not os.listdir(trained.logdir)


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"miou": "0.5"}', '{"miou": 1e999}', '{"miou": 2}', '"miou"']
)
def test_a_damaged_result_of_the_best_is_found_before_the_first_step(trained, content):
    _go(trained, {10: 5})
    TrainingEvaluation.check_best(trained.logdir)
    path = pathlib.Path(trained.logdir) / "best/eval.json"
    path.write_text(content)
    with pytest.raises(OSError, match=f"^{path} is damaged, .*remove it") as error:
        TrainingEvaluation.check_best(trained.logdir)
    assert "\n" not in str(error.value)


def test_a_full_disk_keeps_the_best_so_far(trained, caplog):
    _go(trained, {10: 5})
    trained.full = True
    _go(trained, {20: 9})
    assert "the evaluation of step 20 could not be written: No space left" in caplog.text
    assert _best(trained) == 10
