"""Checks and warnings of training: numbers that are not finite, bad labels, poor options."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from deeplab.core import error_text, networks, normalization
from deeplab.core.options import TrainOptions
from deeplab.core.wording import counted
from deeplab.evaluation import report
from deeplab.training import distribution
from deeplab.training.step import TrainStep
from deeplab.utils import checkpoint_files

# Flags without an effect with AdamW, and those that do their work.
_NOT_OF_ADAMW = {"weight_decay": "adamw_weight_decay", "adam_learning_rate": "base_learning_rate"}
# The most common remedy for numbers that are not finite.
REMEDY = "a smaller --base_learning_rate or a --slow_start_step may help"
# Batch statistics of fewer images are too noisy, says the help of the official flag.
_FEWEST_IMAGES = 12


class StepGuard:
    """Stops a run at the first step whose numbers are not finite, and names its images.

    Args:
        train_step: Makes the steps.
        logdir: Folder of the checkpoints.

    Example:
        guard = StepGuard(train_step, "train_log")
        with guard.of_batch(batch, step, rate):
            losses = train_step(batch["image"], batch["label"])
            guard.check_finite(losses)
    """

    def __init__(self, train_step: TrainStep, logdir: str):
        self._train_step = train_step
        self._logdir = logdir
        self._step, self._rate = 0, 0.0
        self._names: list[str] = []
        self._previous_names: list[str] = []

    @contextlib.contextmanager
    def of_batch(self, batch: Mapping[str, tf.Tensor], step: int, rate: float) -> Iterator[None]:
        """Look for bad labels in the batch if the step inside fails.

        Args:
            batch: The batch of the step.
            step: Number of the step.
            rate: Its learning rate.

        Raises:
            ValueError: A label is neither a class nor the ignore label.
        """
        self._step, self._rate = step, rate
        self._previous_names = self._names
        self._names = [
            name.decode(errors="replace") for name in self._local(batch["image_name"]).numpy()
        ]
        try:
            yield
        except (tf.errors.InvalidArgumentError, FloatingPointError):
            # For a label that is not a class, some devices raise an error, others return NaN.
            check_labels(
                self._local(batch["label"]).numpy(),
                self._names,
                num_classes=self._train_step.state.net.options.num_classes,
                ignore_label=self._train_step.ignore_label,
            )
            raise

    def check_finite(self, values: Mapping[str, tf.Tensor]) -> None:
        """Reject losses of the batch that are not finite; see the function `check_finite`.

        Args:
            values: The result of the `TrainStep`.
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
    """Reject losses that are not finite, and losses whose gradients always overflow float16.

    Args:
        values: The result of a `TrainStep`.
        step: Number of the step.
        rate: Its learning rate.
        image_names: Names of the images of its batch.
        previous_names: Names of the images of the step before.
        logdir: Folder of the checkpoints.

    Raises:
        FloatingPointError: A loss is not finite, or the loss scale fell below 1.
    """
    if math.isfinite(float(values["total_loss"])):
        if float(values.get("loss_scale", 1.0)) < 1:
            images = f" (images {', '.join(previous_names)})" if previous_names else ""
            raise FloatingPointError(
                f"the gradients of step {step - 1}{images} overflow float16 although the loss was"
                " not scaled up; its update was skipped, like the updates before it"
                " (use --precision=mixed_bfloat16 or float32)"
            )
        return
    bad = {name: float(value) for name, value in values.items() if not math.isfinite(value)}
    names, before = ", ".join(image_names), ", ".join(previous_names)
    cause = f"images {names}"
    if before:
        cause += f"; or the step before broke the weights, images {before}"
    # The weight decay does not depend on the images.
    if before and "total_regularization_loss" in bad:
        cause = f"the weights are not finite since step {step - 1}, images {before}"
    raise FloatingPointError(
        f"the loss is not finite at step {step}: {bad}, learning rate {rate:g}, {cause};"
        f" the newest checkpoint is {checkpoint_files.latest(logdir) or 'none'} ({REMEDY})"
    )


def check_labels(
    labels: np.ndarray, image_names: Sequence[str], *, num_classes: int, ignore_label: int
) -> None:
    """Reject labels that are not classes.

    Args:
        labels: Integers [B, H, W, 1].
        image_names: Names of the B images.
        num_classes: Number of classes.
        ignore_label: Label of the pixels that do not count.

    Raises:
        ValueError: A label is neither a class nor the ignore label.
    """
    for name, label in zip(image_names, labels, strict=True):
        outside = (label != ignore_label) & ((label < 0) | (label >= num_classes))
        if np.any(outside):
            raise ValueError(
                f"image {name} has label {label[outside][0]}, which is neither one of the"
                f" {num_classes} classes nor the ignore label {ignore_label}; check --dataset"
                " (python -m deeplab.datasets.check_data finds all such images)"
            )


def warn_of_options(train_step: TrainStep, options: TrainOptions) -> None:
    """Warn of options that usually give bad results.

    Args:
        train_step: Makes the steps.
        options: Options of the training.
    """
    warn_of_adamw(options)
    net = train_step.state.net
    batch_norms = networks.batch_norms(net)
    if batch_norms and options.fine_tune_batch_norm:
        warn_of_few_images(train_step.parts.statistics_images)
    elif batch_norms and all(map(_is_new, batch_norms)):
        warn_of_no_statistics()
    if net.options.crop_size:
        warn_of_crop_size(net.options.crop_size, net.options.output_stride)


def warn_of_adamw(options: TrainOptions) -> None:
    """Warn of flags that have another meaning, or no effect, with AdamW.

    Args:
        options: Options of the training.
    """
    for name, other in _NOT_OF_ADAMW.items() if options.optimizer == "adamw" else ():
        if (value := getattr(options, name)) != getattr(TrainOptions(), name):
            logging.warning(
                "--%s=%g has no effect with --optimizer=adamw: --%s is %g",
                *(name, value, other, getattr(options, other)),
            )


def _is_new(layer: normalization.BatchNorm) -> bool:
    """Return whether a batch norm has its initial values.

    A batch norm that was folded into its convolution has initial statistics, but an offset.
    """
    offset = (layer.moving_mean, layer.beta)
    return not any(np.any(variable.numpy()) for variable in offset if variable is not None)


def warn_of_few_images(images: int) -> None:
    """Warn if batch norm is trained on the statistics of too few images.

    Args:
        images: Number of images whose statistics are taken together.
    """
    if images < _FEWEST_IMAGES:
        logging.warning(
            "batch norm is trained with %s at a time, too few for good statistics; use at"
            " least %d (--train_batch_size), or --fine_tune_batch_norm=false",
            *(counted(images, "image"), _FEWEST_IMAGES),
        )


def warn_of_no_statistics() -> None:
    """Warn that batch norm is frozen but has no statistics."""
    logging.warning(
        "batch norm is frozen (--fine_tune_batch_norm=false), but it has no statistics yet: set"
        " --tf_initial_checkpoint to a checkpoint that has them, or remove that flag"
    )


def warn_of_crop_size(crop_size: tuple[int, int], output_stride: int) -> None:
    """Warn of a crop size for which the corners of image and features do not coincide.

    Args:
        crop_size: (height, width).
        output_stride: Output stride of the network.
    """
    better = [math.ceil((side - 1) / output_stride) * output_stride + 1 for side in crop_size]
    if tuple(crop_size) != tuple(better):
        logging.warning(
            "--train_crop_size=%d,%d is not a multiple of the output stride plus one, so the"
            " corners of image and features do not coincide: better is --train_crop_size=%d,%d",
            *(*crop_size, *better),
        )


def warn_of_one_class(
    predictions: np.ndarray, labels: np.ndarray, *, ignore_label: int, step: int
) -> None:
    """Warn if a network predicts a single class for a batch whose labels have several.

    Args:
        predictions: Integers [B, H, W].
        labels: Integers [B, H, W, 1].
        ignore_label: Label of the pixels that do not count.
        step: Number of the step.
    """
    classes = np.unique(labels[labels != ignore_label])
    remark = report.single_class_remark(
        np.unique(predictions),
        cause=f"the labels of this batch have {counted(len(classes), 'class')} (if this does"
        " not change soon, see 'My predictions are all black' in g3doc/faq.md)",
    )
    if remark and len(classes) > 1:
        logging.warning("step %d: %s", step, remark)


@contextlib.contextmanager
def logged_errors(message: str) -> Iterator[None]:
    """Log errors of files that cannot be written inside, instead of raising them.

    Args:
        message: Start of the log line, such as "the curves could not be written".
    """
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        logging.error("%s: %s; training continues", message, error_text.one_line(error))
