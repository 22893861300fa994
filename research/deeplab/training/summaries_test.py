"""Summaries of training. Their names are tested with the trainer."""

import resource

import numpy as np
import tensorflow as tf

from deeplab.training.summaries import TrainSummaries


def _curve(folder, tag: str = "total_loss") -> dict[int, float]:
    """Return what was written at which step."""
    curve = {}
    for file in folder.glob("events.out.tfevents.*"):
        for record in tf.data.TFRecordDataset(str(file)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                if value.tag == tag:
                    curve[event.step] = float(tf.make_ndarray(value.tensor))
    return curve


def test_curves_can_be_read_at_once(tmp_path):
    """They are flushed, so a kill loses none."""
    summaries = TrainSummaries(str(tmp_path))
    values = {"total_loss": 0.5, "total_regularization_loss": 0.25, "loss_scale": 1024.0}
    summaries.losses({name: tf.constant(value) for name, value in values.items()}, 0.1, step=3)
    assert _curve(tmp_path) == {3: 0.5}
    assert _curve(tmp_path, "losses/total_regularization_loss") == {3: 0.25}
    assert _curve(tmp_path, "loss_scale") == {3: 1024.0}
    assert _curve(tmp_path, "learning_rate") == {3: np.float32(0.1)}


def test_a_full_disk_is_said_and_stops_nothing(tmp_path, caplog):
    summaries = TrainSummaries(str(tmp_path))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        summaries.losses({"total_loss": tf.constant(0.5)}, 0.1, step=3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "summaries for TensorBoard could not be written: " in caplog.text
    assert "training continues" in caplog.text
