"""The common form of all MobileNets: a stem, inverted bottlenecks, and a last convolution.

A network is a table of `BlockDesign`s, see `mobilenet_v2`, `mobilenet_v3` and `mobilenet_edgetpu`.
Official: slim's `mobilenet_base` and `conv_blocks`.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from deeplab.core import atrous, blocks, containers, joints, layers, normalization

# Channels inside blocks are multiples of this, whatever those of their outputs are.
_INNER_DIVISOR = 8
_OUTPUT_STRIDES = (1, 2, 4, 8, 16, 32)
_SQUEEZE_FACTOR = 4


def make_divisible(channels: float, divisor: int, least: int | None = None) -> int:
    """Round `channels` to a multiple of `divisor` that is at least 90 % of it.

    Args:
        channels: The number to round.
        divisor: Divisor of the result, unless the result is `least`.
        least: Smallest result before the 90 % are enforced; None: `divisor`.
    """
    rounded = max(least or divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockDesign:
    """The design of a block, at depth multiplier 1 and before strides turn into atrous rates.

    Attributes:
        filters: Channels of the output.
        expansion: Channels inside the block, as a multiple of the input's; 1: no expansion.
        kernel_size: Kernel size of the depthwise convolution, or of the fused one.
        stride: Stride of the same convolution.
        activation: After the expansion and after the depthwise convolution.
        squeeze_excite: Whether the block gates its inner channels.
        fused: Whether one full convolution stands for expansion and depthwise convolution.
        residual: Whether the input is added where it has the output's shape.
    """

    filters: int
    expansion: float
    kernel_size: int = 3
    stride: int = 1
    activation: joints.ActivationKind = tf.nn.relu
    squeeze_excite: bool = False
    fused: bool = False
    residual: bool = True


def _convolution_options() -> dict[str, Any]:
    """Return batch norm and initializer of a convolution; an initializer draws only once."""
    return {
        "batch_norm": normalization.BatchNormOptions(decay=0.997, epsilon=1e-3),
        "initializer": layers.truncated_normal(0.09),
    }


class InvertedBottleneck(containers.Container):
    """Expansion, depthwise convolution, squeeze-and-excitation, linear projection, residual.

    Variables: `expand/...`, `depthwise/...`, `squeeze_excite/...` and `project/...`, those that
    the design has.

    Args:
        design: The design of the block.
        channels: Channels of the input.
        filters: Channels of the output.
        stride: Between output pixels; a fused block has that of its design.
        rate: Atrous rate of the depthwise convolution.
        name: The official scope.
    """

    def __init__(
        self, design: BlockDesign, channels: int, filters: int, stride: int, rate: int, name: str
    ):
        super().__init__(name=name)
        if design.fused:
            # The official code does not turn these strides into rates.
            stride = design.stride
        inner = channels
        self.expand = self.depthwise = self.squeeze_excite = None
        if design.expansion != 1:
            inner = make_divisible(channels * design.expansion, _INNER_DIVISOR)
            self.expand = layers.Conv2D(
                inner,
                design.kernel_size if design.fused else 1,
                stride=stride if design.fused else 1,
                activation=design.activation,
                name="expand",
                **_convolution_options(),
            )
        if not design.fused:
            self.depthwise = layers.DepthwiseConv2D(
                design.kernel_size,
                stride=stride,
                rate=rate,
                activation=design.activation,
                name="depthwise",
                **_convolution_options(),
            )
        if design.squeeze_excite:
            squeezed = make_divisible(inner / _SQUEEZE_FACTOR, _INNER_DIVISOR)
            self.squeeze_excite = blocks.SqueezeExcite(
                squeezed, inner, layers.truncated_normal(0.09)
            )
        self.project = layers.Conv2D(filters, 1, name="project", **_convolution_options())
        self.residual = design.residual and stride == 1 and filters == channels
        if self.residual:
            self.add = joints.Add()

    def call(self, x: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, tf.Tensor | None]:
        """[B, H, W, C] -> the block's output, and that of its depthwise convolution if any."""
        y, depthwise = x, None
        if self.expand:
            y = self.expand(y, training=training)
        if self.depthwise:
            y = depthwise = self.depthwise(y, training=training)
        if self.squeeze_excite:
            y = self.squeeze_excite(y, training=training)
        y = self.project(y, training=training)
        if self.residual:
            y = self.add(y, x)
        return y, depthwise


class Mobilenet(containers.Container):
    """A MobileNet up to its features, without what only classifies images.

    End points: `layer_<n>` and `layer_<n>/depthwise_output` (before squeeze-and-excitation), n
    from 1 (the first convolution) on, as in the official code.

    Args:
        blocks: The designs of its bottlenecks.
        output_stride: Ratio of image size to feature size: 1, 2, 4, 8, 16 or 32.
        stem_filters: Channels of the first convolution, 3x3 with stride 2.
        last_filters: Channels of a 1x1 convolution after the bottlenecks; None: there is none.
        multiply_last: Whether the depth multiplier applies to them.
        activation: Activation of the first and the last convolution.
        depth_multiplier: Factor on the channels of every convolution and block.
        divisible_by: These are rounded to multiples of this.
        min_depth: The smallest number of channels.
        name: The official scope.

    Raises:
        ValueError: The output stride is none of these.
    """

    def __init__(
        self,
        blocks: Sequence[BlockDesign],
        output_stride: int,
        *,
        stem_filters: int,
        last_filters: int | None = None,
        multiply_last: bool = True,
        activation: joints.ActivationKind,
        depth_multiplier: float,
        divisible_by: int = 8,
        min_depth: int = 8,
        name: str,
    ):
        if output_stride not in _OUTPUT_STRIDES:
            raise ValueError(
                f"--output_stride is {output_stride}; {name} takes {list(_OUTPUT_STRIDES)}"
            )
        super().__init__(name=name)

        def scaled(filters: int) -> int:
            return make_divisible(filters * depth_multiplier, divisible_by, min_depth)

        strides = atrous.AtrousStrides(output_stride)
        stride, _ = strides.next(2)
        channels = scaled(stem_filters)
        self.stem = layers.Conv2D(
            channels,
            3,
            stride=stride,
            activation=activation,
            name="Conv",
            **_convolution_options(),
        )
        self.blocks = []
        for index, design in enumerate(blocks):
            stride, rate = strides.next(design.stride)
            filters = scaled(design.filters)
            scope = f"expanded_conv_{index}" if index else "expanded_conv"
            self.blocks.append(InvertedBottleneck(design, channels, filters, stride, rate, scope))
            channels = filters
        self.last = None
        if last_filters:
            self.last = layers.Conv2D(
                scaled(last_filters) if multiply_last else last_filters,
                1,
                activation=activation,
                name="Conv_1",
                **_convolution_options(),
            )

    def call(self, x: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Images in [-1, 1] [B, H, W, 3] -> features [B, h, w, C] and the end points."""
        end_points = {}
        x = end_points["layer_1"] = self.stem(x, training=training)
        for number, block in enumerate(self.blocks, start=2):
            x, depthwise = block(x, training=training)
            end_points[f"layer_{number}"] = x
            if depthwise is not None:
                end_points[f"layer_{number}/depthwise_output"] = depthwise
        if self.last:
            x = end_points[f"layer_{len(self.blocks) + 2}"] = self.last(x, training=training)
        return x, end_points
