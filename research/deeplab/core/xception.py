"""Xception (arXiv 1610.02357) as DeepLab v3+ modified it: deeper, strides in place of pooling.

See arXiv 1802.02611, section 3.2 and figure 4; official `core/xception.py`.
"""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from deeplab.core import atrous, blocks, layers, quantization, scopes

_EXIT_FLOW = ((728, 1024, 1024), (1536, 1536, 2048))
_MIDDLE_FILTERS = 728
_SQUEEZE_FACTOR = 16
_BOUND = 6.0

_INITIALIZER = layers.truncated_normal(0.09)
_NORMALIZED = {
    "batch_norm": layers.BatchNormOptions(decay=0.9997, epsilon=1e-3),
    "initializer": _INITIALIZER,
}


def _clip(x: tf.Tensor) -> tf.Tensor:
    """What takes a linear output's place where activations are bounded."""
    return tf.clip_by_value(x, -_BOUND, _BOUND)


class XceptionModule(layers.Container):
    """Three separable convolutions and a shortcut around them.

    A module with a shortcut activates before its separable convolutions and is linear otherwise;
    one without activates after each of their halves.
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
        activated_next: bool,
    ):
        """Sets the module up.

        Args:
            filters: channels of each separable convolution.
            shortcut: "conv" for a projection, "sum" for the input itself, "none".
            stride: of the last separable convolution and the projection.
            rates: atrous rate of each separable convolution.
            bounded_activation: ReLU6 in place of ReLU, and no value beyond +-6 anywhere.
            squeeze_and_excitation: whether the channels are gated before the shortcut is added.
            regularize_depthwise: `blocks.SeparableConv2D` in place of a depthwise and a pointwise
                convolution that each have their batch norm.
            activated_next: whether the next module begins with an activation.
        """
        super().__init__(name="xception_module")
        self.shortcut = shortcut
        self.bounded_activation = bounded_activation
        self.activation = tf.nn.relu6 if bounded_activation else tf.nn.relu
        if shortcut == "none":
            inner_activation = self.activation
        else:
            inner_activation = _clip if bounded_activation else None
        # In a quantised network a convolution's output is rounded after the ReLU that follows, or
        # before what is added.
        rectified = shortcut != "none" and not bounded_activation
        quantizers = [quantization.ACTIVATION] * len(filters)
        if rectified:
            quantizers = [None] * (len(filters) - 1)
            quantizers += [quantization.BEFORE_SUM if activated_next else quantization.ACTIVATION]
        self.quantize_sum = quantization.quantizer(quantization.SUM if rectified else None, "add")
        self.separable_convs = []
        for index, channels in enumerate(filters):
            spatial = {
                "stride": stride if index == len(filters) - 1 else 1,
                "rate": rates[index],
                "symmetric_padding": not bounded_activation,
            }
            name = f"separable_conv{index + 1}"
            if regularize_depthwise:
                conv = [
                    blocks.SeparableConv2D(
                        channels,
                        3,
                        activation=inner_activation,
                        quantizer=quantizers[index],
                        name=name,
                        **spatial,
                        **_NORMALIZED,
                    )
                ]
            else:
                conv = [
                    layers.DepthwiseConv2D(
                        3,
                        activation=inner_activation,
                        name=f"{name}_depthwise",
                        **spatial,
                        **_NORMALIZED,
                    ),
                    layers.Conv2D(
                        channels,
                        1,
                        activation=inner_activation,
                        quantizer=quantizers[index],
                        name=f"{name}_pointwise",
                        **_NORMALIZED,
                    ),
                ]
            self.separable_convs.append(conv)
        name = quantization.ACTIVATION if rectified else None
        self.quantize_activated = [
            quantization.quantizer(None),
            *(quantization.quantizer(name, conv[-1].name) for conv in self.separable_convs[:-1]),
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

    def call(
        self, x: tf.Tensor, activated: tf.Tensor | None = None, training: bool = False
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Applies the module.

        Args:
            x: [B, H, W, C].
            activated: what the activation that it begins with makes of `x`, where that is known.
            training: whether batch statistics are used.

        Returns:
            Its output, and those of its separable convolutions, named after the last layer of
            each, e.g. `separable_conv2_pointwise`.
        """
        end_points = {}
        y = x
        for conv, quantize in zip(self.separable_convs, self.quantize_activated, strict=True):
            if activated is not None:
                y, activated = activated, None
            elif self.shortcut != "none":
                y = quantize(self.activation(y), training=training)
            y = end_points[conv[-1].name] = layers.apply(conv, y, training)
        if self.squeeze_excite:
            y = self.squeeze_excite(y, training=training)
        if self.shortcut != "none":
            shortcut = self.projection(x, training=training) if self.projection else x
            if self.bounded_activation:
                y = tf.nn.relu6(_clip(y) + _clip(shortcut))
            else:
                y = self.quantize_sum(y + shortcut, training=training)
        return y, end_points


class Xception(layers.Container):
    """Entry, middle and exit flow; 2048 channels.

    End points, for each module: `<flow>/block<i>/unit_<j>/xception_module` and, below it, its
    separable convolutions, as in the official code.
    """

    def __init__(
        self,
        entry_flow: Sequence[tuple[int, int]],
        middle_units: int,
        output_stride: int,
        *,
        multi_grid: Sequence[int] | None = None,
        bounded_activation: bool = False,
        squeeze_and_excitation: bool = False,
        regularize_depthwise: bool = False,
        num_classes: int | None = None,
        name: str,
    ):
        """Sets the network up.

        Args:
            entry_flow: channels and stride of each module of the entry flow.
            middle_units: number of modules of the middle flow.
            output_stride: ratio of image size to feature size: 2, 4, 8, 16 or 32.
            multi_grid: factors on the atrous rates of the last module's separable convolutions;
                None: (1, 1, 1).
            bounded_activation: see `XceptionModule`; strided separable convolutions then are
                padded at the bottom and right only where sizes are even.
            squeeze_and_excitation: whether modules of 728 and 1024 channels gate their channels.
            regularize_depthwise: see `XceptionModule`.
            num_classes: of an image classification head; None: no head, the features are returned.
            name: the official scope.

        Raises:
            ValueError: an output stride or multi_grid that the network cannot have.
        """
        super().__init__(name=name)
        if output_stride not in (2, 4, 8, 16, 32):
            raise ValueError(f"--output_stride is {output_stride}; {name} takes 2, 4, 8, 16 and 32")
        multi_grid = multi_grid or (1, 1, 1)
        if len(multi_grid) != 3:
            raise ValueError(f"--multi_grid has {multi_grid}; {name} takes three rates")
        strides = atrous.AtrousStrides(output_stride)
        stem_stride, _ = strides.next(2)
        activation = tf.nn.relu6 if bounded_activation else tf.nn.relu
        self.stem = [
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
        ]
        self.scopes: list[str] = []
        self.xception_modules: list[XceptionModule] = []
        # Of what the activation that the next module begins with makes of a module's output.
        self.quantize_activated: list[Callable[..., tf.Tensor]] = []

        def add(
            scope: str,
            filters: Sequence[int],
            designed_stride: int = 1,
            shortcut: str = "conv",
            grid: Sequence[int] = (1, 1, 1),
        ) -> None:
            stride, rate = strides.next(designed_stride)
            activated_next = not scope.startswith("exit_flow")
            self.scopes.append(scope)
            self.xception_modules.append(
                XceptionModule(
                    filters,
                    shortcut=shortcut,
                    stride=stride,
                    rates=[rate * factor for factor in grid],
                    bounded_activation=bounded_activation,
                    squeeze_and_excitation=squeeze_and_excitation and filters[-1] in (728, 1024),
                    regularize_depthwise=regularize_depthwise,
                    activated_next=activated_next,
                )
            )
            name = quantization.ACTIVATION if activated_next and not bounded_activation else None
            self.quantize_activated.append(
                quantization.quantizer(name, f"{scope}/{self.xception_modules[-1].name}")
            )

        for number, (filters, stride) in enumerate(entry_flow, start=1):
            add(f"entry_flow/block{number}/unit_1", [filters] * 3, stride)
        for number in range(1, middle_units + 1):
            add(f"middle_flow/block1/unit_{number}", [_MIDDLE_FILTERS] * 3, shortcut="sum")
        add("exit_flow/block1/unit_1", _EXIT_FLOW[0], 2)
        add("exit_flow/block2/unit_1", _EXIT_FLOW[1], shortcut="none", grid=multi_grid)
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
        with scopes.nested("entry_flow"):
            x = layers.apply(self.stem, x, training)
        activated = None
        for scope, module, quantize in zip(
            self.scopes, self.xception_modules, self.quantize_activated, strict=True
        ):
            with scopes.nested(scope):
                x, inner = module(x, activated, training=training)
            activated = None
            if isinstance(quantize, quantization.Quantizer):
                activated = quantize(module.activation(x), training=training)
            path = f"{scope}/{module.name}"
            end_points[path] = x
            end_points |= {f"{path}/{name}": value for name, value in inner.items()}
        if self.classifier:
            x = end_points["global_pool"] = tf.reduce_mean(x, axis=(1, 2), keepdims=True)
            x = self.classifier(self.dropout(x, training=training), training=training)
            end_points["predictions"] = tf.nn.softmax(x)
        return x, end_points


def xception_41(output_stride: int, **options) -> Xception:
    """Xception-41; `options` are those of `Xception`."""
    return Xception(((128, 2), (256, 2), (728, 2)), 8, output_stride, name="xception_41", **options)


def xception_65(output_stride: int, **options) -> Xception:
    """Xception-65, the one of DeepLab v3+; `options` are those of `Xception`."""
    return Xception(
        ((128, 2), (256, 2), (728, 2)), 16, output_stride, name="xception_65", **options
    )


def xception_71(output_stride: int, **options) -> Xception:
    """Xception-71, with two more modules in the entry flow; `options` are those of `Xception`."""
    entry_flow = ((128, 2), (256, 1), (256, 2), (728, 1), (728, 2))
    return Xception(entry_flow, 16, output_stride, name="xception_71", **options)
