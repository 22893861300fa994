"""Predicts large images in windows in an exported graph, as evaluation does."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from deeplab import model
from deeplab.core import windows
from deeplab.core.options import InferenceOptions
from deeplab.export import traced_network


def predict(
    net: model.DeepLab | traced_network.TracedNetwork,
    padded: tf.Tensor,
    size: tf.Tensor,
    inference: InferenceOptions,
    finish: Callable[[tf.Tensor, tf.Tensor], Sequence[tf.Tensor]],
) -> tuple[tf.Tensor, ...]:
    """Predict images of any size, and return the result of a function of their predictions.

    Args:
        net: The network.
        padded: float32 [B, H, W, 3], padded to the crop size at least.
        size: int32 [2], height and width without the padding.
        inference: How the network is applied; it has a window.
        finish: The function. It takes labels, int32 [...], and probabilities, float32
            [..., classes], of the images or of a part of them, and returns tensors that start with
            the same axes.

    Returns:
        These tensors, [B, h, w, ...], without padding if images are larger than the window.
    """
    seen, sides = windows.layout(size, tf.shape(padded)[1:3], inference.window)
    images = padded[:, : seen[0], : seen[1]]

    def predict_labels(crops: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return model.predict_labels(net, crops, inference.eval_scales, inference.add_flipped_images)

    def in_windows() -> tuple[tf.Tensor, ...]:
        return windows.average(
            lambda crops: predict_labels(crops)[1],
            images,
            sides,
            inference.window,
            net.options.num_classes,
            lambda mean: finish(tf.argmax(mean, axis=-1, output_type=tf.int32), mean),
        )

    return tf.cond(
        tf.reduce_all(seen == sides), lambda: tuple(finish(*predict_labels(images))), in_windows
    )
