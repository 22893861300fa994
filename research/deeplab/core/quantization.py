"""Quantization-aware training: the network simulates 8-bit inference.

Quantizers round values to the numbers that integers will stand for (arXiv 1712.05877, section 3).
They sit where TensorFlow 1's `tf.contrib.quantize` puts them in the official networks: on each
convolution's weight, after batch norm is folded into it; on the output of its activation; and on
sums and products of such values. `quantization_tables` lists the places, and `attach` puts the
quantizers there.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator

import keras
import tensorflow as tf

from deeplab.core import containers, joints, keras_internals, layers, scopes, training_hooks

_BITS = 8
# Share of a moving range that a training step keeps.
_DECAY = 0.999
# A range before the first training step; that of an activation starts at zero.
_LEAST, _GREATEST = -6.0, 6.0
# Official names of the quantizers of: a weight; an activation's output; a convolution's output
# that something is added to before the activation; a sum after the activation; a sum or a product
# of anything else.
WEIGHTS, ACTIVATION, BEFORE_SUM = "weights_quant", "act_quant", "conv_quant"
AFTER_SUM = "post_activation_bypass_quant"
SUM, PRODUCT = "activation_AddV2_quant", "activation_Mul_quant"

# Where the quantizers of a convolution sit if nothing else is said: the name of its activation to
# the joints below the convolution and the quantizers there. Integer convolutions compute a ReLU
# themselves; the values of any other function are rounded before it.
_CONVOLUTION = {
    ".relu": {".relu": ACTIVATION},
    ".relu6": {".relu6": ACTIVATION},
    ".hard_swish": {
        ".linear": BEFORE_SUM,
        ".hard_swish/.relu6": f"../{ACTIVATION}",
        ".hard_swish/.mul": f"hard_swish/mul/{PRODUCT}",
        ".hard_swish/.mul_1": f"hard_swish/mul_1/{PRODUCT}",
    },
    ".q_sigmoid": {
        ".linear": BEFORE_SUM,
        ".q_sigmoid/.relu6": f"../{ACTIVATION}",
        ".q_sigmoid/.mul": f"mul/{PRODUCT}",
    },
}
_OTHER_CONVOLUTION = {".linear": ACTIVATION}
# The place of a convolution's weight, below the convolution.
_WEIGHTS_PLACE = ".weights"


@dataclasses.dataclass(frozen=True)
class Site:
    """A quantizer in each of some places of a network.

    A place is a joint or a weight. Its path is made of the names of the layers around it:
    `MobilenetV2/expanded_conv_3/.add`, or for a convolution `MobilenetV2/Conv/.weights`,
    `MobilenetV2/Conv/.linear` (the output before the activation) and `MobilenetV2/Conv/.relu6`.

    Attributes:
        places: A regular expression that the end of the paths matches, from the beginning of a name
            on.
        name: Official name of the quantizer, relative to the official scope of the layer that has
            the joint or weight; `..` is the scope above, `\\1` the first group of `places`. None:
            there is no quantizer, not even the one that convolutions have by default.
        given: Only where there is a layer in this official scope, relative like `name`.
        unless: Only where there is none.
        only_in_training: Whether values pass as they are in inference.
        divisor: Values are rounded after they are divided by this, and multiplied again.
    """

    places: str
    name: str | None
    given: str | None = None
    unless: str | None = None
    only_in_training: bool = False
    divisor: float = 1.0


class _LastRange:
    """The range of a weight: that of its last values."""

    def __init__(self, least: keras.Variable, greatest: keras.Variable):
        self.ends = (least, greatest)
        self.slots: dict[str, keras.Variable] = {}

    def update(self, *values: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Take the ends of the values' own range; return those to round with."""
        for end, value in zip(self.ends, values, strict=True):
            end.assign(value)
        return values


class _MovingRange(_LastRange):
    """The range of anything else: a moving average, unbiased from the first batch on.

    TensorFlow 1's `assign_moving_average` with `zero_debias`: an average that starts at zero is
    divided by the weight of what it has seen.

    Attributes:
        slots: The variables that this takes, by the end of their official names.
    """

    def __init__(self, least: keras.Variable, greatest: keras.Variable):
        super().__init__(least, greatest)
        self.slots = {
            f"{end}/{name}": _scalar(name, 0.0)
            for end in ("min", "max")
            for name in ("biased", "local_step")
        }

    def update(self, *values: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """See the base class."""
        slots = list(self.slots.values())
        for end, value, biased, step in zip(
            self.ends, values, slots[::2], slots[1::2], strict=True
        ):
            biased.assign_sub((biased.value - value) * (1.0 - _DECAY))
            step.assign_add(1.0)
            end.assign(biased.value / (1.0 - tf.pow(_DECAY, step.value)))
        return tuple(end.value for end in self.ends)


def _scalar(name: str, value: float) -> keras.Variable:
    """Make a float32 variable that does not belong to the network."""
    return keras.Variable(value, dtype="float32", trainable=False, name=name)


def _of_all_replicas(least: tf.Tensor, greatest: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the ends of the values of all replicas, given those of this replica."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return least, greatest
    # Replicas can only sum: each fills in its own row.
    own = tf.one_hot(context.replica_id_in_sync_group, context.num_replicas_in_sync)
    rows = own[:, tf.newaxis] * tf.stack([least, greatest])
    rows = context.all_reduce(tf.distribute.ReduceOp.SUM, rows)
    return tf.reduce_min(rows[:, 0]), tf.reduce_max(rows[:, 1])


class Quantizer(containers.Base):
    """Rounds values to 256 evenly spaced numbers between two ends, zero among them.

    In training the ends follow the values, and gradients pass unless a value lies outside.
    Variables: `min` and `max`; see also `begin_training`.

    Args:
        name: Official name.
        only_in_training: Whether values pass as they are otherwise. Such a quantizer's variables
            are not the network's, they come and go with training.
        divisor: See `Site`.
    """

    def __init__(self, name: str, *, only_in_training: bool = False, divisor: float = 1.0):
        # Values of any type are rounded in float32.
        super().__init__(name=name, autocast=False)
        self.of_weights = name == WEIGHTS
        self.only_in_training = only_in_training
        self.divisor = divisor
        least = 0.0 if name.startswith(ACTIVATION) else _LEAST
        self.initial_ends = {"min": least, "max": _GREATEST}
        self.ends: list[keras.Variable] = []
        self.range: _LastRange | None = None
        self.is_active: Callable[[], tf.Tensor] | None = None

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the ends, two float32 scalars."""
        del input_shape
        if not self.only_in_training:
            self.ends = [
                self.add_weight(
                    name=name,
                    shape=(),
                    initializer=keras.initializers.Constant(value),
                    dtype="float32",
                    trainable=False,
                    autocast=False,
                )
                for name, value in self.initial_ends.items()
            ]

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return the rounded values, of the shape and type of `x`.

        Raises:
            RuntimeError: Training has not been begun with `training_hooks`.
        """
        if not training:
            if self.only_in_training:
                return x
            return self._round(x, *(end.value for end in self.ends))
        if self.range is None:
            raise RuntimeError(
                "before a quantized network is trained, core.training_hooks.begin_training(network)"
                " has to be called; training.trainer.Trainer does"
            )
        if self.divisor != 1.0:
            return self._learn(x / self.divisor) * self.divisor
        return self._learn(x)

    def _learn(self, x: tf.Tensor) -> tf.Tensor:
        """Round the values of a training step and move the range toward theirs."""
        values = tf.cast(tf.stop_gradient(x), tf.float32)
        ends = self.range.update(
            *_of_all_replicas(
                tf.minimum(tf.reduce_min(values), 0.0), tf.maximum(tf.reduce_max(values), 0.0)
            )
        )
        rounded = self._round(x, *ends)
        return rounded if self.is_active is None else tf.where(self.is_active(), rounded, x)

    def _round(self, x: tf.Tensor, least: tf.Tensor, greatest: tf.Tensor) -> tf.Tensor:
        """Round values; those of weights to 255 numbers, symmetric about the middle."""
        rounded = tf.quantization.fake_quant_with_min_max_vars(
            tf.cast(x, tf.float32), least, greatest, _BITS, narrow_range=self.of_weights
        )
        return tf.cast(rounded, x.dtype)

    def begin_training(
        self, schedule: training_hooks.TrainingSchedule, name: str
    ) -> dict[str, keras.Variable]:
        """Start to learn the range; see `training_hooks`.

        Ranges are learned even while values are not rounded yet.
        """
        variables, ends = {}, self.ends
        if self.only_in_training:
            ends = [_scalar(end, value) for end, value in self.initial_ends.items()]
            variables = {f"{name}/{end.name}": end for end in ends}
        self.range = (_LastRange if self.of_weights else _MovingRange)(*ends)
        self.is_active = schedule.is_rounding
        # The official names repeat it.
        return variables | {f"{name}/{name}/{end}": v for end, v in self.range.slots.items()}


class WeightQuantizer(Quantizer):
    """Computes a convolution with a rounded weight; see `layers.Convolution.arithmetic`."""

    def compute(
        self, convolution: layers.Convolution, x: tf.Tensor, padding: str, training: bool
    ) -> tf.Tensor:
        """Convolve the padded input, and normalize or add the bias.

        In training the kernel is scaled by the moving average before it is rounded, and by the
        batch's own deviation afterward, so that it is rounded as in inference and does not jump
        from batch to batch (TensorFlow 1's `fold_batch_norms`, arXiv 1806.08342, section 3.2).
        """
        norm = convolution.batch_norm
        if norm is None or not norm.uses_batch(training):
            kernel, bias = convolution.folded()
            kernel = self(kernel, training=training)
            return convolution.convolve_folded(x, kernel, bias, padding)
        kernel = convolution.kernel.value
        y = convolution.convolve(x, tf.cast(kernel, x.dtype), padding)
        scale, _ = norm.affine()
        factor, offset = norm.batch_correction(y)
        kernel = self(convolution.scale(kernel, scale), training=True)
        y = convolution.convolve(x, tf.cast(kernel, x.dtype), padding)
        return y * tf.cast(factor, y.dtype) + tf.cast(offset, y.dtype)


@dataclasses.dataclass(frozen=True)
class _Place:
    """A place for a quantizer.

    Attributes:
        path: Names of the layers from the network down; see `Site`.
        owner: Official scope of the layer that has the joint or weight.
        layer: The joint, or the convolution whose weight it is.
    """

    path: str
    owner: str
    layer: joints.Joint | layers.Convolution

    def attach(self, quantizer: Quantizer) -> None:
        """Put a quantizer there."""
        if isinstance(self.layer, layers.Convolution):
            self.layer.arithmetic = quantizer
        else:
            self.layer.transform = quantizer


def attach(network: keras.layers.Layer, sites: Iterable[Site] = ()) -> None:
    """Give a network quantizers, before its other variables are made.

    Args:
        network: The network, not called yet.
        sites: Places of quantizers besides those of every convolution, or instead of them.
            If several sites match a place, the first one counts.

    Raises:
        ValueError: A site has no place in the network, or two quantizers have one name.
    """
    places = list(_places(network, ""))
    known_scopes = set(_official_scopes(network, ""))
    names = _default_names(network)
    settings: dict[str, Site] = {}
    decided: set[str] = set()
    for site in sites:
        pattern = re.compile(f"(?:.*/)?{site.places}")
        found = [(place, match) for place in places if (match := pattern.fullmatch(place.path))]
        if not found:
            raise ValueError(
                f"{network.name} has no place for the quantizer {site.name}: no layer is"
                f" {site.places}"
            )
        for place, match in found:
            there = site.given is None or _resolve(place.owner, site.given) in known_scopes
            absent = site.unless is None or _resolve(place.owner, site.unless) not in known_scopes
            if there and absent and place.path not in decided:
                decided.add(place.path)
                settings[place.path] = site
                names[place.path] = site.name and _resolve(place.owner, match.expand(site.name))
    used: dict[str, str] = {}
    with tf.init_scope():
        for place in places:
            name = names.get(place.path)
            if name is None:
                continue
            if name in used:
                raise ValueError(f"the quantizer {name} sits at {used[name]} and at {place.path}")
            used[name] = place.path
            place.attach(_new_quantizer(network, name, settings.get(place.path)))


def _new_quantizer(network: keras.layers.Layer, name: str, site: Site | None) -> Quantizer:
    """Make a quantizer of an official name, and its variables."""
    scope, _, last = name.rpartition("/")
    if last == WEIGHTS:
        quantizer = WeightQuantizer(last)
    elif site is None:
        quantizer = Quantizer(last)
    else:
        quantizer = Quantizer(last, only_in_training=site.only_in_training, divisor=site.divisor)
    with scopes.nested(f"{network.name}/{scope}".rstrip("/")):
        quantizer.build(())
    return quantizer


def _resolve(scope: str, relative: str) -> str:
    """Return the official name of what has a name relative to a scope."""
    return scopes.official(f"{scope}/{relative}")


def _places(layer: keras.layers.Layer, path: str) -> Iterator[_Place]:
    """Find the places below a layer of a path ("" for the network itself), in their order."""
    for child in keras_internals.children(layer):
        below = f"{path}/{child.name}".lstrip("/")
        if isinstance(child, joints.Joint):
            yield _Place(below, scopes.official(path), child)
        yield from _places(child, below)
    if isinstance(layer, layers.Convolution):
        yield _Place(f"{path}/{_WEIGHTS_PLACE}".lstrip("/"), scopes.official(path), layer)


def _official_scopes(layer: keras.layers.Layer, path: str) -> Iterator[str]:
    """Return the official scope of every layer below a layer."""
    for child in keras_internals.children(layer):
        below = f"{path}/{child.name}".lstrip("/")
        yield scopes.official(below)
        yield from _official_scopes(child, below)


def _default_names(network: keras.layers.Layer) -> dict[str, str | None]:
    """Return the quantizers of every convolution, by path of their places."""
    names: dict[str, str | None] = {}

    def add(layer: keras.layers.Layer, path: str) -> None:
        if isinstance(layer, layers.Convolution):
            kind = layer.activation.name if layer.activation else None
            rounded = _CONVOLUTION.get(kind, _OTHER_CONVOLUTION)
            for joint, name in {_WEIGHTS_PLACE: WEIGHTS, **rounded}.items():
                names[f"{path}/{joint}".lstrip("/")] = _resolve(path, name)
        for child in keras_internals.children(layer):
            add(child, f"{path}/{child.name}".lstrip("/"))

    add(network, "")
    return names
