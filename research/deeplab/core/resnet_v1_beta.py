"""ResNet v1 (arXiv 1512.03385), with atrous convolution and multi-grid (arXiv 1706.05587).

The beta variants begin with three 3x3 convolutions in place of one of 7x7. As in the official
code a block is strided in its last unit, not in the first one of the next block.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from deeplab.core import atrous, containers, joints, layers, normalization
from deeplab.core.weight_sources import WeightSources

# Makes a convolution from its filters, kernel size and the keyword arguments of `layers.Conv2D`.
MakeConvolution = Callable[..., layers.Conv2D]

_batch_normalized = functools.partial(
    layers.Conv2D, batch_norm=normalization.BatchNormOptions(decay=0.95, epsilon=1e-5)
)

_COPIED_UNIT = re.compile(r"(resnet_v1_\d+)/block(?:[5-9]|\d\d+)/unit_(\d+)/(.*)")

# Filters of the units' 3x3 convolutions, by block.
FILTERS = (64, 128, 256, 512)
# Stride of the layers before the blocks.
_STEM_STRIDE = 4


def _copied(name: str) -> str:
    """Return the variable of the last block that one of a copy of it starts from."""
    match = _COPIED_UNIT.fullmatch(name)
    if not match:
        return name
    network, unit, rest = match.groups()
    # The first unit of the last block has a projection and fewer inputs; no unit of a copy has.
    return f"{network}/block4/unit_{max(int(unit), 2)}/{rest}"


# A copy of the last block (arXiv 1706.05587, section 3.2) starts as what it copies.
WEIGHT_SOURCES = WeightSources(source=_copied)


def variance_scaling() -> keras.initializers.Initializer:
    """Return the initializer `slim.variance_scaling_initializer`: a normal cut at two deviations.

    The deviation is sqrt(2.6 / inputs) before the cut, which leaves about sqrt(2 / inputs).
    """
    # Keras scales the variance after the cut.
    kept = 0.8796256610342398
    return keras.initializers.VarianceScaling(2.6 * kept**2, "fan_in", "truncated_normal")


class ResidualUnit(containers.Container):
    """Convolutions, and a shortcut around them that is added before the ReLU.

    A subclass has `make_convolutions(conv, filters, rate)`: the convolutions, to be applied in
    turn, the last one linear.

    Args:
        conv: Makes the convolutions.
        inputs: Channels of the input.
        filters: Channels of the 3x3 convolutions.
        stride: Stride of the unit.
        rate: Atrous rate of the 3x3 convolutions.

    Attributes:
        scope: Its official scope.
        end_point: The official name of its last convolution's output.
        expansion: Output channels for each filter of the 3x3 convolutions.
    """

    scope = ""
    end_point = ""
    expansion = 1

    def __init__(self, conv: MakeConvolution, inputs: int, filters: int, stride: int, rate: int):
        super().__init__(name=self.scope)
        self.stride = stride
        outputs = filters * self.expansion
        self.shortcut = None
        if inputs != outputs:
            self.shortcut = conv(outputs, 1, stride=stride, name="shortcut")
        self.convs = self.make_convolutions(conv, filters, rate)
        self.add = joints.Add()
        self.activation = joints.Activation(tf.nn.relu)

    def call(self, x: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """[B, H, W, inputs] -> the unit's output, and the end points.

        These are the output and that of the last convolution, before the shortcut is added.
        """
        residual = containers.apply(self.convs, x, training)
        if self.shortcut:
            x = self.shortcut(x, training=training)
        elif self.stride > 1:
            x = x[:, :: self.stride, :: self.stride]
        y = self.activation(self.add(x, residual))
        return y, {self.name: y, self.end_point: residual}


class Bottleneck(ResidualUnit):
    """1x1, 3x3 and 1x1 convolutions."""

    scope = "bottleneck_v1"
    end_point = "bottleneck_v1/conv3"
    expansion = 4

    def make_convolutions(
        self, conv: MakeConvolution, filters: int, rate: int
    ) -> list[keras.layers.Layer]:
        """See the base class."""
        relu = tf.nn.relu
        return [
            conv(filters, 1, activation=relu, name="conv1"),
            conv(filters, 3, stride=self.stride, rate=rate, activation=relu, name="conv2"),
            conv(filters * self.expansion, 1, name="conv3"),
        ]


class LiteBottleneck(ResidualUnit):
    """Two 3x3 convolutions, both dilated, the second strided."""

    scope = "lite_bottleneck_v1"
    end_point = "lite_bottleneck_v1/conv2"

    def make_convolutions(
        self, conv: MakeConvolution, filters: int, rate: int
    ) -> list[keras.layers.Layer]:
        """See the base class."""
        return [
            conv(filters, 3, rate=rate, activation=tf.nn.relu, name="conv1"),
            conv(filters, 3, stride=self.stride, rate=rate, name="conv2"),
        ]


@dataclasses.dataclass(frozen=True)
class _Architecture:
    """The networks of one depth.

    Attributes:
        unit: Kind of the units.
        units: Number of units in each block; Table 1 of the paper.
        beta_filters: Channels of the three convolutions that the beta variant begins with.
    """

    unit: type[ResidualUnit]
    units: tuple[int, ...]
    beta_filters: tuple[int, int, int]


ARCHITECTURES = {
    18: _Architecture(LiteBottleneck, (2, 2, 2, 2), (16, 16, 32)),
    50: _Architecture(Bottleneck, (3, 4, 6, 3), (64, 64, 128)),
    101: _Architecture(Bottleneck, (3, 4, 23, 3), (64, 64, 128)),
}


def decoder_end_points(depth: int) -> dict[int, str]:
    """Return, by output stride, the end point that the decoder takes there.

    It is the end point of the last unit of a block before the unit with the stride.
    """
    architecture = ARCHITECTURES[depth]
    return {
        _STEM_STRIDE * 2**index: f"block{index + 1}/unit_{units - 1}/{architecture.unit.end_point}"
        for index, units in enumerate(architecture.units[:-1])
    }


class ResNetV1(containers.Container):
    """A ResNet up to its last block, or with its classification head.

    The last block may be followed by copies of itself (arXiv 1706.05587, section 3.2): blocks 5, 6
    and so on, each block but the very last strided, which makes 256 the output stride of a network
    with three copies. A finer output stride gives each block a rate of its own: at 16 these are 2,
    4, 8 and 16 for the blocks 4 to 7.

    End points, for each unit: `block<i>/unit_<j>/bottleneck_v1` and, below it, its last
    convolution before the shortcut is added, `conv3`, as in the official code; with 18 layers
    `block<i>/unit_<j>/lite_bottleneck_v1` and `conv2`.

    Its name, which is the official scope, is `resnet_v1_<depth>`.

    Args:
        depth: 18, 50 or 101 layers.
        output_stride: Ratio of image size to feature size: 4, 8, 16 or 32; with copies also
            64, 128 and so on.
        beta: Begin with three 3x3 convolutions.
        multi_grid: Factors on the atrous rate of the units of the last block and its copies;
            None: 1.
        cascaded_blocks: Copies of the last block.
        num_classes: Classes of an image classification head; None: no head, the features are
            returned.
        convolution: Makes the convolutions, their normalization included.

    Raises:
        ValueError: An output stride that the network cannot have, or a wrong number of
            factors.
    """

    def __init__(
        self,
        depth: int,
        output_stride: int,
        *,
        beta: bool = False,
        multi_grid: Sequence[int] | None = None,
        cascaded_blocks: int = 0,
        num_classes: int | None = None,
        convolution: MakeConvolution = _batch_normalized,
    ):
        super().__init__(name=f"resnet_v1_{depth}")
        architecture = ARCHITECTURES[depth]
        # Filters, and a factor on the rate of each unit. Every block but the last is strided.
        blocks = [
            (filters, (1,) * count)
            for filters, count in zip(FILTERS, architecture.units, strict=True)
        ]
        if multi_grid:
            filters, unit_rates = blocks[-1]
            if len(multi_grid) != len(unit_rates):
                raise ValueError(
                    f"--multi_grid has {tuple(multi_grid)}; {self.name} takes {len(unit_rates)}"
                    " values, one for each unit of its last block"
                )
            blocks[-1] = filters, tuple(multi_grid)
        blocks += [blocks[-1]] * cascaded_blocks
        possible = [_STEM_STRIDE * 2**index for index in range(len(blocks))]
        if output_stride not in possible:
            raise ValueError(f"--output_stride is {output_stride}; {self.name} takes {possible}")

        def conv(filters: int, kernel_size: int, **kwargs) -> layers.Conv2D:
            return convolution(
                filters,
                kernel_size,
                symmetric_padding=True,
                initializer=variance_scaling(),
                **kwargs,
            )

        relu = tf.nn.relu
        if beta:
            self.stem = [
                conv(filters, 3, stride=stride, activation=relu, name=f"conv1_{number}")
                for number, (filters, stride) in enumerate(
                    zip(architecture.beta_filters, (2, 1, 1), strict=True), start=1
                )
            ]
        else:
            self.stem = [conv(64, 7, stride=2, activation=relu, name="conv1")]

        strides = atrous.AtrousStrides(output_stride // _STEM_STRIDE)
        channels = self.stem[-1].filters
        self.blocks: list[containers.Stack] = []
        for block, (filters, unit_rates) in enumerate(blocks, start=1):
            units = []
            for number, unit_rate in enumerate(unit_rates, start=1):
                is_strided = number == len(unit_rates) and block < len(blocks)
                stride, rate = strides.next(2 if is_strided else 1)
                unit = architecture.unit(conv, channels, filters, stride, rate * unit_rate)
                units.append(containers.Stack(f"unit_{number}", [unit]))
                channels = filters * architecture.unit.expansion
            self.blocks.append(containers.Stack(f"block{block}", units))

        self.classifier = None
        if num_classes:
            self.classifier = layers.Conv2D(
                num_classes, 1, use_bias=True, initializer=variance_scaling(), name="logits"
            )

    def call(self, x: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Preprocessed images [B, H, W, 3] -> features [B, h, w, C] and the end points.

        With a classification head, logits [B, 1, 1, num_classes] in place of the features, and
        the end point `predictions` (probabilities) as well.
        """
        x = containers.apply(self.stem, x, training)
        x = tf.nn.max_pool2d(x, 3, 2, "SAME")
        end_points = {}
        for block in self.blocks:
            x, inner = block(x, training=training)
            end_points |= inner
        if self.classifier:
            x = self.classifier(tf.reduce_mean(x, axis=(1, 2), keepdims=True))
            end_points["predictions"] = tf.nn.softmax(x)
        return x, end_points
