"""What TensorBoard shows of a training run, under the official names.

Each function writes to the default summary writer.
"""

from collections.abc import Mapping

import keras
import tensorflow as tf

from deeplab import model


def write_scalars(values: Mapping[str, tf.Tensor], rate: float, step: int) -> None:
    """The curves.

    Args:
        values: the losses of a step, see `Trainer.train_step`.
        rate: its learning rate.
        step: its number.
    """
    tf.summary.scalar("learning_rate", rate, step=step)
    for name, value in values.items():
        tf.summary.scalar(name if name == "total_loss" else f"losses/{name}", value, step=step)


def write_histograms(variables: Mapping[str, keras.Variable], step: int) -> None:
    """How the values of each variable are distributed."""
    for name, variable in variables.items():
        tf.summary.histogram(name, tf.convert_to_tensor(variable), step=step)


def write_images(net: model.DeepLab, batch: Mapping[str, tf.Tensor], step: int) -> None:
    """The first images of a batch, their labels and what the network predicts.

    Args:
        net: the network.
        batch: `image` [B, H, W, 3], RGB 0..255, and `label` [B, H, W, 1].
        step: of training.
    """
    # Label values spread over the grey levels, as the official summaries show them.
    spread = max(1, 255 // net.options.num_classes)
    predictions, _ = model.predict_labels(net, batch["image"])
    for name, picture in (
        ("image", batch["image"]),
        ("label", batch["label"] * spread),
        ("semantic", predictions[..., tf.newaxis] * spread),
    ):
        picture = tf.saturate_cast(picture, tf.uint8)
        tf.summary.image(f"samples/{name}", picture, step=step, max_outputs=3)
