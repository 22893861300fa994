"""DeepLab: backbone -> head -> decoder -> logits, at one or several scales; and predictions."""

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from deeplab import common
from deeplab.core import (
    aspp,
    containers,
    decoder,
    dense_prediction_cell,
    feature_extractor,
    layers,
    networks,
    quantization,
    quantization_tables,
    utils,
)
from deeplab.input_preprocess import Preprocessing

# Official scopes of what a new dataset may want to learn anew: the logits alone, or everything
# after the backbone (official `get_extra_layer_scopes`).
LOGITS_SCOPE = "logits"
LAST_LAYER_SCOPES = (
    LOGITS_SCOPE,
    "image_pooling",
    "aspp",
    "concat_projection",
    "decoder",
    dense_prediction_cell.SCOPE,
)


def last_layer_scopes(logits_only: bool) -> tuple[str, ...]:
    """Return the scopes of the last layers (flag `last_layers_contain_logits_only`)."""
    return (LOGITS_SCOPE,) if logits_only else LAST_LAYER_SCOPES


class Logits(containers.Container):
    """The classifier: `logits/semantic`, one more convolution `semantic_<i>` a further rate.

    Without the ASPP, several atrous rates make parallel classifiers whose outputs are added
    (DeepLab v2, arXiv 1606.00915, section 3.2; official `get_branch_logits`).

    Args:
        num_classes: Channels of the output.
        kernel_size: Kernel size of each classifier.
        atrous_rates: Atrous rate of each classifier.
        split: Give each classifier its own share of the channels, in place of all of them.
    """

    def __init__(
        self,
        num_classes: int,
        kernel_size: int = 1,
        atrous_rates: Sequence[int] = (1,),
        *,
        split: bool = False,
    ):
        super().__init__(name="logits")
        self.split = split
        self.branches = [
            layers.Conv2D(
                num_classes,
                kernel_size,
                rate=rate,
                use_bias=True,
                initializer=layers.truncated_normal(0.01),
                name=f"semantic_{index}" if index else "semantic",
            )
            for index, rate in enumerate(atrous_rates)
        ]

    def call(self, features: tf.Tensor, training: bool = False) -> tf.Tensor:
        """[B, h, w, C] -> [B, h, w, num_classes]."""
        count = len(self.branches)
        shares = tf.split(features, count, axis=-1) if self.split else [features] * count
        return tf.add_n(
            [branch(x, training=training) for branch, x in zip(self.branches, shares, strict=True)]
        )


def preprocessing(
    options: common.ModelOptions, crop_size: tuple[int, int] | None = None
) -> Preprocessing:
    """Return how images are prepared for a network with these options.

    Args:
        options: Options of the network.
        crop_size: (height, width) that images are cropped or padded to. None: the options'.
    """
    return Preprocessing(
        crop_size=crop_size or options.crop_size,
        mean_pixel=feature_extractor.get_backbone(options.model_variant).mean_pixel,
        min_resize_value=options.min_resize_value,
        max_resize_value=options.max_resize_value,
        resize_factor=options.resize_factor,
    )


@keras.saving.register_keras_serializable(package="deeplab")
class DeepLab(keras.Model):
    """A DeepLab network.

    Example:
        options = common.ModelOptions(model_variant="mobilenet_v2", num_classes=21)
        net = DeepLab(options)
        logits = net(images)

    Every variable's path is `deeplab/` and its official name; `utils.checkpoint` reads and writes
    official checkpoints by it. Networks of any size take images of any size.

    Args:
        options: Options of the network.
        name: Name of the Keras model.
        random_weights: Start the weights of convolutions with random numbers, not with zeros that a
            checkpoint replaces. Drawing them takes as long as the rest of building a large network.
            Random numbers that are drawn later stay the same.
        **kwargs: `trainable` and `dtype` (a precision policy) of `keras.Model`.

    Raises:
        ValueError: Options contradict each other, or the backbone does not support them.
    """

    def __init__(
        self,
        options: common.ModelOptions,
        name: str = "deeplab",
        *,
        random_weights: bool = True,
        **kwargs,
    ):
        # Images reach the backbone's preprocessing in float32 whatever the precision.
        super().__init__(name=name, autocast=False, **kwargs)
        self.options = options
        self.fine_tune_batch_norm = True
        spec = feature_extractor.get_backbone(options.model_variant)
        spec.check(options)
        self._add_parts(options, spec)
        networks.set_precision(self, self.dtype_policy)
        if not random_weights:
            networks.start_at_zero(self)
        if options.quantize:
            quantization.attach(
                self, (*spec.quantizers(options), *quantization_tables.heads(options))
            )
        with tf.init_scope():
            channels = self(tf.zeros((1, 33, 33, 3))).shape[-1]
        if channels != options.num_classes:
            raise ValueError(
                f"with --decoder_output_is_logits the last convolution has {channels} channels, but"
                f" there are {options.num_classes} classes: set --decoder_filters to that"
            )

    def _add_parts(self, options: common.ModelOptions, spec: feature_extractor.Backbone) -> None:
        """Make backbone, heads, decoder and logits."""
        # The official MobileNets call the preprocessed images `<scope>/<scope>/input`.
        self.input_scope = f"{spec.scope}/{spec.scope}/"
        self.preprocess = spec.preprocess
        self.backbone = spec.build(options)
        self.heads = _heads(options)
        self.decoder = self.logits = None
        if options.decoder_output_stride:
            self.decoder = decoder.Decoder(
                [
                    (stride, spec.decoder_end_point(stride))
                    for stride in options.decoder_output_stride
                ],
                options.decoder_filters,
                separable_conv=options.decoder_use_separable_conv,
                sum_merge=options.decoder_use_sum_merge,
                output_is_logits=options.decoder_output_is_logits,
                bounded_activation=options.use_bounded_activation,
            )
        if not options.decoder_output_is_logits:
            rates = (not options.aspp_with_batch_norm and options.atrous_rates) or (1,)
            if spec.has_branches:
                # The rates are the backbone's; a decoder makes one of its branches.
                rates = (1,) if self.decoder else (1,) * len(rates)
            self.logits = Logits(
                options.num_classes, options.logits_kernel_size, rates, split=spec.has_branches
            )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create no variables: the parts create theirs in their first call, in `__init__`."""

    @property
    def logits_stride(self) -> int:
        """The ratio of image size to logits size."""
        return min(self.options.decoder_output_stride or (self.options.output_stride,))

    def logits_size(
        self, image_size: Sequence[Any], image_pyramid: Sequence[float] | None = None
    ) -> list[Any]:
        """Return height and width of the merged logits for a height and width of images.

        Args:
            image_size: Numbers or int32 scalars.
            image_pyramid: Scales at which the network sees the images. None: the options'.
        """
        scales = image_pyramid or self.options.image_pyramid or (1.0,)
        scale = max(1.0, *scales) / self.logits_stride
        return [utils.scale_dimension(side, scale) for side in image_size]

    def preprocessing(self, crop_size: tuple[int, int] | None = None) -> Preprocessing:
        """Return how images are prepared for the network.

        Args:
            crop_size: (height, width) that images are cropped or padded to. None: the options'.
        """
        return preprocessing(self.options, crop_size)

    def single_scale(
        self, images: tf.Tensor, training: bool = False, scale: float = 1.0, head: int = 0
    ) -> dict[str, tf.Tensor]:
        """Return every stage's output for images at one scale.

        Args:
            images: [B, H, W, 3], RGB 0..255.
            training: Whether batch statistics and dropout are used.
            scale: The images' scale in a pyramid.
            head: Index of the head, if each scale of the pyramid has its own.

        Returns:
            The backbone's end points by their names; `preprocessed`, the backbone's input, which
            is called `<scope>/<scope>/input` in a graph; `features`, its output; `head`, the output
            of the ASPP or the cell; and `logits` [B, h, w, num_classes] at the logits' stride.
        """
        size = utils.size(images)
        # The slash at its end makes the scope the whole name, whatever scope this is called in.
        with tf.name_scope(self.input_scope):
            preprocessed = tf.identity(self.preprocess(tf.cast(images, tf.float32)), "input")
        x, end_points = self.backbone(tf.cast(preprocessed, self.compute_dtype), training=training)
        outputs = {**end_points, "preprocessed": preprocessed, "features": x}
        if self.heads:
            x = self.heads[head](x, training=training, scale=scale)
        outputs["head"] = x
        if self.decoder:
            x = self.decoder(x, end_points, image_size=size, training=training)
        outputs["logits"] = self.logits(x, training=training) if self.logits else x
        return outputs

    def multi_scale(
        self,
        images: tf.Tensor,
        image_pyramid: Sequence[float] | None = None,
        training: bool = False,
    ) -> tuple[tf.Tensor, dict[float, tf.Tensor]]:
        """Return the logits of an image pyramid (official `multi_scale_logits`).

        Args:
            images: [B, H, W, 3], RGB 0..255.
            image_pyramid: Scales at which the network sees the images. None: the options'.
            training: Whether batch statistics and dropout are used.

        Returns:
            The merged logits, float32 [B, h, w, num_classes] (the maximum or mean over the
            scales), and the logits of each scale on the same grid. The grid is that of the
            largest scale, or of the image itself where all scales are smaller.
        """
        scales = tuple(image_pyramid or self.options.image_pyramid or (1.0,))
        images = tf.convert_to_tensor(images)
        image_size = utils.size(images)
        grid = self.logits_size(image_size, scales)
        # Each scale of the network's own pyramid may have its own head; any other uses the first.
        own = len(self.heads) > 1 and scales == self.options.image_pyramid
        logits = {}
        for index, scale in enumerate(scales):
            scaled = images
            if scale != 1.0:
                size = [utils.scale_dimension(side, scale) for side in image_size]
                scaled = utils.resize_bilinear(images, size)
            head = index if own else 0
            output = self.single_scale(scaled, training=training, scale=scale, head=head)
            logits[scale] = utils.resize_bilinear(tf.cast(output["logits"], tf.float32), grid)
        if len(logits) == 1:
            return logits[scales[0]], logits
        merge = tf.reduce_max if self.options.merge_method == "max" else tf.reduce_mean
        return merge(tf.stack(list(logits.values())), axis=0), logits

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Images [B, H, W, 3], RGB 0..255 -> merged logits, float32 [B, h, w, num_classes]."""
        return self.multi_scale(images, training=training)[0]

    def set_fine_tune_batch_norm(self, fine_tune: bool) -> None:
        """Set whether training uses and moves the batch statistics; see `BatchNorm`."""
        self.fine_tune_batch_norm = fine_tune
        networks.set_fine_tune_batch_norm(self, fine_tune)

    def get_config(self) -> dict:
        """Return what `.keras` files keep of the network."""
        policy = keras.dtype_policies.serialize(self.dtype_policy)
        return {
            "options": self.options.to_json(),
            "name": self.name,
            "dtype": policy,
            "fine_tune_batch_norm": self.fine_tune_batch_norm,
        }

    @classmethod
    def from_config(cls, config: Mapping) -> "DeepLab":
        """Build the network that `get_config` describes."""
        policy = keras.dtype_policies.deserialize(config["dtype"])
        options = common.ModelOptions.from_json(config["options"])
        net = cls(options, name=config["name"], dtype=policy)
        net.set_fine_tune_batch_norm(config["fine_tune_batch_norm"])
        return net

    def save_own_variables(self, store: MutableMapping[str, np.ndarray]) -> None:
        """Store the state of dropout's random numbers, which Keras' files would lose."""
        for index, generator in enumerate(networks.seed_generators(self)):
            store[f"seed_generator_{index}"] = keras.ops.convert_to_numpy(generator.state)

    def load_own_variables(self, store: Mapping[str, np.ndarray]) -> None:
        """Restore the state that `save_own_variables` stored."""
        for index, generator in enumerate(networks.seed_generators(self)):
            generator.state.assign(store[f"seed_generator_{index}"])


def _heads(options: common.ModelOptions) -> list[keras.layers.Layer]:
    """Build what follows the backbone: nothing, the ASPP, or dense prediction cells.

    Each scale of the image pyramid has a cell of its own: an oversight of the official code that
    its checkpoints depend on.
    """
    if not options.aspp_with_batch_norm:
        return []
    if options.dense_prediction_cell_json:
        branches = dense_prediction_cell.read(options.dense_prediction_cell_json)
        scope = dense_prediction_cell.SCOPE
        return [
            dense_prediction_cell.DensePredictionCell(
                branches,
                options.output_stride,
                options.image_pooling_crop_size if options.crop_size else None,
                name=f"{scope}_{index}" if index else scope,
            )
            for index in range(len(options.image_pyramid or (1.0,)))
        ]
    return [
        aspp.ASPP(
            options.output_stride,
            options.atrous_rates,
            options.aspp_convs_filters,
            image_level_feature=options.add_image_level_feature,
            image_pooling_crop_size=options.image_pooling_crop_size,
            image_pooling_stride=options.image_pooling_stride,
            crop_size_known=options.crop_size is not None,
            separable_conv=options.aspp_with_separable_conv,
            concat_projection=options.aspp_with_concat_projection,
            squeeze_and_excitation=options.aspp_with_squeeze_and_excitation,
            q_sigmoid=options.image_se_uses_qsigmoid,
            bounded_activation=options.use_bounded_activation,
        )
    ]


def predict_labels(
    net: DeepLab,
    images: tf.Tensor,
    eval_scales: Sequence[float] = (1.0,),
    add_flipped_images: bool = False,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Predict labels and probabilities at the images' resolution.

    With several scales or flips the probabilities are the mean over all of them, and the network's
    `image_pyramid` plays no part (official `predict_labels_multi_scale`); else they are the
    network's own (official `predict_labels`).

    Args:
        net: The network.
        images: [B, H, W, 3], RGB 0..255.
        eval_scales: Scales at which the images are looked at.
        add_flipped_images: Also look at the images flipped left to right.

    Returns:
        Labels int32 [B, H, W] and probabilities float32 [B, H, W, num_classes] that sum to one.
    """
    images = tf.convert_to_tensor(images)
    size = utils.size(images)
    if tuple(eval_scales) == (1.0,) and not add_flipped_images:
        logits = net(images, training=False)
        if net.options.prediction_with_upsampled_logits:
            logits = utils.resize_bilinear(logits, size)
            return tf.argmax(logits, axis=-1, output_type=tf.int32), tf.nn.softmax(logits)
        labels = tf.argmax(logits, axis=-1, output_type=tf.int32)[..., tf.newaxis]
        labels = tf.squeeze(utils.resize_nearest(labels, size), axis=-1)
        return labels, utils.resize_bilinear(tf.nn.softmax(logits), size)

    total = 0.0
    for scale in eval_scales:
        for flip in (False, True) if add_flipped_images else (False,):
            seen = tf.reverse(images, axis=[2]) if flip else images
            logits, _ = net.multi_scale(seen, image_pyramid=(scale,))
            logits = tf.reverse(logits, axis=[2]) if flip else logits
            total += tf.nn.softmax(utils.resize_bilinear(logits, size))
    probabilities = total / (len(eval_scales) * (2 if add_flipped_images else 1))
    return tf.argmax(probabilities, axis=-1, output_type=tf.int32), probabilities
