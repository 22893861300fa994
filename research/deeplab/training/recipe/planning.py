"""The plan of a training, a pure function of measured facts.

The rules come from the official settings, and from trainings on CamVid that were measured with this
project (recipes/camvid/train.txt).
"""

import dataclasses
import math

from deeplab.core.options import RandomScale
from deeplab.training.recipe.facts import Facts

# The official size of crops on PASCAL VOC.
LARGEST_CROP = 513
# A training of fewer steps leaves new layers half trained: it gets smaller crops, then batches.
_ENOUGH_STEPS = 1000
FEW_STEPS = 250
# Batch norm learns from batches of at least 12 images, says the official help. Its averages have a
# decay of 0.9997, so that it takes many steps to replace what the checkpoint has.
_BATCH, _LARGE_BATCH, _LONG = 8, 16, 10000
# With batch norm frozen, AdamW needs fewer steps than momentum. It starts slowly where layers are
# new, because their random values would damage those of the checkpoint. Longer gradients than this
# are shortened.
_SLOW_STEPS, _SLOW_SHARE, _SLOW_RATE = 100, 5, 0.1
LONGEST_GRADIENT = 1.0
# Smaller batches, for machines without the time or the memory.
_SMALLER = (8, 4, 2, 1)
# Official trainings see an image 45 (PASCAL VOC) to 480 times (Cityscapes).
_MOST_EPOCHS = 500
# After this many epochs an image has been seen at all random scales, so a wider range pays.
_MANY_EPOCHS = 50
# Memory and time of long runs exceed what a few steps show.
_MEMORY_MARGIN, _TIME_MARGIN = 1.25, 1.08
# A class is rare if it needs such a weight. The root of the weights helps rare classes at less cost
# to the others; weights beyond the limit let single images dominate.
_RARE, _LARGEST_WEIGHT = 4.0, 5.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """The settings of a training.

    Attributes:
        crop_size: Side of the square crops, a multiple of the output stride plus one.
        eval_crop_size: (height, width) that hold every image, of the same form.
        batch_size: Crops of a step.
        steps: Number of steps.
        most_steps: Whether they are fewer than the time allows, because more would gain little.
        seconds: Time that they take.
        epochs: Number of times that each image is used.
        fine_tune_batch_norm: Whether batch norm is trained.
        optimizer: Name of the optimizer.
        clip_gradient_norm: Largest norm of the gradient; None: any.
        learning_rate: The highest one of layers from the checkpoint.
        slow_start_steps: Steps of the slow start; 0: none.
        slow_start_learning_rate: Learning rate in these steps.
        multiplier: Factor on the learning rate of the last layers.
        scales: Random scales.
        label_weights: Weight of each class; None: all 1.
        initialize_last_layer: Whether the checkpoint gives the last layers, too.
        last_layers_are_logits: Whether the last layers are the classifier alone.
    """

    crop_size: int
    eval_crop_size: tuple[int, int]
    batch_size: int
    steps: int
    most_steps: bool
    seconds: float
    epochs: float
    fine_tune_batch_norm: bool
    optimizer: str
    clip_gradient_norm: float | None
    learning_rate: float
    slow_start_steps: int
    slow_start_learning_rate: float
    multiplier: float
    scales: RandomScale
    label_weights: tuple[float, ...] | None
    initialize_last_layer: bool
    last_layers_are_logits: bool


def crop_sizes(median_size: tuple[int, int], output_stride: int) -> list[int]:
    """Return the sides that crops may have, from the largest on.

    They fit into the median image and are at least half as large as the largest that does. For
    images smaller than two cells of the features, crops are larger than the image.
    """
    most = (min(*median_size, LARGEST_CROP) - 1) // output_stride
    most = max(most, 2)
    return [cells * output_stride + 1 for cells in range(most, max(2, most // 2) - 1, -1)]


def padded_size(size: tuple[int, int], output_stride: int) -> tuple[int, int]:
    """Return the smallest height and width, multiples of the stride plus one, that hold images."""
    height, width = (
        max(1, math.ceil((side - 1) / output_stride)) * output_stride + 1 for side in size
    )
    return height, width


def plan(facts: Facts) -> Plan:
    """Return the settings that suit the facts.

    Raises:
        ValueError: A single crop does not fit into the memory.
    """
    crop_size, batch_size = _crop_and_batch(facts)
    epochs_per_step = batch_size / facts.num_images
    most = max(_ENOUGH_STEPS, math.ceil(_MOST_EPOCHS / epochs_per_step))
    allowed = _steps(facts, crop_size, batch_size)
    steps = max(1, min(allowed, most))
    epochs = steps * epochs_per_step
    tuned = batch_size >= _LARGE_BATCH and steps >= _LONG
    rate = 0.007 * batch_size / 16 if tuned else 0.0005 * batch_size / 8
    is_new = facts.new_layers != "none"
    if not is_new:
        rate /= 10
    return Plan(
        crop_size=crop_size,
        eval_crop_size=padded_size(facts.largest_size, facts.network.output_stride),
        batch_size=batch_size,
        steps=steps,
        most_steps=allowed > most,
        seconds=steps * facts.seconds(crop_size, batch_size),
        epochs=epochs,
        fine_tune_batch_norm=tuned,
        optimizer="momentum" if tuned else "adamw",
        clip_gradient_norm=None if tuned else LONGEST_GRADIENT,
        learning_rate=rate,
        slow_start_steps=min(_SLOW_STEPS, steps // _SLOW_SHARE) if is_new and not tuned else 0,
        slow_start_learning_rate=rate * _SLOW_RATE,
        multiplier=10.0 if is_new else 1.0,
        scales=_scales(epochs, crop_size, min(facts.median_size)),
        label_weights=_label_weights(facts.balance),
        initialize_last_layer=facts.new_layers in ("none", "decoder"),
        last_layers_are_logits=facts.new_layers == "logits",
    )


def _steps(facts: Facts, crop_size: int, batch_size: int) -> int:
    """Return how many steps the time allows."""
    left = 60 * facts.minutes - facts.start_seconds
    return math.floor(left / _TIME_MARGIN / facts.seconds(crop_size, batch_size))


def _fits(facts: Facts, crop_size: int, batch_size: int) -> bool:
    return facts.peak_bytes(crop_size, batch_size) * _MEMORY_MARGIN <= facts.memory_bytes


def _crop_and_batch(facts: Facts) -> tuple[int, int]:
    """Return the crop size and the batch size.

    The largest crops come first; smaller crops are better than too few steps, and smaller batches
    come last.
    """
    sizes = crop_sizes(facts.median_size, facts.network.output_stride)
    largest, smallest = sizes[0], sizes[-1]
    if _steps(facts, largest, _LARGE_BATCH) >= _LONG and _fits(facts, largest, _LARGE_BATCH):
        return largest, _LARGE_BATCH
    candidates = [(size, _BATCH) for size in sizes] + [(smallest, batch) for batch in _SMALLER]
    fitting = [each for each in candidates if _fits(facts, *each)]
    if not fitting:
        raise ValueError(
            f"training with one crop of {smallest}x{smallest} pixels needs"
            f" {facts.peak_bytes(smallest, 1) * _MEMORY_MARGIN / 1e9:.1f} GB, but only"
            f" {facts.memory_bytes / 1e9:.1f} GB may be used (--memory_gb): give more, or a"
            " checkpoint of a smaller network"
        )
    for least in (_ENOUGH_STEPS, FEW_STEPS):
        for size, batch in fitting:
            if _steps(facts, size, batch) >= least:
                return size, batch
    return fitting[-1]


def _scales(epochs: float, crop_size: int, side: int) -> RandomScale:
    """Return the random scales: few for short trainings, smaller ones for large images."""
    if side >= 2 * crop_size:
        return RandomScale(min_scale_factor=0.5, max_scale_factor=1.25)
    if epochs < _MANY_EPOCHS:
        return RandomScale(min_scale_factor=0.75, max_scale_factor=1.5)
    return RandomScale(min_scale_factor=0.5, max_scale_factor=2.0)


def _label_weights(balance: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """Return the weight of each class, with two digits; None if no class is rare."""
    if balance is None or max(balance) < _RARE:
        return None
    return tuple(float(f"{min(math.sqrt(weight), _LARGEST_WEIGHT):.2g}") for weight in balance)
