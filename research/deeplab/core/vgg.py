"""VGG-16 (arXiv 1409.1556), fully convolutional: DeepLab v1 (1412.7062) and v2 (1606.00915).

The fully connected layers fc6 and fc7 are convolutions, fc6 one with holes. A pooling that would
exceed the output stride keeps its window and loses its stride, and what follows dilates instead: at
output stride 8 these are the last two, conv5 has rate 2, and fc6 rate 4 if its kernel is whole.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf

from deeplab.core import atrous, layers

# Convolutions of each block, and their filters; configuration D of the paper.
BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
# Of the image classifier: its own stride, and the kernel of its fc6.
_STRIDE = 2 ** len(BLOCKS)
_KERNEL_SIZE = 7
FC6_KERNEL_SIZES = (3, 4, _KERNEL_SIZE)
_OUTPUT_STRIDES = (4, 8, 16, 32)
_DROPOUT = 0.5
_MULTI_SCALE_FILTERS = 128

# Output stride to the end point that the decoder takes there: a block's last convolution.
DECODER_END_POINTS = {4: "conv3/conv3_3", 8: "conv4/conv4_3", 16: "conv5/conv5_3"}


def fc6_rate(kernel_size: int, output_stride: int) -> int:
    """The rate at which fc6 sees as far as the image classifier's: 224 pixels.

    From its first tap to its last these are 6 x 32 pixels; a tap stands for 32 more. At output
    stride 8 the rates are 12, 8 and 4 for kernels of 3, 4 and 7 (v1, table 2).
    """
    return (_KERNEL_SIZE - 1) * _STRIDE // ((kernel_size - 1) * output_stride)


def max_pool(x: tf.Tensor, stride: int) -> tf.Tensor:
    """The largest of 3x3 values, [B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), C].

    The image classifier's windows are 2x2. Those of the authors' networks are 3x3, around the
    pixel that stays: five windows of 2 would shift features at output stride 8 by 11.5 pixels
    against the image, which upsampling with aligned corners does not undo. The values are those
    of a ReLU, so the zeros around them are never the largest.
    """
    return tf.nn.max_pool2d(tf.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), 3, stride, "VALID")


class VGG16(layers.Container):
    """VGG-16 up to fc7.

    Variables: `vgg_16/conv1/conv1_1/weights`, ..., `vgg_16/fc6/weights`, `vgg_16/fc7/weights` and
    their `biases`, as in slim's `vgg_16`; `vgg_16/fc6_1/weights` and so on for further branches;
    `vgg_16/multi_scale/<image, pool1, ..., pool4>/conv<1, 2>/...`.

    End points: `conv1/conv1_1`, ..., `pool1`, ..., `fc6`, `fc7`, `fc6_1`, ....
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
        """Sets the network up.

        Args:
            output_stride: ratio of image size to feature size: 4, 8, 16 or 32.
            fc6_kernel_size: 3, 4 or 7.
            fc6_filters: channels of fc6 and of fc7.
            fc6_rates: atrous rates of fc6. Several make branches, each with an fc6 and an fc7 of
                its own (v2, section 3.2, ASPP-S and ASPP-L). None: one, that of `fc6_rate`.
            multi_scale_features: add 128 channels each from the image and the first four poolings
                (v1, section 4.3).

        Raises:
            ValueError: an output stride or a kernel that the network cannot have.
        """
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
        self.blocks: list[list[layers.Conv2D]] = []
        self.pool_strides: list[int] = []
        for block, (count, filters) in enumerate(BLOCKS, start=1):
            _, rate = strides.next(1)
            self.blocks.append(
                [
                    layers.Conv2D(filters, 3, rate=rate, name=f"conv{block}_{number}", **relu)
                    for number in range(1, count + 1)
                ]
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

        self.multi_scale: dict[str, list[layers.Conv2D]] = {}
        if multi_scale_features:
            stride = 1
            sources = ["image", "pool1", "pool2", "pool3", "pool4"]
            for source, pool_stride in zip(sources, self.pool_strides, strict=True):
                self.multi_scale[source] = [
                    layers.Conv2D(
                        _MULTI_SCALE_FILTERS,
                        3,
                        stride=output_stride // stride,
                        symmetric_padding=True,
                        name="conv1",
                        **relu,
                    ),
                    layers.Conv2D(_MULTI_SCALE_FILTERS, 1, name="conv2", **relu),
                ]
                stride *= pool_stride

    def call(self, x: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Preprocessed images [B, H, W, 3] -> features [B, h, w, C] and the end points.

        The features are the channels of each branch, one after the other, and those of the
        multi-scale features last.
        """
        end_points = {"image": x}
        for block, (convs, stride) in enumerate(
            zip(self.blocks, self.pool_strides, strict=True), start=1
        ):
            with keras.name_scope(f"conv{block}"):
                for conv in convs:
                    x = end_points[f"conv{block}/{conv.name}"] = conv(x, training=training)
            x = end_points[f"pool{block}"] = max_pool(x, stride)
        outputs = []
        for fc6, dropout6, fc7, dropout7 in self.branches:
            y = end_points[fc6.name] = fc6(x, training=training)
            y = fc7(dropout6(y, training=training), training=training)
            end_points[fc7.name] = y
            outputs.append(dropout7(y, training=training))
        for source, convs in self.multi_scale.items():
            with keras.name_scope("multi_scale"), keras.name_scope(source):
                outputs.append(layers.apply(convs, end_points[source], training))
        del end_points["image"]
        return tf.concat(outputs, axis=-1), end_points
