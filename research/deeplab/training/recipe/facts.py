"""Facts about data, network and machine, from which a recipe follows."""

import dataclasses
from typing import Literal

from deeplab.core.options import ModelOptions

# What a checkpoint does not give a network: nothing, the classifier, a decoder that makes the
# logits, or everything after the backbone.
NewLayers = Literal["none", "logits", "decoder", "head"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """Training steps that were made.

    Attributes:
        crop_size: Side of the square crops in pixels.
        batch_size: Crops of a step.
        seconds: Time of a step, with its input.
        peak_bytes: Memory of the process, or of the GPU, at its peak.
    """

    crop_size: int
    batch_size: int
    seconds: float
    peak_bytes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """The facts from which a recipe follows.

    Attributes:
        network: The network for the classes of the data, without a crop size.
        origin: Its origin, a phrase for a comment.
        new_layers: The layers whose values are not in the checkpoint.
        checkpoint_classes: Number of classes of the checkpoint; None: it has no classifier.
        class_names: Name or number of each class.
        num_images: Number of training images.
        median_size: Height and width of the median training image, by pixels.
        largest_size: Largest height and largest width of all images, evaluated ones included.
        balance: Weights of the classes by median frequency balancing; None: no class is seen.
        minutes: Minutes that the training may take.
        memory_bytes: Memory that it may use.
        idle_bytes: Memory that it uses before the first step.
        start_seconds: Time before the first step ends.
        measurements: Steps that were made, at least one.
    """

    network: ModelOptions
    origin: str
    new_layers: NewLayers
    checkpoint_classes: int | None
    class_names: tuple[str, ...]
    num_images: int
    median_size: tuple[int, int]
    largest_size: tuple[int, int]
    balance: tuple[float, ...] | None
    minutes: float
    memory_bytes: int
    idle_bytes: int = 0
    start_seconds: float = 0.0
    measurements: tuple[Measurement, ...] = ()

    def seconds(self, crop_size: int, batch_size: int) -> float:
        """Return the time of a step.

        It is a part that every step takes, such as the update of the variables, and a part that
        grows with the pixels: a line through the smallest and the largest step that was measured.
        """
        pixels = crop_size**2 * batch_size
        known = sorted(
            (each.crop_size**2 * each.batch_size, each.seconds) for each in self.measurements
        )
        (fewest, shortest), (most, longest) = known[0], known[-1]
        # Proportional to the pixels if there is one measurement, or another program disturbed one.
        slope = longest / most
        if most > fewest and longest > shortest:
            slope = min(slope, (longest - shortest) / (most - fewest))
        return longest + slope * (pixels - most)

    def peak_bytes(self, crop_size: int, batch_size: int) -> float:
        """Return the memory at its peak, which is taken to grow with the pixels of a step."""
        per_pixel = max(
            (each.peak_bytes - self.idle_bytes) / (each.crop_size**2 * each.batch_size)
            for each in self.measurements
        )
        return self.idle_bytes + max(per_pixel, 0.0) * crop_size**2 * batch_size
