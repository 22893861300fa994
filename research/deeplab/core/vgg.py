"""VGG-16 (arXiv 1409.1556), fully convolutional: DeepLab v1 (1412.7062) and v2 (1606.00915).

The fully connected layers fc6 and fc7 are convolutions, fc6 one with holes. A pooling that would
exceed the output stride keeps its window and loses its stride, and what follows dilates instead: at
output stride 8 these are the last two, conv5 has rate 2, and fc6 rate 4 if its kernel is whole.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from deeplab.core import atrous, containers, layers
from deeplab.core.weight_sources import KerasWeights, WeightSources

# Convolutions of each block, and their filters; configuration D of the paper.
BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
# The stride of the image classifier, and the kernel size of its fc6.
_STRIDE = 2 ** len(BLOCKS)
_KERNEL_SIZE = 7
FC6_KERNEL_SIZES = (3, 4, _KERNEL_SIZE)
_OUTPUT_STRIDES = (4, 8, 16, 32)
_DROPOUT = 0.5
_MULTI_SCALE_FILTERS = 128

# Output stride to the end point that the decoder takes there: a block's last convolution.
DECODER_END_POINTS = {4: "conv3/conv3_3", 8: "conv4/conv4_3", 16: "conv5/conv5_3"}


_FC = re.compile(r"(vgg_16/fc[67])(?:_\d+)?(/(?:weights|biases))")


def _first_branch(name: str) -> str:
    """Return the variable of the first branch from which a variable of a branch starts."""
    match = _FC.fullmatch(name)
    return "".join(match.groups()) if match else name


def _keras_names() -> Iterator[tuple[str, tuple[str, str]]]:
    """Return slim's name of each layer and Keras' two: of the layer, and its number by kind."""
    number = 0
    for block, (count, _) in enumerate(BLOCKS, start=1):
        for conv in range(1, count + 1):
            numbered = f"conv2d_{number}" if number else "conv2d"
            yield f"conv{block}/conv{block}_{conv}", (f"block{block}_conv{conv}", numbered)
            number += 1
    yield "fc6", ("fc1", "dense")
    yield "fc7", ("fc2", "dense_1")


def from_keras(arrays: Mapping[str, Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
    """Convert the weights of `keras.applications.VGG16`, with or without its top.

    Args:
        arrays: The kernel and bias of each layer, in any order, by the layer's name.

    Returns:
        Them by the names of slim's `vgg_16`, float32.

    Raises:
        ValueError: It is not that network.
    """
    if not {"block1_conv1", "conv2d"} & set(arrays):
        raise ValueError("it has no layer block1_conv1 or conv2d")
    values = {}
    for scope, names in _keras_names():
        for item in next((arrays[name] for name in names if name in arrays), ()):
            value = np.asarray(item, np.float32)
            leaf = "biases" if value.ndim == 1 else "weights"
            values[f"vgg_16/{scope}/{leaf}"] = _as_in_slim(scope, value)
    return values


def _as_in_slim(scope: str, value: np.ndarray) -> np.ndarray:
    """Return weights of Keras as slim has them; biases are the same."""
    if value.ndim == 1:
        return value
    if scope == "conv1/conv1_1":
        # These take blue, green and red, as `keras.applications.vgg16.preprocess_input` gives them.
        return value[:, :, ::-1]
    if scope in ("fc6", "fc7"):
        # The input was flattened: pixel after pixel, each with its channels.
        size = _KERNEL_SIZE if scope == "fc6" else 1
        return value.reshape(size, size, -1, value.shape[-1])
    return value


# fc6 and fc7 come from an image classifier whose kernel is larger and whose channels are more: they
# are subsampled, as the authors of DeepLab v1 did (arXiv 1412.7062, section 3.2). Every branch of
# DeepLab v2 starts from the same fc6 and fc7.
WEIGHT_SOURCES = WeightSources(
    source=_first_branch,
    is_subsampled=lambda name: _FC.fullmatch(name) is not None,
    keras_weights=KerasWeights(name="VGG16", convert=from_keras),
)


def fc6_rate(kernel_size: int, output_stride: int) -> int:
    """Return the rate at which fc6 sees as far as the image classifier's: 224 pixels.

    From its first tap to its last these are 6 x 32 pixels; a tap stands for 32 more. At output
    stride 8 the rates are 12, 8 and 4 for kernels of 3, 4 and 7 (v1, table 2).
    """
    return (_KERNEL_SIZE - 1) * _STRIDE // ((kernel_size - 1) * output_stride)


def max_pool(x: tf.Tensor, stride: int) -> tf.Tensor:
    """Return the largest of 3x3 values, [B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), C].

    The image classifier's windows are 2x2. Those of the authors' networks are 3x3, around the
    pixel that stays: five windows of 2 would shift features at output stride 8 by 11.5 pixels
    against the image, which upsampling with aligned corners does not undo. The values are those
    of a ReLU, so the zeros around them are never the largest.
    """
    return tf.nn.max_pool2d(tf.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), 3, stride, "VALID")


class _Block(containers.Scope):
    """Convolutions in turn, each of which is an end point."""

    def __init__(self, name: str, convs: Sequence[layers.Conv2D]):
        super().__init__(name, *convs)

    def call(self, x: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """[B, H, W, C] -> [B, H, W, filters], and the end points `<name>/<convolution>`."""
        end_points = {}
        for conv in self.parts:
            x = end_points[f"{self.name}/{conv.name}"] = conv(x, training=training)
        return x, end_points


class _MultiScale(containers.Scope):
    """Features made of several end points, each by the part that has its name."""

    def __init__(self, name: str, parts: Sequence[containers.Scope]):
        super().__init__(name, *parts)

    def call(self, end_points: dict[str, tf.Tensor], training: bool = False) -> list[tf.Tensor]:
        """Return the parts' outputs [B, h, w, filters]."""
        return [part(end_points[part.name], training=training) for part in self.parts]


class VGG16(containers.Container):
    """VGG-16 up to fc7.

    Variables: `vgg_16/conv1/conv1_1/weights`, ..., `vgg_16/fc6/weights`, `vgg_16/fc7/weights` and
    their `biases`, as in slim's `vgg_16`; `vgg_16/fc6_1/weights` and so on for further branches;
    `vgg_16/multi_scale/<image, pool1, ..., pool4>/conv<1, 2>/...`.

    End points: `conv1/conv1_1`, ..., `pool1`, ..., `fc6`, `fc7`, `fc6_1`, ....

    Args:
        output_stride: Ratio of image size to feature size: 4, 8, 16 or 32.
        fc6_kernel_size: 3, 4 or 7.
        fc6_filters: Channels of fc6 and of fc7.
        fc6_rates: Atrous rates of fc6. Several rates make branches, each with an fc6 and an fc7 of
            its own (v2, section 3.2, ASPP-S and ASPP-L). None: one, that of `fc6_rate`.
        multi_scale_features: Add 128 channels each from the image and the first four poolings
            (v1, section 4.3).

    Raises:
        ValueError: An output stride or a kernel that the network cannot have.
    """

    def __init__(
        self,
        output_stride: int,
        *,
        fc6_kernel_size: int = 3,
        fc6_filters: int = 1024,
        fc6_rates: Sequence[int] | None = None,
        multi_scale_features: bool = False,
    ):
        super().__init__(name="vgg_16")
        if output_stride not in _OUTPUT_STRIDES:
            raise ValueError(
                f"--output_stride is {output_stride}; vgg_16 takes {list(_OUTPUT_STRIDES)} (8 in"
                " the papers)"
            )
        if fc6_kernel_size not in FC6_KERNEL_SIZES:
            raise ValueError(
                f"--vgg_fc6_kernel_size is {fc6_kernel_size}; vgg_16 takes {list(FC6_KERNEL_SIZES)}"
            )
        relu = {"use_bias": True, "activation": tf.nn.relu}
        strides = atrous.AtrousStrides(output_stride)
        self.blocks: list[_Block] = []
        self.pool_strides: list[int] = []
        for block, (count, filters) in enumerate(BLOCKS, start=1):
            _, rate = strides.next(1)
            self.blocks.append(
                _Block(
                    f"conv{block}",
                    [
                        layers.Conv2D(filters, 3, rate=rate, name=f"conv{block}_{number}", **relu)
                        for number in range(1, count + 1)
                    ],
                )
            )
            stride, _ = strides.next(2)
            self.pool_strides.append(stride)

        self.branches: list[list[keras.layers.Layer]] = []
        rates = fc6_rates or (fc6_rate(fc6_kernel_size, output_stride),)
        for index, rate in enumerate(rates):
            suffix = f"_{index}" if index else ""
            self.branches.append(
                [
                    layers.Conv2D(
                        fc6_filters, fc6_kernel_size, rate=rate, name=f"fc6{suffix}", **relu
                    ),
                    keras.layers.Dropout(_DROPOUT),
                    layers.Conv2D(fc6_filters, 1, name=f"fc7{suffix}", **relu),
                    keras.layers.Dropout(_DROPOUT),
                ]
            )

        self.multi_scale = None
        if multi_scale_features:
            stride = 1
            sources = ["image", "pool1", "pool2", "pool3", "pool4"]
            convs = []
            for source, pool_stride in zip(sources, self.pool_strides, strict=True):
                convs.append(
                    containers.Scope(
                        source,
                        layers.Conv2D(
                            _MULTI_SCALE_FILTERS,
                            3,
                            stride=output_stride // stride,
                            symmetric_padding=True,
                            name="conv1",
                            **relu,
                        ),
                        layers.Conv2D(_MULTI_SCALE_FILTERS, 1, name="conv2", **relu),
                    )
                )
                stride *= pool_stride
            self.multi_scale = _MultiScale("multi_scale", convs)

    def call(self, x: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Preprocessed images [B, H, W, 3] -> features [B, h, w, C] and the end points.

        The features are the channels of each branch, one after the other, and those of the
        multi-scale features last.
        """
        end_points = {"image": x}
        for number, (block, stride) in enumerate(
            zip(self.blocks, self.pool_strides, strict=True), start=1
        ):
            x, inner = block(x, training=training)
            end_points |= inner
            x = end_points[f"pool{number}"] = max_pool(x, stride)
        outputs = []
        for fc6, dropout6, fc7, dropout7 in self.branches:
            y = end_points[fc6.name] = fc6(x, training=training)
            y = fc7(dropout6(y, training=training), training=training)
            end_points[fc7.name] = y
            outputs.append(dropout7(y, training=training))
        if self.multi_scale:
            outputs += self.multi_scale(end_points, training=training)
        del end_points["image"]
        return tf.concat(outputs, axis=-1), end_points
