"""The decoder of DeepLab v3+ (arXiv 1802.02611, section 3.1): low-level features sharpen edges."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from deeplab.core import aspp, containers, joints, layers, utils

_PROJECTED_FILTERS = 48


class DecoderStage(containers.Container):
    """Merges the features so far with low-level features of one output stride.

    Args:
        output_stride: Output stride of the low-level features, and so of the result.
        filters: Channels of the result.
        separable_conv: Separable convolutions; never where the output is the logits.
        sum_merge: One convolution and a sum, in place of concatenation and two convolutions.
        output_is_logits: Convolutions with bias, without batch norm and activation.
        bounded_activation: ReLU6 in place of ReLU.
        suffix: Suffix of the official names; "" for the first stage.
    """

    def __init__(
        self,
        output_stride: int,
        filters: int,
        *,
        separable_conv: bool,
        sum_merge: bool,
        output_is_logits: bool,
        bounded_activation: bool,
        suffix: str,
    ):
        super().__init__(name=f".stage{suffix}")
        self.output_stride = output_stride
        self.sum_merge = sum_merge
        if output_is_logits:
            common = {"use_bias": True}
        else:
            activation = tf.nn.relu6 if bounded_activation else tf.nn.relu
            common = {"batch_norm": aspp.HEAD_BATCH_NORM, "activation": activation}
        self.projection = layers.Conv2D(
            filters if sum_merge else _PROJECTED_FILTERS,
            1,
            name=f"feature_projection0{suffix}",
            **common,
        )
        if sum_merge:
            self.add = joints.Add()
        separable_conv = separable_conv and not output_is_logits
        if separable_conv:
            names = ["decoder_split_sep_conv0"] if sum_merge else ["decoder_conv0", "decoder_conv1"]
            self.convs = [
                layer
                for name in names
                for layer in layers.split_separable_conv2d(filters, name=name + suffix, **common)
            ]
        elif sum_merge:
            kernel_size = 1 if output_is_logits else 3
            name = f"decoder_conv0{suffix}"
            self.convs = [layers.Conv2D(filters, kernel_size, name=name, **common)]
        else:
            # Official `slim.repeat`.
            name = f"decoder_conv0{suffix}"
            convs = [layers.Conv2D(filters, 3, name=f"{name}_{i}", **common) for i in (1, 2)]
            self.convs = [containers.Scope(name, *convs)]

    def call(
        self, features: tf.Tensor, low_level: tf.Tensor, *, size: Sequence, training: bool = False
    ) -> tf.Tensor:
        """Features [B, h, w, C] and low-level features [B, h', w', C'] -> [B, *size, filters]."""
        features = utils.resize_bilinear(features, size)
        low_level = utils.resize_bilinear(self.projection(low_level, training=training), size)
        if self.sum_merge:
            return self.add(containers.apply(self.convs, features, training), low_level)
        return containers.apply(self.convs, tf.concat((features, low_level), axis=-1), training)


class Decoder(containers.Container):
    """Decoder stages, coarse to fine; official `refine_by_decoder`.

    Args:
        end_points: Output stride and name of the low-level features of each stage.
        filters: Channels of every convolution.
        separable_conv: See `DecoderStage`.
        sum_merge: See `DecoderStage`.
        output_is_logits: See `DecoderStage`.
        bounded_activation: See `DecoderStage`.
    """

    def __init__(
        self,
        end_points: Sequence[tuple[int, str]],
        filters: int = 256,
        *,
        separable_conv: bool = True,
        sum_merge: bool = False,
        output_is_logits: bool = False,
        bounded_activation: bool = False,
    ):
        super().__init__(name="decoder")
        self.end_points = [name for _, name in end_points]
        self.stages = [
            DecoderStage(
                output_stride,
                filters,
                separable_conv=separable_conv,
                sum_merge=sum_merge,
                output_is_logits=output_is_logits,
                bounded_activation=bounded_activation,
                suffix=f"_{index}" if index else "",
            )
            for index, (output_stride, _) in enumerate(end_points)
        ]

    def call(
        self,
        features: tf.Tensor,
        end_points: Mapping[str, tf.Tensor],
        *,
        image_size: Sequence,
        training: bool = False,
    ) -> tf.Tensor:
        """Refine features.

        Args:
            features: The head's output [B, h, w, C].
            end_points: The backbone's, by name.
            image_size: (height, width) of the images, integers or scalar tensors.
            training: Whether batch statistics are used.

        Returns:
            [B, H / s, W / s, filters], s being the output stride of the last stage.
        """
        for stage, name in zip(self.stages, self.end_points, strict=True):
            size = [utils.scale_dimension(side, 1.0 / stage.output_stride) for side in image_size]
            features = stage(features, end_points[name], size=size, training=training)
        return features
