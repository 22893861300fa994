"""Summaries of training. Their names are tested with the trainer."""

import resource

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab.training import summaries as train_summaries
from deeplab.training.summaries import TrainSummaries


def _values(folder) -> list:
    """Return all summaries in a folder, by their steps."""
    found = []
    for file in folder.glob("events.out.tfevents.*"):
        for record in tf.data.TFRecordDataset(str(file)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            found += [(event.step, value) for value in event.summary.value]
    return [value for _, value in sorted(found, key=lambda each: each[0])]


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


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).normal(size=(3, 3, 16, 8)).astype(np.float32),
        np.full((4, 2), 0.25, np.float32),
        np.array([1, np.nextafter(1, 2, dtype=np.float32)], np.float32),
        np.float32(7),
        np.zeros((0, 3), np.float32),
    ],
    ids=["many", "equal", "neighbors", "one", "none"],
)
def test_histograms_are_those_of_tensorboard(tmp_path, values):
    with tf.summary.create_file_writer(str(tmp_path)).as_default(step=0):
        tf.summary.histogram("kernel", values)
    variable = keras.Variable(values)
    TrainSummaries(str(tmp_path)).histograms({"kernel": variable}, step=1)
    theirs, ours = _values(tmp_path)
    assert ours.tag == theirs.tag
    assert ours.metadata == theirs.metadata
    expected, found = (tf.make_ndarray(each.tensor) for each in (theirs, ours))
    np.testing.assert_allclose(found[:, :2], expected[:, :2], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(found[:, 2], expected[:, 2])


def test_a_histogram_leaves_out_what_is_not_finite():
    values = np.array([0.0, 1.0, np.nan, np.inf, -np.inf], np.float32)
    found = train_summaries.histogram(values)
    np.testing.assert_array_equal(found, train_summaries.histogram(values[:2]))
    assert found[:, 2].sum() == 2
