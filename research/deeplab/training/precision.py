"""Chooses the layers that compute in float32 despite `--precision=mixed_bfloat16`.

Not every processor is faster in bfloat16, and on one that is, some kinds of convolutions may be
slower. These stay in float32. The choice changes the bits of a run. So the chief makes it once,
when the run begins, and stores it beside the checkpoints.
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
from deeplab.training import distribution
from deeplab.training.layer_times import Times
from deeplab.utils import files

# Name of the file.
FILE = "precision.json"

# A network with some kinds in bfloat16 must take at most this share of the time in float32. Smaller
# gains may be noise, or be lost between the convolutions, which are not measured.
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


def choose(times: Mapping[str, Times]) -> Choice:
    """Return the fastest choice.

    Args:
        times: The times of each kind of convolution that the network has.
    """
    mixed = sum(min(each.bfloat16, each.float32_between) for each in times.values())
    if mixed > _LARGEST_SHARE * sum(each.float32 for each in times.values()):
        return Choice(layers.KINDS)
    slower = [kind for kind, each in times.items() if each.bfloat16 > each.float32_between]
    return Choice(tuple(slower))


def settle(
    strategy: tf.distribute.Strategy, folder: str, measure: Callable[[], Mapping[str, Times]] | None
) -> Choice:
    """Return the choice of a run; all hosts must call it. If there is none, the chief makes it.

    Args:
        strategy: The strategy of the run.
        folder: Folder of the run's checkpoints.
        measure: Returns the times from which the chief chooses. None: the choice is `FIXED`.

    Raises:
        ValueError: The file is damaged or cannot be found.
        OSError: The file cannot be written.
    """
    path = os.path.join(folder, FILE)
    if distribution.is_chief(strategy) and not tf.io.gfile.exists(path):
        times = measure() if measure else {}
        choice = choose(times) if measure else FIXED
        milliseconds = {
            kind: {name: round(1000 * value, 3) for name, value in vars(each).items()}
            for kind, each in times.items()
        }
        content = {"float32": choice.float32, "measured_milliseconds": milliseconds}
        files.write_text(path, json.dumps(content, indent=2) + "\n")
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
