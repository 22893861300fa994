import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab.core import utils
from deeplab.evaluation import keras_metrics, segmentation
from deeplab.testing import golden


def _batch(seed=0, labels=(2, 17, 33), logits=(2, 17, 33), classes=4):
    random = np.random.default_rng(seed)
    label = random.integers(0, classes, labels)
    label[random.random(labels) < 0.2] = 255
    return label, random.standard_normal((*logits, classes)).astype(np.float32)


def _expected(*batches):
    metrics = segmentation.SegmentationMetrics(4, 255)
    for label, logits in batches:
        metrics.update(label, logits.argmax(axis=-1))
    return metrics.result().mean_iou


def test_official_numbers():
    facts, arrays = golden.misc("metrics")
    metric = keras_metrics.MeanIoU(6)
    for labels, predictions, expected in zip(
        arrays["labels"], arrays["preds"], facts["after_batch"], strict=True
    ):
        metric.update_state(
            labels.reshape(1, 20, 20),
            np.eye(6, dtype=np.float32)[predictions].reshape(1, 20, 20, 6),
        )
        assert float(metric.result()) == pytest.approx(expected["miou"], rel=1e-6)


@pytest.mark.parametrize("channel", [False, True])
def test_equals_the_numpy_metric_over_batches(channel):
    metric = keras_metrics.MeanIoU(4)
    batches = [_batch(0), _batch(1)]
    for label, logits in batches:
        metric.update_state(label[..., np.newaxis] if channel else label, logits)
    assert float(metric.result()) == pytest.approx(_expected(*batches), rel=1e-6)
    metric.reset_state()
    metric.update_state(*batches[1])
    assert float(metric.result()) == pytest.approx(_expected(batches[1]), rel=1e-6)


def test_logits_are_upsampled_to_the_label():
    label, logits = _batch(labels=(2, 33, 49), logits=(2, 3, 4))
    metric = keras_metrics.MeanIoU(4)
    metric.update_state(label, logits)
    upsampled = utils.resize_bilinear(tf.constant(logits), (33, 49)).numpy()
    assert float(metric.result()) == pytest.approx(_expected((label, upsampled)), rel=1e-6)


def test_ignored_pixels_play_no_part():
    label, logits = _batch()
    metric, other = keras_metrics.MeanIoU(4), keras_metrics.MeanIoU(4)
    metric.update_state(label, logits)
    other.update_state(label, np.where((label == 255)[..., np.newaxis], -logits, logits))
    assert float(metric.result()) == float(other.result())


def test_counts_are_exact_beyond_float32():
    metric = keras_metrics.MeanIoU(2)
    metric.total_cm.assign([[2.0**30, 0], [0, 0]])
    metric.update_state(np.zeros((1, 1, 1), int), np.array([[[[1.0, 0.0]]]], np.float32))
    assert metric.total_cm.numpy()[0, 0] == 2**30 + 1


def test_in_fit():
    label, logits = _batch(labels=(6, 17, 17), logits=(6, 5, 5))
    model = keras.Sequential([keras.layers.Identity()])
    model.compile(
        loss=lambda true, logits: tf.reduce_mean(logits), metrics=[keras_metrics.MeanIoU(4)]
    )
    history = model.fit(logits, label[..., np.newaxis], batch_size=4, shuffle=False, verbose=0)
    upsampled = utils.resize_bilinear(tf.constant(logits), (17, 17)).numpy()
    assert history.history["mean_iou"][0] == pytest.approx(_expected((label, upsampled)), rel=1e-6)


def test_config_round_trip():
    metric = keras_metrics.MeanIoU(7, ignore_label=0, name="miou")
    copy = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert isinstance(copy, keras_metrics.MeanIoU)
    assert copy.get_config() == {"num_classes": 7, "ignore_label": 0, "name": "miou"}
    assert copy.ignore_class == 0
