"""Mean intersection over union as a Keras metric for `Model.fit`."""

from typing import Any

import keras
import tensorflow as tf

from deeplab.core import utils


@keras.saving.register_keras_serializable(package="deeplab")
class MeanIoU(keras.metrics.MeanIoU):
    """Mean IoU of logits over all batches (official `eval.py`).

    A class that is predicted but in no label counts as 0. A class that is neither predicted nor in
    a label does not count. A label that is neither a class nor the ignore label is skipped; report
    results from `segmentation.SegmentationMetrics`, which rejects it.

    Args:
        num_classes: Number of classes.
        ignore_label: Label of the ignored pixels; None: there are none.
        name: Name of the metric in logs.

    Example:
        model.compile(optimizer, loss, metrics=[MeanIoU(num_classes=21)])
    """

    def __init__(
        self,
        num_classes: int,
        ignore_label: int | None = 255,
        name: str = "mean_iou",
    ):
        # In float32 a count stops growing at 2**24 pixels.
        super().__init__(
            num_classes,
            name=name,
            dtype="float64",
            ignore_class=ignore_label,
            sparse_y_pred=False,
        )
        self.ignore_label = ignore_label

    def update_state(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> None:
        """Add a batch.

        Args:
            y_true: Labels, integers [B, H, W] or [B, H, W, 1].
            y_pred: Logits [B, h, w, classes]. They are upsampled to [H, W] as in prediction.
            sample_weight: Weight of each pixel, with the shape of `y_true`.
        """
        y_pred = tf.convert_to_tensor(y_pred)
        y_true = tf.convert_to_tensor(y_true)
        if y_true.shape.rank == 4:
            y_true = tf.squeeze(y_true, axis=-1)
        y_pred = utils.resize_bilinear(y_pred, tf.shape(y_true)[1:3])
        super().update_state(y_true, y_pred, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            "num_classes": self.num_classes,
            "ignore_label": self.ignore_label,
            "name": self.name,
        }
