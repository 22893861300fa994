"""Atrous spatial pyramid pooling with the image-level feature (arXiv 1706.05587, section 3.3)."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from deeplab.core import containers, joints, layers, normalization, utils

# Batch norm of everything after the backbone.
HEAD_BATCH_NORM = normalization.BatchNormOptions(decay=0.9997, epsilon=1e-5)
_KEEP_PROBABILITY = 0.9


class WindowPooling(layers.Conv2D):
    """The mean over windows of the features and a 1x1 convolution, resized to the features' size.

    A subclass has `pool(features, scale)`, the means.

    Args:
        filters: Channels of the output.
        **kwargs: Arguments of `layers.Conv2D`.
    """

    def __init__(self, filters: int, **kwargs: Any):
        super().__init__(filters, 1, **kwargs)

    def call(self, features: tf.Tensor, training: bool = False, scale: float = 1.0) -> tf.Tensor:
        """[B, h, w, C] -> [B, h, w, filters]; `scale` is that of the image in a pyramid."""
        size = utils.size(features)
        y = super().call(self.pool(features, scale), training=training)
        return utils.resize_bilinear(y, size)


def window_size(
    crop_size: Sequence[int],
    size: Sequence[int | tf.Tensor],
    scale: float,
    factors: Sequence[float],
) -> list[int | tf.Tensor]:
    """Return the (height, width) of windows in feature pixels.

    Args:
        crop_size: (height, width) in image pixels that the windows cover, or are a share of.
        size: (height, width) of the features: a larger window is cut to it where it is known.
        scale: Scale of the image in a pyramid.
        factors: Ratio of a window's height and width in features to those of the crop.
    """
    window = []
    for crop, known, factor in zip(crop_size, size, factors, strict=True):
        scaled = utils.scale_dimension(crop, scale) if scale != 1.0 else crop
        side = utils.scale_dimension(scaled, factor)
        window.append(side if tf.is_tensor(known) else min(side, known))
    return window


class ImagePooling(WindowPooling):
    """The image-level feature: the mean over windows of the features, and a 1x1 convolution.

    Args:
        filters: Channels of the output.
        crop_size: (height, width) of the windows in image pixels; None: the whole image.
        stride: (height, width) between windows in feature pixels.
        output_stride: Ratio of image size to feature size.
        gate: Activation where the feature gates the others (squeeze-and-excitation); None: batch
            norm and ReLU, the feature is a branch of its own.
        whole_at_full_scale: Pool the whole image at scale 1 despite `crop_size`, as the official
            code does if it does not know the size of the images.
    """

    def __init__(
        self,
        filters: int,
        crop_size: tuple[int, int] | None,
        stride: tuple[int, int],
        output_stride: int,
        gate: joints.ActivationKind | None,
        whole_at_full_scale: bool = False,
    ):
        super().__init__(
            filters,
            batch_norm=None if gate else HEAD_BATCH_NORM,
            use_bias=gate is not None,
            activation=gate or tf.nn.relu,
            name="image_pooling",
        )
        self.crop_size = crop_size
        self.pooling_stride = stride
        self.output_stride = output_stride
        self.whole_at_full_scale = whole_at_full_scale

    def pool(self, features: tf.Tensor, scale: float) -> tf.Tensor:
        """Return the means of the windows [B, rows, columns, C]."""
        if self.crop_size is None or (self.whole_at_full_scale and scale == 1.0):
            return tf.reduce_mean(features, axis=(1, 2), keepdims=True)
        size = utils.size(features)
        window = window_size(self.crop_size, size, scale, (1.0 / self.output_stride,) * 2)
        # Where the size is not known yet, zeros fill the window and are left out of the mean.
        missing = [
            tf.maximum(side - known, 0) if tf.is_tensor(known) else 0
            for side, known in zip(window, size, strict=True)
        ]
        if any(map(tf.is_tensor, missing)):
            features = tf.pad(features, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)))
        means = tf.nn.avg_pool2d(features, window, self.pooling_stride, "VALID")
        for side, lacking in zip(window, missing, strict=True):
            if tf.is_tensor(lacking):
                means *= tf.cast(side / (side - lacking), means.dtype)
        return means


class ASPP(containers.Container):
    """Parallel convolutions at several atrous rates and the image-level feature, projected.

    Its parts' official names have no common scope: `image_pooling`, `aspp0` (1x1), `aspp1` ...
    (3x3, separable ones as `aspp1_depthwise`, `aspp1_pointwise`), `concat_projection`.

    The arguments are the options of `ModelOptions` without prefixes, and `crop_size_known`:
    whether `crop_size` is set; see `ImagePooling`.

    Raises:
        ValueError: The image-level feature would gate several branches that are not projected
            to its channels.
    """

    def __init__(
        self,
        output_stride: int,
        atrous_rates: Sequence[int] | None = None,
        filters: int = 256,
        *,
        image_level_feature: bool = True,
        image_pooling_crop_size: tuple[int, int] | None = None,
        image_pooling_stride: tuple[int, int] = (1, 1),
        crop_size_known: bool = True,
        separable_conv: bool = True,
        concat_projection: bool = True,
        squeeze_and_excitation: bool = False,
        q_sigmoid: bool = False,
        bounded_activation: bool = False,
    ):
        super().__init__(name=".aspp")
        self.squeeze_and_excitation = squeeze_and_excitation and image_level_feature
        if self.squeeze_and_excitation and atrous_rates and not concat_projection:
            raise ValueError(
                "--aspp_with_squeeze_and_excitation gates the projected branches: with"
                " --aspp_with_concat_projection=false there is one branch, and --atrous_rates"
                f" {tuple(atrous_rates)} have no place"
            )
        activation = tf.nn.relu6 if bounded_activation else tf.nn.relu
        common = {"batch_norm": HEAD_BATCH_NORM, "activation": activation}
        self.image_pooling = None
        if image_level_feature:
            gate = None
            if squeeze_and_excitation:
                gate = joints.QSigmoid if q_sigmoid else tf.nn.sigmoid
            self.image_pooling = ImagePooling(
                filters,
                image_pooling_crop_size,
                image_pooling_stride,
                output_stride,
                gate,
                whole_at_full_scale=not crop_size_known,
            )
        self.branches = [[layers.Conv2D(filters, 1, name="aspp0", **common)]]
        for index, rate in enumerate(atrous_rates or (), start=1):
            name = f"aspp{index}"
            if separable_conv:
                branch = layers.split_separable_conv2d(filters, rate=rate, name=name, **common)
            else:
                branch = [layers.Conv2D(filters, 3, rate=rate, name=name, **common)]
            self.branches.append(branch)
        self.concat_projection = self.dropout = None
        if concat_projection:
            self.concat_projection = layers.Conv2D(filters, 1, name="concat_projection", **common)
            self.dropout = joints.Dropout(1.0 - _KEEP_PROBABILITY)
        self.gate = joints.Multiply() if self.squeeze_and_excitation else None

    def call(self, features: tf.Tensor, training: bool = False, scale: float = 1.0) -> tf.Tensor:
        """Features [B, h, w, C] -> [B, h, w, filters] (more without the projection).

        Args:
            features: The backbone's output.
            training: Whether batch statistics and dropout are used.
            scale: Scale of the image in a pyramid, 1 for the image itself.
        """
        outputs = [containers.apply(branch, features, training) for branch in self.branches]
        if self.image_pooling:
            image_feature = self.image_pooling(features, training=training, scale=scale)
            if not self.squeeze_and_excitation:
                outputs.insert(0, image_feature)
        y = tf.concat(outputs, axis=-1)
        if self.concat_projection:
            y = self.concat_projection(y, training=training)
            y = self.dropout(y, training=training)
        return self.gate(y, image_feature) if self.gate else y
