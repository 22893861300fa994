"""Chooses the layers that compute in float32 despite `--precision=mixed_bfloat16`.

Not every processor is faster in bfloat16, and on one that is, some kinds of convolutions may be
slower. These stay in float32. If the network as a whole is not faster then, all of it does. The
choice changes the bits of a run. So the chief makes it once, when the run begins, and stores it
beside the checkpoints.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping

import keras
import tensorflow as tf
from absl import logging

from deeplab import model
from deeplab.core import layers, networks
from deeplab.training import distribution, layer_times, pass_times
from deeplab.training.layer_times import Times
from deeplab.utils import files

# Name of the file.
FILE = "precision.json"

# A network with some kinds in bfloat16 must take at most this share of the time in float32. Smaller
# gains may be noise.
_LARGEST_SHARE = 0.95


@dataclasses.dataclass(frozen=True)
class Choice:
    """The part of a network of `mixed_bfloat16` that computes in float32.

    Attributes:
        float32: Kinds of convolutions, of `layers.KINDS`. All kinds: the whole network.
    """

    float32: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether the whole network computes in float32."""
        return set(self.float32) == set(layers.KINDS)

    def apply(self, net: model.DeepLab) -> None:
        """Set the precision of a network's layers; call it before a step is traced.

        Args:
            net: A network of the policy `mixed_bfloat16`.
        """
        if self.is_whole:
            networks.set_precision(net, keras.DTypePolicy("float32"))
        else:
            networks.compute_in_float32(net, self.float32)

    def __str__(self) -> str:
        """Return the sentence for the log."""
        if self.is_whole:
            return "the whole network computes in float32"
        kinds = " and ".join(self.float32)
        but = f", but {kinds} convolutions compute in float32" if kinds else ""
        return f"the network computes in bfloat16{but}"


# With `--deterministic_ops`, nothing is measured, because times vary from run to run.
FIXED = Choice((layers.DEPTHWISE,))
_FLOAT32 = Choice(layers.KINDS)


@dataclasses.dataclass(frozen=True)
class Measured:
    """A choice and the seconds that it is based on.

    Attributes:
        choice: The choice.
        kinds: The times of each kind of convolution that the network has.
        passes: Those of a forward and backward pass of the whole network, "float32" and "mixed".
            Empty if the convolutions alone tell that bfloat16 is slower, or if the passes do not
            fit into the memory.
    """

    choice: Choice
    kinds: Mapping[str, Times] = dataclasses.field(default_factory=dict)
    passes: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def to_json(self) -> str:
        """Return the content of the file, with times in milliseconds."""

        def milliseconds(seconds: Mapping[str, float]) -> dict[str, float]:
            return {name: round(1000 * value, 3) for name, value in seconds.items()}

        measured = {kind: milliseconds(vars(each)) for kind, each in self.kinds.items()}
        if self.passes:
            measured["network"] = milliseconds(self.passes)
        content = {"float32": self.choice.float32, "measured_milliseconds": measured}
        return json.dumps(content, indent=2) + "\n"


def measure(
    net: model.DeepLab, images: int, crop_size: tuple[int, int], *, jit_compile: bool = False
) -> Measured:
    """Choose what is fastest on this machine.

    Args:
        net: A network of the policy `mixed_bfloat16`. It does not change.
        images: Number of images that a device processes at a time.
        crop_size: (height, width) of the images.
        jit_compile: Whether the step is compiled with XLA.
    """
    kinds = layer_times.measure(net, images, crop_size, jit_compile=jit_compile)

    def passes(choice: Choice) -> tuple[float, float]:
        forms = (_FLOAT32.apply, choice.apply)
        return pass_times.measure(net, forms, images, crop_size, jit_compile=jit_compile)

    return choose(kinds, passes)


def choose(kinds: Mapping[str, Times], passes: Callable[[Choice], tuple[float, float]]) -> Measured:
    """Return the fastest choice.

    Each kind of convolution computes in the type in which it is faster. What lies between the
    convolutions may cost more than they gain, so the network as a whole is measured, too.

    Args:
        kinds: The times of each kind of convolution that the network has.
        passes: Returns the seconds of a pass of the whole network, in float32 and with a choice.
    """
    mixed = sum(min(each.bfloat16, each.float32_between) for each in kinds.values())
    if mixed > _LARGEST_SHARE * sum(each.float32 for each in kinds.values()):
        return Measured(_FLOAT32, kinds)
    slower = [kind for kind, each in kinds.items() if each.bfloat16 > each.float32_between]
    choice = Choice(tuple(slower))
    try:
        float32, chosen = passes(choice)
    except tf.errors.ResourceExhaustedError:  # Only bfloat16 may fit into the memory.
        return Measured(choice, kinds)
    if chosen > _LARGEST_SHARE * float32:
        choice = _FLOAT32
    return Measured(choice, kinds, {"float32": float32, "mixed": chosen})


def settle(
    strategy: tf.distribute.Strategy, folder: str, measure: Callable[[], Measured] | None
) -> Choice:
    """Return the choice of a run; all hosts must call it. If there is none, the chief makes it.

    Args:
        strategy: The strategy of the run.
        folder: Folder of the run's checkpoints.
        measure: Makes the choice, on the chief. None: the choice is `FIXED`.

    Raises:
        ValueError: The file is damaged or cannot be found.
        OSError: The file cannot be written.
    """
    path = os.path.join(folder, FILE)
    if distribution.is_chief(strategy) and not tf.io.gfile.exists(path):
        measured = measure() if measure else Measured(FIXED)
        files.write_text(path, measured.to_json())
    # The other hosts wait until the chief has written it.
    distribution.mean_over_hosts(strategy, 0.0)
    choice = _read(path)
    logging.info("--precision=mixed_bfloat16: %s, according to %s", choice, path)
    return choice


def _read(path: str) -> Choice:
    if not tf.io.gfile.exists(path):
        raise ValueError(
            f"{path} was written by the chief and is not here: --train_logdir must be a folder that"
            " all hosts share"
        )
    remedy = "restore the file, or delete it so that the speed is measured again"
    try:
        content = files.read_json(path)
    except ValueError as error:
        raise ValueError(f"{error}; {remedy}") from None
    kinds = content.get("float32") if isinstance(content, dict) else None
    if not isinstance(kinds, list) or any(kind not in layers.KINDS for kind in kinds):
        raise ValueError(
            f"{path} has no list of kinds of convolutions, {', '.join(layers.KINDS)}, under"
            f' "float32": {remedy}'
        )
    return Choice(tuple(kinds))
