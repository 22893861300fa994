"""What keeps a training run from going on with nonsense, or from ending for no good reason."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from deeplab.core import layers
from deeplab.core.options import TrainOptions
from deeplab.training import distribution
from deeplab.training.step import TrainStep
from deeplab.utils import checkpoint, error_text

# What helps most often against numbers that are not finite.
REMEDY = "a smaller --base_learning_rate or a --slow_start_step may help"
# Batch statistics of fewer images are too noisy (the official flag's own advice).
_FEWEST_IMAGES = 12


class StepGuard:
    """Stops a run at the first step whose numbers are not finite, and names its images.

    Example:
        guard = StepGuard(train_step, "train_log")
        with guard.of_batch(batch, step, rate):
            losses = train_step(batch["image"], batch["label"])
            guard.check_finite(losses)

    Args:
        train_step: makes the steps.
        logdir: folder of the checkpoints.
    """

    def __init__(self, train_step: TrainStep, logdir: str):
        self._train_step = train_step
        self._logdir = logdir
        self._step, self._rate = 0, 0.0
        self._names: list[str] = []
        self._previous_names: list[str] = []

    @contextlib.contextmanager
    def of_batch(self, batch: Mapping[str, tf.Tensor], step: int, rate: float) -> Iterator[None]:
        """Inside, errors of a step say whether the batch has a label that is no class.

        Args:
            batch: the batch of the step.
            step: number of the step.
            rate: its learning rate.

        Raises:
            ValueError: a label is neither a class nor the ignore label.
        """
        self._step, self._rate = step, rate
        self._previous_names = self._names
        self._names = [
            name.decode(errors="replace") for name in self._local(batch["image_name"]).numpy()
        ]
        try:
            yield
        except (tf.errors.InvalidArgumentError, FloatingPointError):
            # Some devices refuse a label that is no class, others make a NaN of it.
            check_labels(
                self._local(batch["label"]).numpy(),
                self._names,
                num_classes=self._train_step.state.net.options.num_classes,
                ignore_label=self._train_step.ignore_label,
            )
            raise

    def check_finite(self, values: Mapping[str, tf.Tensor]) -> None:
        """Raise `FloatingPointError` if a loss of the batch is not finite; see the function.

        Args:
            values: what the step returned.
        """
        check_finite(
            values,
            step=self._step,
            rate=self._rate,
            image_names=self._names,
            previous_names=self._previous_names,
            logdir=self._logdir,
        )

    def describe_batch(self) -> str:
        """Return the learning rate and the images of the newest batch, for messages."""
        return f"learning rate {self._rate:g}, images {', '.join(self._names)}"

    def _local(self, values: tf.Tensor) -> tf.Tensor:
        return distribution.local(self._train_step.strategy, values)


def check_finite(
    values: Mapping[str, tf.Tensor],
    *,
    step: int,
    rate: float,
    image_names: Sequence[str],
    previous_names: Sequence[str],
    logdir: str,
) -> None:
    """Stops a run at the first loss that is not finite, or whose gradients float16 cannot hold.

    Args:
        values: what `TrainStep` returns for the step.
        step: its number.
        rate: its learning rate.
        image_names: the images of its batch.
        previous_names: those of the step before.
        logdir: folder of the checkpoints.

    Raises:
        FloatingPointError: a loss is not finite, or updates are left out for good.
    """
    if math.isfinite(float(values["total_loss"])):
        if float(values.get("loss_scale", 1.0)) < 1:
            images = f" (images {', '.join(previous_names)})" if previous_names else ""
            raise FloatingPointError(
                f"the gradients of step {step - 1}{images} overflow float16 although its loss was"
                " not scaled up; its update was left out, as were those before it"
                " (--precision=mixed_bfloat16 or float32 can hold the gradients)"
            )
        return
    bad = {name: float(value) for name, value in values.items() if not math.isfinite(value)}
    names, before = ", ".join(image_names), ", ".join(previous_names)
    cause = f"images {names}"
    if before:
        cause += f"; or the step before has spoilt the weights, images {before}"
    # The weight decay does not depend on the images.
    if before and "total_regularization_loss" in bad:
        cause = f"the weights were not finite since step {step - 1}, images {before}"
    raise FloatingPointError(
        f"the loss is not finite at step {step}: {bad}, learning rate {rate:g}, {cause};"
        f" the newest checkpoint is {checkpoint.latest(logdir) or 'none'} ({REMEDY})"
    )


def check_labels(
    labels: np.ndarray, image_names: Sequence[str], *, num_classes: int, ignore_label: int
) -> None:
    """Finds a label that is no class, which a device may report as it likes.

    Args:
        labels: integers [B, H, W, 1].
        image_names: of the images, B.
        num_classes: number of classes.
        ignore_label: label of the pixels that do not count.

    Raises:
        ValueError: a label is neither a class nor the ignore label.
    """
    for name, label in zip(image_names, labels, strict=True):
        outside = (label != ignore_label) & ((label < 0) | (label >= num_classes))
        if np.any(outside):
            raise ValueError(
                f"image {name} has label {label[outside][0]}, which is none of the {num_classes}"
                f" classes and not the ignore label {ignore_label}: is --dataset right?"
                " (deeplab.datasets.check_data finds all such images)"
            )


def warn_of_options(train_step: TrainStep, options: TrainOptions) -> None:
    """Warn of options that make for bad results.

    Args:
        train_step: makes the steps.
        options: how to train.
    """
    net = train_step.state.net
    batch_norms = [layer for layer in layers.sublayers(net) if isinstance(layer, layers.BatchNorm)]
    if batch_norms and options.fine_tune_batch_norm:
        warn_of_few_images(train_step.parts.statistics_images)
    elif batch_norms and not any(np.any(layer.moving_mean.numpy()) for layer in batch_norms):
        warn_of_no_statistics()
    if net.options.crop_size:
        warn_of_crop_size(net.options.crop_size, net.options.output_stride)


def warn_of_few_images(images: int) -> None:
    """Warns where batch norm is trained on the statistics of too few images.

    Args:
        images: those whose statistics are taken together.
    """
    if images < _FEWEST_IMAGES:
        logging.warning(
            "batch norm is trained with %d images at a time, which are too few for good"
            " statistics: take at least %d (--train_batch_size), or --fine_tune_batch_norm=false",
            *(images, _FEWEST_IMAGES),
        )


def warn_of_no_statistics() -> None:
    """Warns where batch norm neither learns statistics nor has got any."""
    logging.warning(
        "batch norm is frozen (--fine_tune_batch_norm=false), but there are no statistics yet: give"
        " a --tf_initial_checkpoint that has them, or leave that flag out"
    )


def warn_of_crop_size(crop_size: tuple[int, int], output_stride: int) -> None:
    """Warns of a crop whose corners are not those of its features.

    Args:
        crop_size: height and width.
        output_stride: the network's.
    """
    better = [math.ceil((side - 1) / output_stride) * output_stride + 1 for side in crop_size]
    if tuple(crop_size) != tuple(better):
        logging.warning(
            "--train_crop_size=%d,%d is not a multiple of the output stride plus one, so that the"
            " corners of image and features lie apart: better is --train_crop_size=%d,%d",
            *(*crop_size, *better),
        )


def warn_of_one_class(
    predictions: np.ndarray, labels: np.ndarray, *, ignore_label: int, step: int
) -> None:
    """Warns where a network predicts a single class for images that show several.

    Args:
        predictions: integers [B, H, W].
        labels: integers [B, H, W, 1].
        ignore_label: label of the pixels that do not count.
        step: of training.
    """
    classes = np.unique(labels[labels != ignore_label])
    only = predictions.flat[0]
    if len(classes) > 1 and np.all(predictions == only):
        logging.warning(
            "step %d: evaluation would predict class %d for every pixel of this batch, whose labels"
            " have %d classes; if that lasts, see 'My predictions are all black' in g3doc/faq.md",
            *(step, only, len(classes)),
        )


@contextlib.contextmanager
def going_on(complaint: str) -> Iterator[None]:
    """Within it, a file that cannot be written is an error in the log and no more.

    Args:
        complaint: what to say, such as "the curves could not be written".
    """
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        logging.error("%s: %s; training goes on", complaint, error_text.one_line(error))
