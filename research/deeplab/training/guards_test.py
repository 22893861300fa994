"""Warnings and errors of training."""

import numpy as np
import pytest

from deeplab.core.options import TrainOptions
from deeplab.training import guards


def test_a_loss_whose_gradients_float16_cannot_hold_stops_the_run(tmp_path):
    facts = {"step": 8, "rate": 0.1, "image_names": ["now"], "logdir": str(tmp_path)}
    values = {"total_loss": np.float32(2.0), "loss_scale": np.float32(1.0)}
    guards.check_finite(values, previous_names=["before"], **facts)
    values["loss_scale"] = np.float32(0.5)
    with pytest.raises(
        FloatingPointError,
        match=r"gradients of step 7 \(images before\) overflow .*--precision=mixed_bfloat16",
    ):
        guards.check_finite(values, previous_names=["before"], **facts)


def test_a_loss_that_is_not_finite_names_who_may_be_at_fault(tmp_path):
    facts = {"step": 8, "rate": 0.1, "image_names": ["now"], "logdir": str(tmp_path)}
    loss, weights = {"total_loss": np.nan}, {"total_regularization_loss": np.inf}
    for values, previous, message in (
        (loss, [], "at step 8: .*, learning rate 0.1, images now; the newest checkpoint is none"),
        (loss, ["before"], "images now; or the step before broke the weights, images before;"),
        (loss | weights, ["before"], "the weights are not finite since step 7, images before;"),
    ):
        with pytest.raises(FloatingPointError, match=message):
            guards.check_finite(values, previous_names=previous, **facts)


def test_few_images_for_batch_norm_are_a_warning(caplog):
    guards.warn_of_few_images(12)
    assert not caplog.text
    guards.warn_of_few_images(11)
    assert "batch norm is trained with 11 images at a time" in caplog.text
    assert "--fine_tune_batch_norm=false" in caplog.text


@pytest.mark.parametrize(
    ("crop_size", "stride", "better"),
    [
        ((513, 513), 16, None),
        ((33, 65), 32, None),
        ((512, 512), 16, "513,513"),
        ((514, 769), 8, "521,769"),
        ((480, 640), 16, "481,641"),
    ],
)
def test_a_crop_that_does_not_fit_the_stride_is_a_warning(caplog, crop_size, stride, better):
    guards.warn_of_crop_size(crop_size, stride)
    assert (f"better is --train_crop_size={better}" in caplog.text) == (better is not None)
    assert bool(caplog.text) == (better is not None)


def test_flags_that_adamw_does_not_know_are_a_warning(caplog):
    for options in ({"weight_decay": 0.05}, {"optimizer": "adamw"}):
        guards.warn_of_adamw(TrainOptions(**options))
    assert not caplog.text
    guards.warn_of_adamw(TrainOptions(optimizer="adamw", weight_decay=0.05, adam_learning_rate=1))
    for message in (
        "--weight_decay=0.05 has no effect with --optimizer=adamw: --adamw_weight_decay is 0.01",
        "--adam_learning_rate=1 has no effect with --optimizer=adamw: --base_learning_rate is 0.0",
    ):
        assert message in caplog.text


def test_one_class_for_everything_is_a_warning(caplog):
    labels = np.array([0, 255, 3, 3]).reshape(1, 2, 2, 1)
    single, several = np.full((1, 2, 2), 3), np.array([[[3, 3], [3, 0]]])
    guards.warn_of_one_class(several, labels, ignore_label=255, step=7)
    # A batch that shows nothing else.
    guards.warn_of_one_class(single, np.where(labels == 0, 255, labels), ignore_label=255, step=7)
    assert not caplog.text
    guards.warn_of_one_class(single, labels, ignore_label=255, step=7)
    assert "step 7: every pixel is predicted as class 3: the labels of this batch" in caplog.text
    assert "have 2 classes" in caplog.text


def test_what_cannot_be_written_stops_nothing(caplog):
    with guards.logged_errors("the curves could not be written"):
        raise OSError("No space left on device")
    assert "could not be written: No space left on device; training continues" in caplog.text
    with pytest.raises(ValueError, match="another"), guards.logged_errors("curves"):
        raise ValueError("another error")
