"""The registry of backbones: one entry a model variant, and nothing else that knows their names.

Some arguments of the backbones have no option: `num_classes` (a head that classifies images),
`squeeze_and_excitation`, `regularize_depthwise` and `convolution` (`conv2d_ws`). They are parts of
the official networks that no official flag reaches. Tests compare them with the official numbers.
"""

import dataclasses
from collections.abc import Callable, Mapping

import keras
import tensorflow as tf
from absl import logging

from deeplab.core import (
    mobilenet_edgetpu,
    mobilenet_v2,
    mobilenet_v3,
    nas_genotypes,
    nas_network,
    quantization_tables,
    resnet_v1_beta,
    vgg,
    xception,
)
from deeplab.core.options import ModelOptions
from deeplab.core.weight_sources import WeightSources

# Red, green and blue of the mean ImageNet pixel, as the ResNets and as VGG have it, and of the
# middle of the range.
IMAGENET_MEAN = (123.15, 115.90, 103.06)
VGG_MEAN = (123.68, 116.78, 103.94)
MID_GRAY = (127.5, 127.5, 127.5)

# The factors on the channels that published MobileNets have.
_DEPTH_MULTIPLIERS = (0.25, 0.35, 0.5, 0.75, 1.0, 1.3, 1.4)


def to_unit_range(images: tf.Tensor) -> tf.Tensor:
    """Scale images 0..255 to -1..1."""
    return images * tf.constant(2.0 / 255.0, images.dtype) - tf.constant(1.0, images.dtype)


def subtract_imagenet_mean(images: tf.Tensor) -> tf.Tensor:
    """Subtract the mean ImageNet pixel from images 0..255."""
    return images - tf.constant(IMAGENET_MEAN, images.dtype)


def subtract_vgg_mean(images: tf.Tensor) -> tf.Tensor:
    """Subtract the mean pixel of slim's `vgg_preprocessing` from images 0..255."""
    return images - tf.constant(VGG_MEAN, images.dtype)


@dataclasses.dataclass(frozen=True)
class Backbone:
    """Everything that the rest of the code needs to know of a backbone.

    Attributes:
        scope: Official scope of its variables.
        build: Makes it from a `ModelOptions`: a layer that takes preprocessed images
            [B, H, W, 3] and `training`, and returns features [B, h, w, C] and a dictionary of
            named end points.
        decoder_end_points: Output stride to the name of the end point the decoder takes there.
        preprocess: Images 0..255 -> what the backbone expects.
        mean_pixel: Color with which images are padded, 0..255.
        has_multi_grid: Whether `multi_grid` has an effect on it.
        own_options: Fields of `ModelOptions` that have an effect on it, but not on every backbone.
        widths: Options that are a number of channels, with the official name of the variable whose
            last dimension it is. Where an option is None, a checkpoint decides.
        has_branches: Whether it makes a branch for each of `atrous_rates` where there is no ASPP.
            Its features are then those of all branches, concatenated.
        depth_multipliers: Depth multipliers of published networks; empty where
            `depth_multiplier` has no effect.
        has_light_head: Whether published networks have logits on its features or on their image
            pooling alone, and no atrous rates or decoder.
        quantizers: Returns, for a `ModelOptions`, where quantizers sit in it besides those of its
            convolutions.
        weight_sources: Sources of initial values of variables that a checkpoint lacks.
    """

    scope: str
    build: Callable[[ModelOptions], keras.layers.Layer]
    decoder_end_points: Mapping[int, str]
    preprocess: Callable[[tf.Tensor], tf.Tensor] = to_unit_range
    mean_pixel: tuple[float, float, float] = MID_GRAY
    has_multi_grid: bool = False
    own_options: frozenset[str] = frozenset()
    widths: Mapping[str, str] = dataclasses.field(default_factory=dict)
    has_branches: bool = False
    depth_multipliers: tuple[float, ...] = ()
    has_light_head: bool = False
    quantizers: Callable[[ModelOptions], quantization_tables.Sites] = lambda options: ()
    weight_sources: WeightSources = WeightSources()

    def check(self, options: ModelOptions) -> None:
        """Reject or warn of options that have no effect on the backbone.

        Raises:
            ValueError: An option of another backbone is set, or the decoder takes features that
                there are not.
        """
        for output_stride in options.decoder_output_stride or ():
            self.decoder_end_point(output_stride)
        for field in dataclasses.fields(options):
            name, value = field.name, getattr(options, field.name)
            owners = sorted(key for key, each in BACKBONES.items() if name in each.own_options)
            if owners and name not in self.own_options and value != field.default:
                raise ValueError(
                    f"--{name}={value} has no effect with --model_variant={options.model_variant}:"
                    f" it is an option of {', '.join(owners)}"
                )
        if options.multi_grid and not self.has_multi_grid:
            with_it = ", ".join(sorted(k for k, v in BACKBONES.items() if v.has_multi_grid))
            logging.warning(
                "--multi_grid=%s has no effect: %s has no multi-grid (%s have)",
                *(list(options.multi_grid), options.model_variant, with_it),
            )

    def decoder_end_point(self, output_stride: int) -> str:
        """Return the name of the end point at an output stride.

        Raises:
            ValueError: The backbone has none there.
        """
        if output_stride not in self.decoder_end_points:
            raise ValueError(
                f"--decoder_output_stride has {output_stride}, but {self.scope} has decoder"
                f" features at {sorted(self.decoder_end_points) or 'no stride'}"
            )
        return self.decoder_end_points[output_stride]


def _xception(scope: str, decoder_blocks: Mapping[int, str]) -> Backbone:
    """Return an Xception; the decoder takes a separable convolution of the given blocks."""
    return Backbone(
        scope=scope,
        build=lambda options: xception.Xception(
            scope,
            options.output_stride,
            multi_grid=options.multi_grid,
            bounded_activation=options.use_bounded_activation,
        ),
        decoder_end_points={
            stride: f"{block}/unit_1/xception_module/separable_conv2_pointwise"
            for stride, block in decoder_blocks.items()
        },
        has_multi_grid=True,
        quantizers=lambda options: quantization_tables.xception(
            xception.DEPTHS[scope], bounded_activation=options.use_bounded_activation
        ),
    )


def _resnet_v1(depth: int, *, beta: bool) -> Backbone:
    """Return a ResNet; with the original stem the mean pixel is subtracted from images."""
    original = {"preprocess": subtract_imagenet_mean, "mean_pixel": IMAGENET_MEAN}
    return Backbone(
        scope=f"resnet_v1_{depth}",
        build=lambda options: resnet_v1_beta.ResNetV1(
            depth,
            options.output_stride,
            beta=beta,
            multi_grid=options.multi_grid,
            cascaded_blocks=options.cascaded_blocks,
        ),
        decoder_end_points=resnet_v1_beta.decoder_end_points(depth),
        has_multi_grid=True,
        own_options=frozenset({"cascaded_blocks"}),
        quantizers=lambda options: quantization_tables.resnet_v1(depth),
        weight_sources=resnet_v1_beta.WEIGHT_SOURCES,
        **({} if beta else original),
    )


def _vgg_16(options: ModelOptions) -> vgg.VGG16:
    """Build VGG-16; without an ASPP the atrous rates are those of its fc6."""
    rates = None if options.aspp_with_batch_norm else options.atrous_rates
    if options.vgg_multi_scale_features and len(rates or ()) > 1:
        raise ValueError(
            f"--vgg_multi_scale_features goes with one atrous rate, not with {list(rates)}: it adds"
            " to the features of one branch"
        )
    return vgg.VGG16(
        options.output_stride,
        fc6_kernel_size=options.vgg_fc6_kernel_size,
        fc6_filters=options.vgg_fc6_filters,
        fc6_rates=rates,
        multi_scale_features=options.vgg_multi_scale_features,
    )


def _nas(
    build: Callable[..., nas_network.NASNet],
    scope: str,
    decoder_end_points: Mapping[int, str],
    genotype: Callable[[], nas_genotypes.Genotype],
) -> Backbone:
    """Return a network found by architecture search, whose cells have a genotype."""

    def build_from(options: ModelOptions) -> nas_network.NASNet:
        net = build(
            options.output_stride,
            stem_filters=options.nas_stem_output_num_conv_filters,
            classification_head=options.nas_use_classification_head,
            remove_os32_stride=options.nas_remove_os32_stride,
        )
        pools = (
            options.aspp_with_batch_norm
            and options.add_image_level_feature
            and not options.dense_prediction_cell_json
            and options.image_pooling_crop_size
            and options.crop_size
        )
        if pools and net.features_stride != options.output_stride:
            raise ValueError(
                f"--image_pooling_crop_size needs features at the output stride, but"
                f" --output_stride is {options.output_stride} and {options.model_variant} ends at"
                f" {net.features_stride}: leave the crop size out"
            )
        return net

    return Backbone(
        scope=scope,
        build=build_from,
        decoder_end_points=decoder_end_points,
        quantizers=lambda options: quantization_tables.nas(genotype(), options),
    )


BACKBONES: dict[str, Backbone] = {
    "mobilenet_v2": Backbone(
        scope="MobilenetV2",
        build=lambda options: mobilenet_v2.MobilenetV2(
            options.output_stride, options.depth_multiplier, options.divisible_by
        ),
        decoder_end_points={
            4: "layer_4/depthwise_output",
            8: "layer_7/depthwise_output",
            16: "layer_14/depthwise_output",
        },
        depth_multipliers=_DEPTH_MULTIPLIERS,
        has_light_head=True,
        quantizers=lambda options: quantization_tables.MOBILENET,
    ),
    "mobilenet_v3_large_seg": Backbone(
        scope="MobilenetV3",
        build=lambda options: mobilenet_v3.MobilenetV3Large(
            options.output_stride, options.depth_multiplier
        ),
        decoder_end_points={
            4: "layer_4/depthwise_output",
            8: "layer_7/depthwise_output",
            16: "layer_13/depthwise_output",
        },
        depth_multipliers=_DEPTH_MULTIPLIERS,
        has_light_head=True,
        quantizers=lambda options: quantization_tables.MOBILENET_V3,
    ),
    "mobilenet_v3_small_seg": Backbone(
        scope="MobilenetV3",
        build=lambda options: mobilenet_v3.MobilenetV3Small(
            options.output_stride, options.depth_multiplier
        ),
        decoder_end_points={
            4: "layer_2/depthwise_output",
            8: "layer_4/depthwise_output",
            16: "layer_9/depthwise_output",
        },
        depth_multipliers=_DEPTH_MULTIPLIERS,
        has_light_head=True,
        quantizers=lambda options: quantization_tables.MOBILENET_V3,
    ),
    "mobilenet_edgetpu": Backbone(
        scope=mobilenet_edgetpu.SCOPE,
        build=lambda options: mobilenet_edgetpu.MobilenetEdgeTPU(
            options.output_stride, options.depth_multiplier, options.edgetpu_last_filters
        ),
        decoder_end_points={},
        own_options=frozenset({"edgetpu_last_filters"}),
        widths={"edgetpu_last_filters": mobilenet_edgetpu.LAST_WEIGHTS},
        depth_multipliers=_DEPTH_MULTIPLIERS,
        has_light_head=True,
        quantizers=lambda options: quantization_tables.MOBILENET,
    ),
    "resnet_v1_18": _resnet_v1(18, beta=False),
    "resnet_v1_18_beta": _resnet_v1(18, beta=True),
    "resnet_v1_50": _resnet_v1(50, beta=False),
    "resnet_v1_50_beta": _resnet_v1(50, beta=True),
    "resnet_v1_101": _resnet_v1(101, beta=False),
    "resnet_v1_101_beta": _resnet_v1(101, beta=True),
    "vgg_16": Backbone(
        scope="vgg_16",
        build=_vgg_16,
        decoder_end_points=vgg.DECODER_END_POINTS,
        preprocess=subtract_vgg_mean,
        mean_pixel=VGG_MEAN,
        own_options=frozenset(
            {"vgg_fc6_kernel_size", "vgg_fc6_filters", "vgg_multi_scale_features"}
        ),
        has_branches=True,
        weight_sources=vgg.WEIGHT_SOURCES,
    ),
    "xception_41": _xception(
        scope="xception_41",
        decoder_blocks={4: "entry_flow/block2", 8: "entry_flow/block3", 16: "exit_flow/block1"},
    ),
    "xception_65": _xception(
        scope="xception_65",
        decoder_blocks={4: "entry_flow/block2", 8: "entry_flow/block3", 16: "exit_flow/block1"},
    ),
    "xception_71": _xception(
        scope="xception_71",
        decoder_blocks={4: "entry_flow/block3", 8: "entry_flow/block5", 16: "exit_flow/block1"},
    ),
    "nas_pnasnet": _nas(
        nas_network.pnasnet,
        scope="pnasnet",
        decoder_end_points={4: "Stem", 8: "Cell_3", 16: "Cell_7"},
        genotype=lambda: nas_genotypes.PNASNET,
    ),
    "nas_hnasnet": _nas(
        nas_network.hnasnet,
        scope="hnasnet",
        decoder_end_points={4: "Cell_2", 8: "Cell_5", 16: "Cell_7"},
        genotype=lambda: nas_genotypes.HNASNET,
    ),
}


def get_backbone(model_variant: str) -> Backbone:
    """Return the backbone of that name.

    Raises:
        ValueError: There is none; the message lists those there are.
    """
    if model_variant not in BACKBONES:
        raise ValueError(
            f"--model_variant is {model_variant!r}; known are {', '.join(sorted(BACKBONES))}"
        )
    return BACKBONES[model_variant]
