"""The options of the networks in checkpoints, and damaged checkpoints among others."""

import functools
import logging

import pytest
import tensorflow as tf

from deeplab import common
from deeplab import eval as eval_script
from deeplab.cli import network_flags
from deeplab.core.options import EvaluationOptions
from deeplab.datasets import descriptors
from deeplab.evaluation import checkpoint_waiter, checkpoints
from deeplab.testing import tiny
from deeplab.utils import checkpoint


def _options(path, *arguments, descriptor=tiny.DATASET):
    required = (f"--checkpoint_dir={path}", "--eval_logdir=logs", f"--dataset={descriptor.name}")
    values = tiny.parse(eval_script, (*required, *arguments))
    options = network_flags.evaluation_options(values, "eval", "max_number_of_evaluations")
    asked = functools.partial(common.ModelOptions.from_flags, values)
    return checkpoints.trained_options(path, options, descriptor, asked)


@pytest.fixture(scope="module")
def net():
    return tiny.shared_network()


@pytest.fixture(scope="module")
def path(net, tmp_path_factory):
    return tiny.save(net, tmp_path_factory.mktemp("train"), 7)


def test_flags_left_out_take_the_trained_values(path):
    assert _options(path) == tiny.OPTIONS.replace(crop_size=(513, 513))


def test_flags_that_fit_the_trained_network_count(path):
    options = _options(path, "--output_stride=16", "--eval_crop_size=65,97", "--image_pyramid=2")
    expected = {"output_stride": 16, "crop_size": (65, 97), "image_pyramid": (2.0,)}
    assert options == tiny.OPTIONS.replace(**expected)


def test_a_flag_that_contradicts_the_trained_network_is_an_error(path):
    with pytest.raises(ValueError, match=r"--depth_multiplier is 1\.0, .* trained with 0\.1"):
        _options(path, "--depth_multiplier=1")


def test_a_dataset_with_other_classes_is_an_error_that_names_the_flag(path):
    pascal = descriptors.load("pascal_voc_seg")
    with pytest.raises(
        ValueError, match="trained for 4 classes, but --dataset=pascal_voc_seg has 21: name the"
    ):
        _options(path, descriptor=pascal)


def test_without_stored_options_the_flags_define_the_network(net, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    official = tiny.save(net, tmp_path, 7, with_options=False)
    options = _options(official, *tiny.NETWORK_FLAGS, "--eval_crop_size=33,33")
    assert options == tiny.OPTIONS
    assert any("no model_options.json beside" in message for message in caplog.messages)


class _Predictor:
    """Reads the step of a checkpoint in place of a network's values."""

    def restore(self, path: str, *, averages: bool) -> int:
        del averages
        reader = checkpoint.read(path)
        checkpoint.assign({"value": tf.Variable([0.0] * 99)}, reader, path)
        return checkpoint.global_step(reader, path)


@pytest.fixture
def three(tmp_path, monkeypatch):
    """Prefixes of three checkpoints, which come one after another; the second one is damaged."""
    prefixes = [
        checkpoint.save(str(tmp_path), step, {"value": tf.Variable([1.0] * 99)})
        for step in range(3)
    ]
    data = tmp_path / "model.ckpt-1.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-9])
    monkeypatch.setattr(checkpoint_waiter, "new_checkpoints", lambda *_: iter(prefixes))
    return prefixes


def _evaluation(path, max_number=0) -> EvaluationOptions:
    return EvaluationOptions(
        checkpoint_dir=str(path),
        logdir="logs",
        dataset="tiny",
        dataset_dir=None,
        split="val",
        max_number=max_number,
    )


def test_a_damaged_checkpoint_is_skipped_while_another_one_is_awaited(three, tmp_path, caplog):
    for max_number in (0, 3):
        found = list(checkpoints.restore_each(_Predictor(), _evaluation(tmp_path, max_number)))
        assert found == [(three[0], 0), (three[2], 2)]
    assert f"skipping a damaged checkpoint: {three[1]} " in caplog.text


def test_a_damaged_checkpoint_is_an_error_if_none_is_awaited(three, tmp_path):
    for options in (_evaluation(tmp_path, 2), _evaluation(three[1])):
        with pytest.raises(ValueError, match=f"^{three[1]} (is damaged|cannot be read): "):
            list(checkpoints.restore_each(_Predictor(), options))


def test_a_checkpoint_of_another_network_is_an_error(three, tmp_path):
    checkpoint.save(str(tmp_path), 1, {"other": tf.Variable(1.0)})
    with pytest.raises(ValueError, match="is a checkpoint of another network"):
        list(checkpoints.restore_each(_Predictor(), _evaluation(tmp_path)))
