"""What stops a training run before it goes on with nonsense."""

import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf


def check_finite(
    values: Mapping[str, tf.Tensor],
    *,
    step: int,
    rate: float,
    image_names: np.ndarray,
    newest: str | None,
) -> None:
    """Stops a run at the first loss that is not finite.

    Args:
        values: the losses of a step, among them `total_loss`.
        step: its number.
        rate: its learning rate.
        image_names: bytes [B], the images of its batch.
        newest: the newest checkpoint.

    Raises:
        FloatingPointError: a loss is not finite.
    """
    if math.isfinite(float(values["total_loss"])):
        return
    bad = {name: float(value) for name, value in values.items() if not math.isfinite(value)}
    names = ", ".join(name.decode(errors="replace") for name in image_names)
    raise FloatingPointError(
        f"the loss is not finite at step {step}: {bad}, learning rate {rate:g}, images {names};"
        f" the newest checkpoint is {newest or 'none'} (a smaller --base_learning_rate or a"
        " --slow_start_step may help)"
    )


def check_labels(
    labels: np.ndarray, image_names: np.ndarray, *, num_classes: int, ignore_label: int
) -> None:
    """Finds a label that is no class, which a device may report as it likes.

    Args:
        labels: integers [B, H, W, 1].
        image_names: bytes [B].
        num_classes: number of classes.
        ignore_label: label of the pixels that do not count.

    Raises:
        ValueError: a label is neither a class nor the ignore label.
    """
    for name, label in zip(image_names, labels, strict=True):
        outside = (label != ignore_label) & ((label < 0) | (label >= num_classes))
        if np.any(outside):
            raise ValueError(
                f"image {name.decode(errors='replace')} has label {label[outside][0]}, which is"
                f" none of the {num_classes} classes and not the ignore label {ignore_label}: is"
                " --dataset right? (deeplab.datasets.check_data finds all such images)"
            )
