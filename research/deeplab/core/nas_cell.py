"""The cell that NAS networks stack (arXiv 1707.07012 and 1712.00559).

Batch norms here have scopes of their own beside those of their convolutions, not inside them.
"""

from collections.abc import Callable

import keras
import tensorflow as tf

from deeplab.core import (
    blocks,
    containers,
    joints,
    layers,
    nas_genotypes,
    normalization,
    training_hooks,
    utils,
)

BATCH_NORM = normalization.BatchNormOptions(decay=0.9997, epsilon=1e-3)
_ATROUS_RATE = 2


def initializer() -> keras.initializers.Initializer:
    """Return the initializer of every convolution: uniform, with variance 1 / (3 fan-in)."""
    return keras.initializers.VarianceScaling(1 / 3, mode="fan_in", distribution="uniform")


def conv2d(
    filters: int, kernel_size: int, name: str, batch_norm_name: str | None = None, **kwargs
) -> layers.Conv2D:
    """Return a convolution without bias; a named batch norm lies in the scope beside it."""
    if batch_norm_name:
        kwargs |= {"batch_norm": BATCH_NORM, "batch_norm_name": f"../{batch_norm_name}"}
    return layers.Conv2D(filters, kernel_size, initializer=initializer(), name=name, **kwargs)


class ReluConv(containers.Layer):
    """ReLU and a convolution, which has batch norm.

    Args:
        conv: The convolution.
        halves: Resize the output of the ReLU to half the size.
    """

    def __init__(self, conv: layers.Conv2D | blocks.SeparableConv2D, *, halves: bool = False):
        super().__init__(name=f".{conv.name}")
        self.conv = conv
        self.halves = halves
        self.relu = joints.Activation(tf.nn.relu)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the variables for `input_shape` [B, H, W, C]."""
        self.conv.build(input_shape)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """[B, H, W, C] -> [B, h, w, filters]."""
        x = self.relu(x)
        if self.halves:
            size = [utils.scale_dimension(side, 0.5) for side in utils.size(x)]
            x = utils.resize_bilinear(x, size)
        return self.conv(x, training=training)


class Operation(containers.Layer):
    """One operation of a cell; its scope is `left` or `right`.

    Args:
        design: Kind, size and input.
        filters: Channels of its input and output.
        stride: Stride of the cell; it applies to states from outside the cell only.
        name: The official scope.
    """

    def __init__(self, design: nas_genotypes.OperationDesign, filters: int, stride: int, name: str):
        super().__init__(name=name)
        self.design = design
        self.stride = stride if design.state < 2 else 1
        size = f"{design.kernel_size}x{design.kernel_size}"
        self.steps = []
        match design.kind:
            case "separable":
                for number, each in ((1, self.stride), (2, 1)):
                    conv = blocks.SeparableConv2D(
                        filters,
                        design.kernel_size,
                        stride=each,
                        symmetric_padding=True,
                        batch_norm=BATCH_NORM,
                        batch_norm_name=f"../bn_sep_{size}_{number}",
                        initializer=initializer(),
                        name=f"separable_{size}_{number}",
                    )
                    self.steps.append(ReluConv(conv))
            case "atrous":
                # Where the cell halves its input, the convolution is plain.
                halves = self.stride > 1
                conv = conv2d(
                    filters,
                    design.kernel_size,
                    f"atrous_{size}",
                    f"bn_atr_{size}",
                    rate=1 if halves else _ATROUS_RATE,
                )
                self.steps.append(ReluConv(conv, halves=halves))
            case "none" if self.stride > 1:
                conv = conv2d(filters, 1, "1x1", "bn_1", stride=self.stride)
                self.steps.append(ReluConv(conv))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the variables for `input_shape` [B, H, W, filters]."""
        for step in self.steps:
            step.build(input_shape)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """[B, H, W, filters] -> [B, ceil(H / stride), ceil(W / stride), filters]."""
        if self.design.kind == "max_pool":
            return tf.nn.max_pool2d(x, self.design.kernel_size, self.stride, "SAME")
        return containers.apply(self.steps, x, training)


class Combination(containers.Layer):
    """The sum of two operations; its scope is `comb_iter_<i>`.

    Args:
        designs: The operations.
        filters: Channels of their inputs and outputs.
        stride: Stride of the cell.
        name: The official scope.
    """

    def __init__(
        self,
        designs: tuple[nas_genotypes.OperationDesign, nas_genotypes.OperationDesign],
        filters: int,
        stride: int,
        name: str,
    ):
        super().__init__(name=name)
        self.operations = [
            Operation(design, filters, stride, side)
            for design, side in zip(designs, ("left", "right"), strict=True)
        ]
        self.sum = joints.AddN()

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the variables for states of `input_shape` [B, H, W, filters]."""
        for operation in self.operations:
            operation.build(input_shape)

    def call(
        self, states: list[tf.Tensor], kept: tf.Tensor | None = None, training: bool = False
    ) -> tf.Tensor:
        """Return the sum of the operations on their states.

        Args:
            states: States of the cell so far, [B, H, W, filters] each.
            kept: Factors on the operations' outputs [B, 2]; None: none. A state that is passed on
                as it is has no factor.
            training: Whether batch statistics are used.
        """
        outputs = []
        for index, operation in enumerate(self.operations):
            y = operation(states[operation.design.state], training=training)
            if kept is not None and operation.design.kind != "none":
                y *= tf.cast(kept[:, index, tf.newaxis, tf.newaxis, tf.newaxis], y.dtype)
            outputs.append(y)
        return self.sum(*outputs)


class DropPath(containers.Base):
    """Chooses which operations of a cell are dropped for an image in training.

    Official `_apply_drop_path`: the deeper the cell and the later in training, the more.
    As there, cells do so only while their batch norms train too.

    Args:
        depth: Share of the network's cells up to this one, itself included.
    """

    def __init__(self, depth: float):
        super().__init__(name=".drop_path")
        self.depth = depth
        self.keep_probability = 1.0
        self.progress: Callable[[], tf.Tensor] | None = None
        self.seed_generator = keras.random.SeedGenerator()

    def begin_training(
        self, schedule: training_hooks.TrainingSchedule, name: str
    ) -> dict[str, keras.Variable]:
        """Drop operations from now on; see `training_hooks`."""
        del name
        self.keep_probability = schedule.drop_path_keep_prob
        self.progress = schedule.progress
        return {}

    def call(self, x: tf.Tensor, paths: int) -> tf.Tensor:
        """Draw factors on the outputs of `paths` operations for each image: float32 [B, paths].

        A factor is 0, or such that its mean is 1.
        """
        progress = tf.clip_by_value(tf.cast(self.progress(), tf.float32), 0.0, 1.0)
        keep = 1.0 - progress * self.depth * (1.0 - self.keep_probability)
        random = keras.random.uniform((tf.shape(x)[0], paths), seed=self.seed_generator)
        return tf.floor(keep + random) / keep


class Cell(containers.Layer):
    """A NAS cell: operations on its input and the input of the cell before, concatenated.

    Args:
        genotype: The operations of the cell.
        filters: Channels of each operation and sum.
        stride: 2 halves the features.
        upsample: Double the input first.
        previous_channels: Channels of the input of the cell before.
        depth: Share of the network's cells up to this one, itself included.
        name: The official scope.
    """

    def __init__(
        self,
        genotype: nas_genotypes.Genotype,
        filters: int,
        *,
        stride: int,
        upsample: bool,
        previous_channels: int,
        depth: float,
        name: str,
    ):
        super().__init__(name=name)
        self.filters = filters
        self.channels = len(genotype) * filters
        self.upsample = upsample
        self.previous = None
        if previous_channels != filters:
            self.previous = ReluConv(conv2d(filters, 1, "prev_1x1", "prev_bn"))
        self.beginning = ReluConv(conv2d(filters, 1, "1x1", "beginning_bn"))
        self.combinations = [
            Combination(designs, filters, stride, f"comb_iter_{index}")
            for index, designs in enumerate(genotype)
        ]
        self.drop_path = DropPath(depth)

    def build(
        self, x_shape: tuple[int | None, ...], previous_shape: tuple[int | None, ...]
    ) -> None:
        """Make the variables for inputs of these shapes [B, H, W, C]."""
        if self.previous:
            self.previous.build(previous_shape)
        self.beginning.build(x_shape)
        for part in (*self.combinations, self.drop_path):
            part.build((None, None, None, self.filters))

    def call(self, x: tf.Tensor, previous: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return the cell's output.

        Args:
            x: The features so far [B, H, W, C].
            previous: Input of the cell before, [B, H', W', C']; it is resized to `x`.
            training: Whether batch statistics are used and operations are dropped.

        Returns:
            [B, h, w, len(genotype) * filters].
        """
        if self.upsample:
            x = utils.resize_bilinear(x, [utils.scale_dimension(side, 2) for side in utils.size(x)])
        previous = utils.resize_bilinear(previous, utils.size(x))
        if self.previous:
            previous = self.previous(previous, training=training)
        states = [self.beginning(x, training=training), previous]
        kept = None
        if self.drop_path.keep_probability < 1.0 and self.beginning.conv.batch_norm.uses_batch(
            training
        ):
            kept = self.drop_path(x, paths=2 * len(self.combinations))
        for index, combination in enumerate(self.combinations):
            factors = None if kept is None else kept[:, 2 * index : 2 * index + 2]
            states.append(combination(states, factors, training=training))
        return tf.concat(states[2:], axis=-1)
