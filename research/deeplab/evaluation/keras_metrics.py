"""The mean intersection over union as a Keras metric, for `Model.fit`."""

from typing import Any

import keras
import tensorflow as tf

from deeplab.core import utils


@keras.saving.register_keras_serializable(package="deeplab")
class MeanIoU(keras.metrics.MeanIoU):
    """Mean IoU of logits over every batch so far, as in the official `eval.py`.

    A class that is predicted but in no label counts as 0, one that is neither does not count. A
    label that is neither a class nor the ignore label is left out; `segmentation.
    SegmentationMetrics` refuses it, and should be what results are reported from.

    Example:
        model.compile(optimizer, loss, metrics=[MeanIoU(num_classes=21)])
    """

    def __init__(
        self,
        num_classes: int,
        ignore_label: int | None = 255,
        name: str = "mean_iou",
    ):
        """Starts from nothing.

        Args:
            num_classes: number of classes.
            ignore_label: label of the pixels that do not count; None: every pixel counts.
            name: of the metric in logs.
        """
        # Counts in float32 would stop growing at 2**24 single pixels.
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
        """Adds a batch.

        Args:
            y_true: labels, integers [B, H, W] or [B, H, W, 1].
            y_pred: logits [B, h, w, classes]; upsampled to H x W as in the official prediction.
            sample_weight: weight of each pixel, of the shape of `y_true`.
        """
        y_pred = tf.convert_to_tensor(y_pred)
        y_true = tf.convert_to_tensor(y_true)
        if y_true.shape.rank == 4:
            y_true = tf.squeeze(y_true, axis=-1)
        y_pred = utils.resize_bilinear(y_pred, tf.shape(y_true)[1:3])
        super().update_state(y_true, y_pred, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "num_classes": self.num_classes,
            "ignore_label": self.ignore_label,
            "name": self.name,
        }
