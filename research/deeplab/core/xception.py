"""Xception (arXiv 1610.02357) as DeepLab v3+ modified it: deeper, strides in place of pooling.

See arXiv 1802.02611, section 3.2 and figure 4; official `core/xception.py`.
"""

import dataclasses
from collections.abc import Sequence

import keras
import tensorflow as tf

from deeplab.core import atrous, blocks, containers, joints, layers, normalization

EXIT_FLOW = ((728, 1024, 1024), (1536, 1536, 2048))
MIDDLE_FILTERS = 728
_SQUEEZE_FACTOR = 16
_BOUND = 6.0

_INITIALIZER = layers.truncated_normal(0.09)
_NORMALIZED = {
    "batch_norm": normalization.BatchNormOptions(decay=0.9997, epsilon=1e-3),
    "initializer": _INITIALIZER,
}


@dataclasses.dataclass(frozen=True)
class Depth:
    """The numbers of modules of an Xception.

    Attributes:
        entry_flow: (channels, stride) of each module of the entry flow.
        middle_units: Number of modules of the middle flow.
    """

    entry_flow: tuple[tuple[int, int], ...]
    middle_units: int


# The networks by official scope. Xception-65 is that of DeepLab v3+.
DEPTHS = {
    "xception_41": Depth(((128, 2), (256, 2), (728, 2)), 8),
    "xception_65": Depth(((128, 2), (256, 2), (728, 2)), 16),
    "xception_71": Depth(((128, 2), (256, 1), (256, 2), (728, 1), (728, 2)), 16),
}


def clip(x: tf.Tensor) -> tf.Tensor:
    """Bound a value that is not activated."""
    return tf.clip_by_value(x, -_BOUND, _BOUND)


class XceptionModule(containers.Container):
    """Three separable convolutions and a shortcut around them.

    A module with a shortcut activates before its separable convolutions and is linear otherwise;
    one without activates after each of their halves.

    Args:
        filters: Channels of each separable convolution.
        shortcut: "conv" for a projection, "sum" for the input itself, "none".
        stride: Stride of the last separable convolution and the projection.
        rates: Atrous rate of each separable convolution.
        bounded_activation: ReLU6 in place of ReLU, and no value beyond +-6 anywhere.
        squeeze_and_excitation: Whether the channels are gated before the shortcut is added.
        regularize_depthwise: `blocks.SeparableConv2D` in place of a depthwise and a pointwise
            convolution that each have their batch norm.
    """

    def __init__(
        self,
        filters: Sequence[int],
        *,
        shortcut: str,
        stride: int,
        rates: Sequence[int],
        bounded_activation: bool,
        squeeze_and_excitation: bool,
        regularize_depthwise: bool,
    ):
        super().__init__(name="xception_module")
        self.bounded_activation = bounded_activation
        activation = tf.nn.relu6 if bounded_activation else tf.nn.relu
        if shortcut == "none":
            inner_activation = activation
        else:
            inner_activation = clip if bounded_activation else None
        self.add = joints.Add() if shortcut != "none" else None
        self.separable_convs = []
        for index, channels in enumerate(filters):
            spatial = {
                "stride": stride if index == len(filters) - 1 else 1,
                "rate": rates[index],
                "symmetric_padding": not bounded_activation,
                "activation": inner_activation,
            }
            name = f"separable_conv{index + 1}"
            if regularize_depthwise:
                conv = [blocks.SeparableConv2D(channels, 3, name=name, **spatial, **_NORMALIZED)]
            else:
                conv = [
                    layers.DepthwiseConv2D(3, name=f"{name}_depthwise", **spatial, **_NORMALIZED),
                    layers.Conv2D(
                        channels,
                        1,
                        activation=inner_activation,
                        name=f"{name}_pointwise",
                        **_NORMALIZED,
                    ),
                ]
            self.separable_convs.append(conv)
        self.activations = []
        if shortcut != "none":
            self.activations = [
                joints.Activation(activation, f".relu_{number}")
                for number in range(1, len(filters) + 1)
            ]
        self.squeeze_excite = None
        if squeeze_and_excitation:
            squeezed = 8 * round(filters[-1] / _SQUEEZE_FACTOR / 8)
            self.squeeze_excite = blocks.SqueezeExcite(squeezed, filters[-1], _INITIALIZER)
        self.projection = None
        if shortcut == "conv":
            self.projection = layers.Conv2D(
                filters[-1], 1, stride=stride, name="shortcut", **_NORMALIZED
            )

    def call(self, x: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """[B, H, W, C] -> [B, h, w, filters], and the end points.

        These are the output, `xception_module`, and those of its separable convolutions, named
        after the last layer of each, e.g. `xception_module/separable_conv2_pointwise`.
        """
        inner = {}
        y = x
        for index, conv in enumerate(self.separable_convs):
            if self.activations:
                y = self.activations[index](y)
            y = inner[f"{self.name}/{conv[-1].name}"] = containers.apply(conv, y, training)
        if self.squeeze_excite:
            y = self.squeeze_excite(y, training=training)
        if self.add:
            shortcut = self.projection(x, training=training) if self.projection else x
            if self.bounded_activation:
                y = tf.nn.relu6(self.add(clip(y), clip(shortcut)))
            else:
                y = self.add(y, shortcut)
        return y, {self.name: y, **inner}


class Xception(containers.Container):
    """Entry, middle and exit flow; 2048 channels.

    End points, for each module: `<flow>/block<i>/unit_<j>/xception_module` and, below it, its
    separable convolutions, as in the official code.

    Args:
        name: Official scope: a key of `DEPTHS`.
        output_stride: Ratio of image size to feature size: 2, 4, 8, 16 or 32.
        multi_grid: Factors on the atrous rates of the last module's separable convolutions; None:
            (1, 1, 1).
        bounded_activation: See `XceptionModule`; strided separable convolutions then are padded at
            the bottom and right only where sizes are even.
        squeeze_and_excitation: Whether modules of 728 and 1024 channels gate their channels.
        regularize_depthwise: See `XceptionModule`.
        num_classes: Classes of an image classification head; None: no head, the features are
            returned.

    Raises:
        ValueError: An output stride or multi_grid that the network cannot have.
    """

    def __init__(
        self,
        name: str,
        output_stride: int,
        *,
        multi_grid: Sequence[int] | None = None,
        bounded_activation: bool = False,
        squeeze_and_excitation: bool = False,
        regularize_depthwise: bool = False,
        num_classes: int | None = None,
    ):
        super().__init__(name=name)
        depth = DEPTHS[name]
        if output_stride not in (2, 4, 8, 16, 32):
            raise ValueError(f"--output_stride is {output_stride}; {name} takes 2, 4, 8, 16 and 32")
        multi_grid = multi_grid or (1, 1, 1)
        if len(multi_grid) != 3:
            raise ValueError(f"--multi_grid has {multi_grid}; {name} takes three rates")
        strides = atrous.AtrousStrides(output_stride)
        stem_stride, _ = strides.next(2)
        activation = tf.nn.relu6 if bounded_activation else tf.nn.relu

        def module(
            filters: Sequence[int],
            designed_stride: int = 1,
            shortcut: str = "conv",
            grid: Sequence[int] = (1, 1, 1),
        ) -> XceptionModule:
            stride, rate = strides.next(designed_stride)
            return XceptionModule(
                filters,
                shortcut=shortcut,
                stride=stride,
                rates=[rate * factor for factor in grid],
                bounded_activation=bounded_activation,
                squeeze_and_excitation=squeeze_and_excitation and filters[-1] in (728, 1024),
                regularize_depthwise=regularize_depthwise,
            )

        self.stem = containers.Scope(
            "entry_flow",
            layers.Conv2D(
                32,
                3,
                stride=stem_stride,
                symmetric_padding=True,
                activation=activation,
                name="conv1_1",
                **_NORMALIZED,
            ),
            layers.Conv2D(64, 3, activation=activation, name="conv1_2", **_NORMALIZED),
        )
        self.flows = [
            _flow("entry_flow", [[module([n] * 3, stride)] for n, stride in depth.entry_flow]),
            _flow(
                "middle_flow",
                [[module([MIDDLE_FILTERS] * 3, shortcut="sum") for _ in range(depth.middle_units)]],
            ),
            _flow(
                "exit_flow",
                [
                    [module(EXIT_FLOW[0], 2)],
                    [module(EXIT_FLOW[1], shortcut="none", grid=multi_grid)],
                ],
            ),
        ]
        self.classifier = None
        if num_classes:
            self.dropout = keras.layers.Dropout(0.5)
            self.classifier = layers.Conv2D(
                num_classes,
                1,
                use_bias=True,
                initializer=_INITIALIZER,
                name="logits",
            )

    def call(self, x: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Images in [-1, 1] [B, H, W, 3] -> features [B, h, w, 2048] and the end points.

        With a classification head, logits [B, 1, 1, num_classes] in place of the features, and
        the end points `global_pool` and `predictions` (probabilities) as well.
        """
        end_points = {}
        x = self.stem(x, training=training)
        for flow in self.flows:
            x, inner = flow(x, training=training)
            end_points |= inner
        if self.classifier:
            x = end_points["global_pool"] = tf.reduce_mean(x, axis=(1, 2), keepdims=True)
            x = self.classifier(self.dropout(x, training=training), training=training)
            end_points["predictions"] = tf.nn.softmax(x)
        return x, end_points


def _flow(name: str, blocks: Sequence[Sequence[XceptionModule]]) -> containers.Stack:
    """Nest the modules of each block of a flow: `<name>/block<i>/unit_<j>/xception_module`."""
    return containers.Stack(
        name,
        [
            containers.Stack(
                f"block{number}",
                [
                    containers.Stack(f"unit_{unit}", [part])
                    for unit, part in enumerate(parts, start=1)
                ],
            )
            for number, parts in enumerate(blocks, start=1)
        ],
    )
