"""The loss that DeepLab is trained with: softmax cross entropy over the labelled pixels, plus L2.

Follows `add_softmax_cross_entropy_loss_for_each_scale` of the official `utils/train_utils.py`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from deeplab.core import utils
from deeplab.training import distribution


def softmax_cross_entropy(
    logits: tf.Tensor,
    labels: tf.Tensor,
    *,
    ignore_label: int,
    label_weights: float | Sequence[float] = 1.0,
    upsample_logits: bool = True,
    top_k_percent_pixels: float = 1.0,
    hard_example_mining_step: int = 0,
    step: tf.Tensor | int = 0,
    normalizer: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
) -> tf.Tensor:
    """Weighted cross entropy, summed over the pixels of the batch and divided by their number.

    The number is that of the pixels that are not ignored, whatever their weights. It is 0 where
    there is none, and so is the loss then.

    Args:
        logits: float [batch, height, width, classes]; computed in float32 whatever its dtype.
        labels: numbers [batch, height, width] or [batch, height, width, 1]. A label that is
            neither a class nor `ignore_label` is an error on a CPU and gives NaN on a GPU.
        ignore_label: label of the pixels that count for nothing.
        label_weights: weight of every class, or one for all.
        upsample_logits: resize the logits to the labels (bilinear), or the labels to the logits
            (nearest); both with aligned corners.
        top_k_percent_pixels: share, 0 to 1, of all pixels of the batch, ignored ones included,
            that train: those of the largest weighted loss. Of these the ones whose loss is not
            zero are counted. Called "hard example mining" in the flags.
        hard_example_mining_step: step up to which that share falls from 1, linearly; 0: at once.
        step: number of updates made so far; read only if `hard_example_mining_step` is set.
        normalizer: gets the number of pixels, returns the one to divide by. Where a batch is
            split in parts whose losses are averaged, it is the average number over the parts
            (`distribution.mean`) that makes the parts add up to the whole.

    Returns:
        A float32 scalar.

    Raises:
        ValueError: not one weight a class, or a share outside 0 to 1.
    """
    if not 0 <= top_k_percent_pixels <= 1:
        raise ValueError(f"top_k_percent_pixels must be in 0..1, not {top_k_percent_pixels}")
    logits = tf.cast(logits, tf.float32)
    labels = tf.convert_to_tensor(labels)
    if labels.shape.rank == 3:
        labels = labels[..., tf.newaxis]
    labels = _resized(labels, None if upsample_logits else utils.size(logits))
    if upsample_logits:
        logits = utils.resize_bilinear(logits, utils.size(labels))
    labels = tf.cast(tf.reshape(labels, [-1]), tf.int32)
    classes = logits.shape[-1]
    logits = tf.reshape(logits, [-1, classes])

    kept = _is_labeled(labels, ignore_label)
    labels = tf.where(kept, labels, 0)
    weights = tf.cast(kept, tf.float32)
    if isinstance(label_weights, Sequence):
        if len(label_weights) != classes:
            raise ValueError(
                f"label_weights holds {len(label_weights)} weights for {classes} classes; "
                "give one --label_weights a class"
            )
        # The clip only guards the look-up: the cross entropy reports a label that is no class.
        table = tf.constant(label_weights, tf.float32)
        weights *= tf.gather(table, tf.clip_by_value(labels, 0, classes - 1))
    elif label_weights != 1.0:
        weights *= label_weights
    losses = weights * tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)

    if top_k_percent_pixels == 1.0:
        count = _count(kept)
    else:
        losses = _hardest(losses, top_k_percent_pixels, hard_example_mining_step, step)
        count = _count(losses)
    return tf.math.divide_no_nan(tf.reduce_sum(losses), normalizer(count))


def count_labeled(
    labels: tf.Tensor, ignore_label: int, size: Sequence[Any] | None = None
) -> tf.Tensor:
    """Return how many pixels count in the loss, a float32 scalar; hard example mining aside.

    Args:
        labels: integers [batch, height, width, 1].
        ignore_label: label of the pixels that do not count.
        size: (height, width) that the labels are resized to (`upsample_logits` off); None: they
            are not.
    """
    return _count(_is_labeled(_resized(labels, size), ignore_label))


def _resized(labels: tf.Tensor, size: Sequence[Any] | None) -> tf.Tensor:
    """Return the labels as floats, resized to the nearest if there is a size."""
    # Nearest resizing has no integer kernel on every device; float32 holds every label exactly.
    labels = tf.cast(labels, tf.float32)
    return labels if size is None else utils.resize_nearest(labels, size)


def _is_labeled(labels: tf.Tensor, ignore_label: int) -> tf.Tensor:
    """Return which pixels count in the loss: booleans of the shape of the labels."""
    return labels != ignore_label


def _count(pixels: tf.Tensor) -> tf.Tensor:
    """Return how many pixels are not zero or false, a float32 scalar."""
    return tf.math.count_nonzero(pixels, dtype=tf.float32)


def _hardest(losses: tf.Tensor, share: float, mining_step: int, step: tf.Tensor | int) -> tf.Tensor:
    """The `share` of the losses that are largest, or the larger share due at `step`."""
    ratio = tf.minimum(1.0, tf.cast(step, tf.float32) / mining_step) if mining_step else 1.0
    pixels = tf.size(losses)
    k = tf.cast((ratio * share + (1.0 - ratio)) * tf.cast(pixels, tf.float32), tf.int32)
    # On a CPU sorting is faster than `top_k` for the many pixels of a batch, and XLA compiles no
    # `top_k` whose k changes.
    ordered = tf.sort(losses, direction="DESCENDING")
    return tf.where(tf.range(pixels) < k, ordered, 0.0)


def softmax_cross_entropy_for_each_scale(
    scales_to_logits: Mapping[str, tf.Tensor], labels: tf.Tensor, **options: Any
) -> dict[str, tf.Tensor]:
    """The losses of the merged logits and of every scale of an image pyramid.

    Args:
        scales_to_logits: name, e.g. `merged_logits` or `logits_0.50`, to logits.
        labels: as for `softmax_cross_entropy`.
        **options: the keywords of `softmax_cross_entropy`.

    Returns:
        Name to float32 scalar, in the order given; the sum of them is what is trained on.
    """
    return {
        name: softmax_cross_entropy(logits, labels, **options)
        for name, logits in scales_to_logits.items()
    }


def l2_loss(variables: Iterable[keras.Variable | tf.Variable], weight_decay: float) -> tf.Tensor:
    """`weight_decay` times half the sum of squares of the variables, a float32 scalar.

    Args:
        variables: those that are regularised; each counts once, however often it is used.
        weight_decay: the factor, as in slim's `l2_regularizer`.
    """
    terms = [
        weight_decay * tf.nn.l2_loss(tf.cast(tf.convert_to_tensor(variable), tf.float32))
        for variable in variables
    ]
    return tf.add_n(terms) if terms else tf.zeros([])


@keras.saving.register_keras_serializable(package="deeplab")
class SegmentationLoss(keras.losses.Loss):
    """`softmax_cross_entropy` as a Keras loss: `model.compile(loss=SegmentationLoss(255))`.

    Under a distribution strategy it is the loss of the whole batch, as on one device.

    Args:
        ignore_label: see `softmax_cross_entropy`; so for all that follow.
        label_weights: weight of every class, or one for all.
        upsample_logits: resize the logits to the labels, or the labels to the logits.
        top_k_percent_pixels: share of the pixels that train.
        hard_example_mining_step: step at which that share is reached.
        step: variable that counts the updates, `optimizer.iterations`; needed if and only if
            `hard_example_mining_step` is set, and not saved with the model.
        name: name of the loss.

    Example:
        model.compile(optimizer, loss=SegmentationLoss(ignore_label=255))
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
    ):
        # float32 under every precision policy and whatever Keras' float type is.
        super().__init__(name=name, dtype="float32")
        self.options = {
            "ignore_label": ignore_label,
            "label_weights": label_weights,
            "upsample_logits": upsample_logits,
            "top_k_percent_pixels": top_k_percent_pixels,
            "hard_example_mining_step": hard_example_mining_step,
        }
        self.step = step

    def __call__(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> tf.Tensor:
        """The loss of logits `y_pred` for labels `y_true`, a float32 scalar.

        Raises:
            ValueError: a sample weight is given; pixels are weighed by their class.
        """
        if sample_weight is not None:
            raise ValueError(f"{self.name} takes no sample_weight: set label_weights instead")
        return super().__call__(y_true, y_pred)

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """The same with shape [1]: Keras would not divide a scalar by the number of replicas."""
        if self.options["hard_example_mining_step"] and self.step is None:
            raise ValueError(
                "hard_example_mining_step needs the number of updates: compile with "
                "SegmentationLoss(..., step=optimizer.iterations)"
            )
        step = 0 if self.step is None else tf.convert_to_tensor(self.step)
        loss = softmax_cross_entropy(
            y_pred, y_true, step=step, normalizer=distribution.mean, **self.options
        )
        return tf.reshape(loss, [1])

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, `step` aside."""
        return {"name": self.name} | self.options
