"""Networks found by architecture search: PNASNet (arXiv 1712.00559), Auto-DeepLab (1901.02985)."""

from collections.abc import Sequence

import tensorflow as tf

from deeplab.core import containers, joints, nas_cell, nas_genotypes

# Resolution of each cell's output: level n has output stride 4 * 2**n.
_PNASNET_LEVELS = {
    8: (1,) * 12,
    16: (1,) * 4 + (2,) * 8,
    32: (1,) * 4 + (2,) * 4 + (3,) * 4,
}
_HNASNET_LEVELS = (0, 0, 0, 1, 2, 1, 2, 2, 3, 3, 2, 1)
_COARSEST_LEVEL = 3
# Name, channels and stride of the stem's convolutions.
_STEM = (("conv0", 64, 2), ("conv1", 64, 1), ("conv2", 128, 2))
# Channels of the classification head's convolutions by the output stride of an image classifier.
_DOWNSAMPLED_FILTERS = {16: 512, 32: 1024}
_CLASSIFIED_FILTERS = 2048


class Stem(containers.Layer):
    """Three convolutions, down to output stride 4."""

    def __init__(self):
        super().__init__(name=".stem")
        self.convs = [
            nas_cell.conv2d(filters, 3, name, f"{name}_bn", stride=stride, symmetric_padding=True)
            for name, filters, stride in _STEM
        ]
        self.activations = [
            joints.Activation(tf.nn.relu, f".{conv.name}_relu") for conv in self.convs[:-1]
        ]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the variables for `input_shape` [B, H, W, C]."""
        channels = input_shape[-1]
        for conv in self.convs:
            conv.build((None, None, None, channels))
            channels = conv.filters

    def call(self, x: tf.Tensor, training: bool = False) -> list[tf.Tensor]:
        """[B, H, W, 3] -> every convolution's output after its batch norm, before its ReLU."""
        first, *others = self.convs
        outputs = [first(x, training=training)]
        for conv, activation in zip(others, self.activations, strict=True):
            outputs.append(conv(activation(outputs[-1]), training=training))
        return outputs


class ClassificationHead(containers.Layer):
    """The convolutions of an image classifier between its cells and its logits.

    Convolutions go on to output stride 32, or dilate from the network's output stride on.

    Args:
        features_stride: Ratio of image size to the size of its input.
        output_stride: Ratio of image size to the size of its output.

    Raises:
        ValueError: The output cannot be coarser than the input by a whole factor.
    """

    def __init__(self, features_stride: int, output_stride: int):
        super().__init__(name=".head")
        if output_stride % features_stride:
            raise ValueError(
                f"--output_stride is {output_stride}; with --nas_use_classification_head it is a"
                f" multiple of the cells' output stride, {features_stride}"
            )
        left = output_stride // features_stride
        rate = 1
        self.steps = {}
        for target, filters in _DOWNSAMPLED_FILTERS.items():
            if target <= features_stride:
                continue
            stride = 1 if left == 1 else 2
            if stride == 1:
                rate *= 2
            left //= stride
            self._add(
                f"downsample_os{target}",
                filters,
                3,
                stride=stride,
                rate=rate,
                symmetric_padding=True,
            )
        self._add("classification_head", _CLASSIFIED_FILTERS, 1)
        self.activations = [joints.Activation(tf.nn.relu, f".{name}_relu") for name in self.steps]

    def _add(self, name: str, filters: int, kernel_size: int, **kwargs) -> None:
        self.steps[name] = nas_cell.conv2d(
            filters, kernel_size, f"{name}_conv", f"{name}_bn", **kwargs
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the variables for `input_shape` [B, H, W, C]."""
        channels = input_shape[-1]
        for conv in self.steps.values():
            conv.build((None, None, None, channels))
            channels = conv.filters

    def call(self, x: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """[B, H, W, C] after a ReLU -> [B, h, w, 2048] after one, and the end points before it."""
        end_points = {}
        for (name, conv), activation in zip(self.steps.items(), self.activations, strict=True):
            end_points[name] = conv(x, training=training)
            x = activation(end_points[name])
        return x, end_points


class NASNet(containers.Layer):
    """A stem and a stack of NAS cells.

    End points, as in the official code and before their ReLUs: `Stem`, `Cell_<i>`, and with the
    classification head `downsample_os<stride>` and `classification_head`.

    Args:
        genotype: The operations of a cell.
        levels: Resolution of each cell's output; level n has output stride 4 * 2**n.
        output_stride: Ratio of image size to feature size, for the classification head; the
            cells' is that of the last level.
        name: The official scope.
        stem_filters: Channels of a cell's operations at output stride 4; they double with it.
        classification_head: Whether convolutions to 2048 channels follow the cells.
        remove_os32_stride: Keep cells of output stride 32 at 16.
        num_classes: Channels of image classification logits; None: no logits, the features are
            returned.

    Raises:
        ValueError: No channels, or an output stride that the classification head cannot have.

    Attributes:
        features_stride: Ratio of image size to feature size.
    """

    def __init__(
        self,
        genotype: nas_genotypes.Genotype,
        levels: Sequence[int],
        output_stride: int,
        *,
        name: str,
        stem_filters: int = 20,
        classification_head: bool = False,
        remove_os32_stride: bool = False,
        num_classes: int | None = None,
    ):
        super().__init__(name=name)
        if stem_filters < 1:
            raise ValueError(
                f"--nas_stem_output_num_conv_filters is {stem_filters}; it must be at least 1"
            )
        designed_stride = 4 * 2 ** levels[-1]
        head = ClassificationHead(designed_stride, output_stride) if classification_head else None
        self.stem = Stem()
        self.cells = []
        # Channels of the outputs so far; a cell takes the last two.
        channels = [filters for _, filters, _ in _STEM]
        before = 0
        for index, level in enumerate(levels):
            rescales = not (remove_os32_stride and _COARSEST_LEVEL in (before, level))
            filters = stem_filters * 2**level
            self.cells.append(
                nas_cell.Cell(
                    genotype,
                    filters,
                    stride=2 if level > before and rescales else 1,
                    upsample=level < before and rescales,
                    previous_channels=channels[-2],
                    depth=(index + 1) / len(levels),
                    name=f"cell_{index}",
                )
            )
            channels.append(self.cells[-1].channels)
            before = level
        self.features_stride = min(designed_stride, 16) if remove_os32_stride else designed_stride
        self.head = head
        if head:
            self.features_stride = self.features_stride * output_stride // designed_stride
        self.classifier = nas_cell.conv2d(num_classes, 1, "logits") if num_classes else None

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the variables for `input_shape` [B, H, W, 3]."""
        self.stem.build(input_shape)
        channels = [filters for _, filters, _ in _STEM]
        for cell in self.cells:
            cell.build((None, None, None, channels[-1]), (None, None, None, channels[-2]))
            channels.append(cell.channels)
        shape = (None, None, None, channels[-1])
        if self.head:
            self.head.build(shape)
            shape = (None, None, None, _CLASSIFIED_FILTERS)
        if self.classifier:
            self.classifier.build(shape)

    def call(self, x: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Images in [-1, 1] [B, H, W, 3] -> features [B, h, w, C] and the end points.

        With `num_classes`, logits [B, 1, 1, num_classes] in place of the features, and the end
        point `predictions` (probabilities) as well.
        """
        outputs = self.stem(x, training=training)
        end_points = {"Stem": outputs[-1]}
        for index, cell in enumerate(self.cells):
            outputs.append(cell(outputs[-1], outputs[-2], training=training))
            end_points[f"Cell_{index}"] = outputs[-1]
        x = tf.nn.relu(outputs[-1])
        if self.head:
            x, more = self.head(x, training=training)
            end_points |= more
        if self.classifier:
            x = self.classifier(tf.reduce_mean(x, axis=(1, 2), keepdims=True), training=training)
            end_points["predictions"] = tf.nn.softmax(x)
        return x, end_points


def pnasnet(output_stride: int, **kwargs) -> NASNet:
    """Build PNASNet-5 in a size for dense prediction (official `pnasnet`).

    Args:
        output_stride: Ratio of image size to feature size: 8, 16 or 32.
        **kwargs: Arguments of `NASNet`.

    Raises:
        ValueError: Another output stride.
    """
    if output_stride not in _PNASNET_LEVELS:
        raise ValueError(
            f"--output_stride is {output_stride}; nas_pnasnet has {sorted(_PNASNET_LEVELS)}"
        )
    levels = _PNASNET_LEVELS[output_stride]
    return NASNet(nas_genotypes.PNASNET, levels, output_stride, name="pnasnet", **kwargs)


def hnasnet(output_stride: int, **kwargs) -> NASNet:
    """Build Auto-DeepLab (official `hnasnet`), whose cells always end at output stride 8.

    Args:
        output_stride: Ratio of image size to feature size of the classification head: 8, 16 or
            32. Without the head it does not change the network.
        **kwargs: Arguments of `NASNet`.

    Raises:
        ValueError: An output stride that the classification head cannot have.
    """
    return NASNet(nas_genotypes.HNASNET, _HNASNET_LEVELS, output_stride, name="hnasnet", **kwargs)
