"""The losses of DeepLab: softmax cross entropy over the labeled pixels, plus L2; and others.

The cross entropy follows `add_softmax_cross_entropy_loss_for_each_scale` of the official
`utils/train_utils.py`.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from deeplab.core import utils
from deeplab.core.options import LossOptions
from deeplab.training import distribution, region_losses

_DEFAULT = LossOptions()
# Keeps the slope of the focal loss finite at pixels that are certain.
_LEAST_DOUBT = 1e-12


class Counts(NamedTuple):
    """Counts by which the sums in the loss of a batch are divided, float32 scalars.

    Attributes:
        pixels: Number of pixels that are not ignored.
        images: Number of images that have such a pixel.
    """

    pixels: tf.Tensor
    images: tf.Tensor


def segmentation_loss(
    logits: tf.Tensor,
    labels: tf.Tensor,
    options: LossOptions,
    *,
    ignore_label: int,
    step: tf.Tensor | int = 0,
    normalizer: Callable[[tf.Tensor, str], tf.Tensor] = lambda count, unit: count,
) -> tf.Tensor:
    """Return the loss of a batch that the options ask for.

    Losses of pixels (cross entropy, focal) are a sum over the pixels that are not ignored, divided
    by the number of them. Losses of regions (dice, tversky, lovasz) are a sum over the images that
    have such pixels, divided by the number of these images; see `region_losses`. If all pixels are
    ignored, every loss is 0.

    Args:
        logits: Float [batch, height, width, classes], of any dtype; the loss is float32.
        labels: Numbers [batch, height, width] or [batch, height, width, 1]. A label that is
            neither a class nor `ignore_label` gives an error or, on some devices and in losses of
            regions, NaN.
        options: The loss and its parameters.
        ignore_label: Label of the pixels that do not count.
        step: Number of updates made so far; see `softmax_cross_entropy`.
        normalizer: Takes a count and what is counted, `pixels` or `images`, and returns the number
            to divide by. With the mean count of equal parts of a batch, the mean of their losses is
            the loss of the whole batch.

    Returns:
        A float32 scalar.

    Raises:
        ValueError: The number of weights is not that of the classes.
    """
    total = []
    if options.loss in ("cross_entropy", "focal", "cross_entropy_dice"):
        loss = softmax_cross_entropy(
            logits,
            labels,
            options,
            ignore_label=ignore_label,
            step=step,
            normalizer=lambda count: normalizer(count, "pixels"),
        )
        total.append(loss)
    if options.loss not in ("cross_entropy", "focal"):
        loss = _region_loss(
            logits, labels, options, ignore_label, lambda count: normalizer(count, "images")
        )
        is_added = options.loss == "cross_entropy_dice"
        total.append(options.dice_loss_weight * loss if is_added else loss)
    return tf.add_n(total)


def _region_loss(
    logits: tf.Tensor,
    labels: tf.Tensor,
    options: LossOptions,
    ignore_label: int,
    normalizer: Callable[[tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """Return the dice, tversky or lovasz loss of a batch."""
    logits, labels = _of_one_size(logits, labels, options.upsample_logits)
    batch, classes = tf.shape(logits)[0], logits.shape[-1]
    _check_weights(options.label_weights, classes)
    labels = tf.reshape(labels, [batch, -1])
    kept = _is_labeled(labels, ignore_label)
    is_class = (labels >= 0) & (labels < classes)
    truth = tf.one_hot(tf.where(kept, labels, -1), classes)
    mask = tf.cast(kept, tf.float32)[..., tf.newaxis]
    probabilities = tf.nn.softmax(tf.reshape(logits, [batch, -1, classes])) * mask
    # AutoGraph cannot read a `match`.
    if options.loss == "tversky":
        losses = region_losses.tversky(
            probabilities, truth, options.tversky_alpha, options.tversky_beta
        )
    elif options.loss == "lovasz":
        losses = region_losses.lovasz(probabilities, truth, mask)
    else:
        losses = region_losses.dice(probabilities, truth)
    losses = region_losses.mean_over_classes(losses, truth, options.label_weights)
    count = _count(tf.reduce_any(kept, axis=1))
    loss = tf.math.divide_no_nan(tf.reduce_sum(losses), normalizer(count))
    return tf.where(tf.reduce_any(kept & ~is_class), float("nan"), loss)


def softmax_cross_entropy(
    logits: tf.Tensor,
    labels: tf.Tensor,
    options: LossOptions = _DEFAULT,
    *,
    ignore_label: int,
    step: tf.Tensor | int = 0,
    normalizer: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
) -> tf.Tensor:
    """Return the weighted cross entropy, summed over the batch and divided by the pixel count.

    The pixel count is the number of pixels that are not ignored, whatever their weights. If all
    pixels are ignored, the loss is 0.

    Args:
        logits: Float [batch, height, width, classes], of any dtype; the loss is float32.
        labels: Numbers [batch, height, width] or [batch, height, width, 1]. A label that is
            neither a class nor `ignore_label` is an error on a CPU and gives NaN on a GPU.
        options: The weights of the classes; whether logits are resized to the labels (bilinear) or
            labels to the logits (nearest), both with aligned corners; the share of pixels to train
            on; and with the focal loss its exponent. The share is that of the largest weighted
            losses, of all pixels of the batch, including ignored ones. Then only pixels whose loss
            is not zero are counted. The flags call it hard example mining.
        ignore_label: Label of the pixels that do not count.
        step: Number of updates made so far; used only if `hard_example_mining_step` is set: up to
            that step the share falls linearly from 1.
        normalizer: Takes the pixel count and returns the number to divide by. If a batch is split
            into parts whose losses are averaged, dividing by the mean count of the parts
            (`distribution.mean`) gives the loss of the whole batch.

    Returns:
        A float32 scalar.

    Raises:
        ValueError: The number of weights is not that of the classes.

    Reference: the focal loss of Lin et al., arXiv:1708.02002, equation 5.
    """
    logits, labels = _of_one_size(logits, labels, options.upsample_logits)
    labels = tf.reshape(labels, [-1])
    classes = logits.shape[-1]
    logits = tf.reshape(logits, [-1, classes])

    kept = _is_labeled(labels, ignore_label)
    labels = tf.where(kept, labels, 0)
    weights = tf.cast(kept, tf.float32)
    if options.label_weights:
        _check_weights(options.label_weights, classes)
        # The clip only guards the look-up: the cross entropy reports a label that is not a class.
        table = tf.constant(options.label_weights, tf.float32)
        weights *= tf.gather(table, tf.clip_by_value(labels, 0, classes - 1))
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    if options.loss == "focal" and options.focal_gamma:
        # 1 - p without the difference of two numbers that are almost the same.
        doubt = tf.maximum(-tf.math.expm1(-losses), _LEAST_DOUBT)
        losses *= doubt**options.focal_gamma
    losses *= weights

    if options.top_k_percent_pixels == 1.0:
        count = _count(kept)
    else:
        losses = _hardest(
            losses, options.top_k_percent_pixels, options.hard_example_mining_step, step
        )
        count = _count(losses)
    return tf.math.divide_no_nan(tf.reduce_sum(losses), normalizer(count))


def count_labeled(
    labels: tf.Tensor, ignore_label: int, size: Sequence[Any] | None = None
) -> Counts:
    """Return how much counts in the loss without hard example mining.

    Args:
        labels: Integers [batch, height, width, 1].
        ignore_label: Label of the pixels that do not count.
        size: (height, width) that the labels are resized to, if `upsample_logits` is off.
    """
    kept = _is_labeled(_resized(labels, size), ignore_label)
    return Counts(_count(kept), _count(tf.reduce_any(kept, axis=(1, 2, 3))))


def _of_one_size(
    logits: tf.Tensor, labels: tf.Tensor, upsample_logits: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the logits, float32, and the labels, int32 [batch, h, w, 1], of the same size."""
    logits = tf.cast(logits, tf.float32)
    labels = tf.convert_to_tensor(labels)
    if labels.shape.rank == 3:
        labels = labels[..., tf.newaxis]
    labels = _resized(labels, None if upsample_logits else utils.size(logits))
    if upsample_logits:
        logits = utils.resize_bilinear(logits, utils.size(labels))
    return logits, tf.cast(labels, tf.int32)


def _check_weights(label_weights: Sequence[float] | None, classes: int) -> None:
    if label_weights is not None and len(label_weights) != classes:
        raise ValueError(
            f"label_weights holds {len(label_weights)} weights for {classes} classes; "
            "give one --label_weights a class"
        )


def _resized(labels: tf.Tensor, size: Sequence[Any] | None) -> tf.Tensor:
    """Return the labels as floats, resized with nearest neighbor if there is a size."""
    # Not every device has an integer kernel for resizing; float32 holds every label exactly.
    labels = tf.cast(labels, tf.float32)
    return labels if size is None else utils.resize_nearest(labels, size)


def _is_labeled(labels: tf.Tensor, ignore_label: int) -> tf.Tensor:
    """Return which pixels count in the loss, booleans of the shape of the labels."""
    return labels != ignore_label


def _count(pixels: tf.Tensor) -> tf.Tensor:
    """Return how many values are not zero or false, a float32 scalar."""
    return tf.math.count_nonzero(pixels, dtype=tf.float32)


def _hardest(losses: tf.Tensor, share: float, mining_step: int, step: tf.Tensor | int) -> tf.Tensor:
    """Return the largest losses: `share` of them, or the larger share at an early step."""
    ratio = tf.minimum(1.0, tf.cast(step, tf.float32) / mining_step) if mining_step else 1.0
    pixels = tf.size(losses)
    k = tf.cast((ratio * share + (1.0 - ratio)) * tf.cast(pixels, tf.float32), tf.int32)
    # On a CPU, sorting the pixels of an image is faster than `top_k`. XLA cannot compile a `top_k`
    # with a variable k.
    ordered = tf.sort(losses, direction="DESCENDING")
    return tf.where(tf.range(pixels) < k, ordered, 0.0)


def l2_loss(variables: Iterable[keras.Variable | tf.Variable], weight_decay: float) -> tf.Tensor:
    """Return `weight_decay` times half the sum of squares of the variables, a float32 scalar.

    Args:
        variables: The regularized variables. Each counts once, however often it is used.
        weight_decay: The factor, as in slim's `l2_regularizer`.
    """
    terms = [
        weight_decay * tf.nn.l2_loss(tf.cast(tf.convert_to_tensor(variable), tf.float32))
        for variable in variables
    ]
    return tf.add_n(terms) if terms else tf.zeros([])


@keras.saving.register_keras_serializable(package="deeplab")
class SegmentationLoss(keras.losses.Loss):
    """`segmentation_loss` as a Keras loss.

    Under a distribution strategy it is the loss of the whole batch, as on one device.

    Args:
        ignore_label: Label of the pixels that do not count.
        label_weights: Weight of each class, or one weight for all.
        upsample_logits: Resize the logits to the labels, or else the labels to the logits.
        top_k_percent_pixels: Share of pixels to train on.
        hard_example_mining_step: Step at which that share is reached.
        step: Variable that counts the updates, `optimizer.iterations`. It is needed only if
            `hard_example_mining_step` is set, and is not saved with the model.
        name: Name of the loss.
        **options: Other fields of `LossOptions`: `loss` and its parameters.

    Example:
        model.compile(optimizer, loss=SegmentationLoss(ignore_label=255))
        model.compile(optimizer, loss=SegmentationLoss(ignore_label=255, loss="lovasz"))
    """

    def __init__(
        self,
        ignore_label: int,
        label_weights: float | Sequence[float] = 1.0,
        upsample_logits: bool = True,
        top_k_percent_pixels: float = 1.0,
        hard_example_mining_step: int = 0,
        step: keras.Variable | tf.Variable | None = None,
        name: str = "segmentation_loss",
        **options: Any,
    ):
        # float32 whatever the precision policy and Keras' default float type are.
        super().__init__(name=name, dtype="float32")
        self.ignore_label = ignore_label
        self.label_weights = label_weights
        several = isinstance(label_weights, Sequence)
        self._factor = 1.0 if several else label_weights
        self.options = LossOptions(
            label_weights=label_weights if several else None,
            upsample_logits=upsample_logits,
            top_k_percent_pixels=top_k_percent_pixels,
            hard_example_mining_step=hard_example_mining_step,
            **options,
        )
        self.step = step

    def __call__(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Return the loss of logits `y_pred` for labels `y_true`, a float32 scalar.

        Raises:
            ValueError: A sample weight is given; pixels are weighted by their class.
        """
        if sample_weight is not None:
            raise ValueError(f"{self.name} takes no sample_weight: set label_weights instead")
        return super().__call__(y_true, y_pred)

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Return it with shape [1]: Keras does not divide a scalar by the number of replicas."""
        if self.options.hard_example_mining_step and self.step is None:
            raise ValueError(
                "hard_example_mining_step needs the number of updates: compile with "
                "SegmentationLoss(..., step=optimizer.iterations)"
            )
        loss = segmentation_loss(
            y_pred,
            y_true,
            self.options,
            ignore_label=self.ignore_label,
            step=0 if self.step is None else tf.convert_to_tensor(self.step),
            normalizer=lambda count, unit: distribution.mean(count),
        )
        return tf.reshape(self._factor * loss, [1])

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, except `step`."""
        weights = {"ignore_label": self.ignore_label, "label_weights": self.label_weights}
        return {"name": self.name} | dataclasses.asdict(self.options) | weights
