"""The options that define a DeepLab network."""

import dataclasses
import json
from typing import Annotated, Any, Literal

from deeplab.core import json_text
from deeplab.core.options.fields import (
    AtrousRate,
    Channels,
    InOneFlag,
    NumClasses,
    Range,
    Scale,
    Side,
    Size,
    validate,
)

# Fields in which a trained network may differ from its training. Every other one is part of what
# the weights mean.
ADJUSTABLE = frozenset(
    {
        "output_stride",
        "atrous_rates",
        "image_pooling_crop_size",
        "image_pooling_stride",
        "image_pyramid",
        "merge_method",
        "prediction_with_upsampled_logits",
        "crop_size",
        "min_resize_value",
        "max_resize_value",
        "resize_factor",
    }
)
# How error messages call fields that have no flag of their name, or several.
_FLAGS = {
    "crop_size": "the crop size (--train_crop_size, --crop_size, ...)",
    "quantize": "quantize (--quantize_delay_step)",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Everything that defines a DeepLab network; names and defaults are the official flags'.

    Sequences may be given as any sequence of numbers or of their decimal strings, or as text with
    commas. They are kept as tuples of numbers; an empty one is None.

    Example:
        options = ModelOptions(model_variant="xception_65", atrous_rates=(6, 12, 18))

    Raises:
        ValueError: No network can have such a value; the message names the flag.
    """

    # --- The backbone ---
    # A name in `feature_extractor.BACKBONES`.
    model_variant: Annotated[str, "Name of the backbone."] = "mobilenet_v2"
    depth_multiplier: Annotated[
        float,
        Range(above=0, at_most=16),
        "Factor on the channels of every layer (MobileNetV2 and V3).",
    ] = 1.0
    divisible_by: Annotated[
        Channels | None,
        "Round channels to multiples of this (MobileNetV2). Default: 8, or 1 if --depth_multiplier"
        " is not 1.",
    ] = None
    # v3, section 3.2.
    multi_grid: Annotated[
        tuple[Annotated[int, Range(at_least=1, at_most=32)], ...] | None,
        "Factors on the atrous rates of the last block's units (ResNet, Xception).",
    ] = None
    # v3, section 3.2: three of them are blocks 5 to 7.
    cascaded_blocks: Annotated[
        int, Range(at_least=0, at_most=16), "Copies of the last block that follow it (ResNet)."
    ] = 0
    # v1, table 2: 3 (LargeFOV), 4 or 7. Its rate is that of atrous_rates where there is no ASPP, or
    # as wide as the image classifier's: 12, 8 and 4 at stride 8.
    vgg_fc6_kernel_size: Annotated[
        int, Range(at_least=3, at_most=7), "Kernel size of fc6: 3, 4 or 7 (VGG-16)."
    ] = 3
    # 1024 (LargeFOV) or 4096.
    vgg_fc6_filters: Annotated[Channels, "Channels of fc6 and fc7 (VGG-16)."] = 1024
    # MSc; v1, section 4.3.
    vgg_multi_scale_features: Annotated[
        bool, "Add features of the image and of the first four poolings (VGG-16)."
    ] = False
    # 1280 in the published EdgeTPU-DeepLab-slim, whose multiplier is 0.75.
    edgetpu_last_filters: Annotated[
        Channels | None,
        "Channels of the last convolution (MobileNetEdgeTPU). Default: as in the checkpoint, or"
        " 1280 times --depth_multiplier.",
    ] = None
    # It suits 8-bit inference.
    use_bounded_activation: Annotated[bool, "Use ReLU6 in place of ReLU."] = False
    nas_stem_output_num_conv_filters: Annotated[
        Channels, "Channels of a cell's operations at output stride 4 (NAS networks)."
    ] = 20
    nas_use_classification_head: Annotated[
        bool,
        "Keep the image classification head, and use its input as the features (NAS networks).",
    ] = False
    nas_remove_os32_stride: Annotated[
        bool, "Remove the stride of the branch with output stride 32 (NAS networks)."
    ] = False
    # 4, 8, 16 or 32; with cascaded_blocks up to 256.
    output_stride: Annotated[
        int, Range(at_least=1, at_most=256), "Ratio of image size to feature size."
    ] = 16

    # --- The head: ASPP (v3, section 3.3), or a dense prediction cell (arXiv 1809.04184) ---
    # None: no 3x3 branches.
    atrous_rates: Annotated[
        tuple[AtrousRate, ...] | None, "Atrous rate of a branch of the ASPP."
    ] = None
    add_image_level_feature: Annotated[bool, "Add the image-level feature to the head."] = True
    image_pooling_crop_size: Annotated[
        Size | None,
        "Pool the image-level feature over windows of this height,width of the image. Default: the"
        " whole image.",
    ] = None
    # None is taken as (1, 1).
    image_pooling_stride: Annotated[
        Size | None, "Stride height,width of the pooling windows, in feature pixels."
    ] = (1, 1)
    aspp_with_batch_norm: Annotated[
        bool,
        "Use the ASPP. If false, --atrous_rates are the rates of parallel logits (v2), or of"
        " VGG-16's parallel branches.",
    ] = True
    aspp_with_separable_conv: Annotated[
        bool, "Use depthwise separable convolutions in the ASPP."
    ] = True
    aspp_convs_filters: Annotated[Channels, "Channels of each branch of the ASPP."] = 256
    aspp_with_concat_projection: Annotated[
        bool, "Project the concatenated branches of the ASPP to --aspp_convs_filters channels."
    ] = True
    # MobileNetV3, arXiv 1905.02244, section 6.4.
    aspp_with_squeeze_and_excitation: Annotated[
        bool, "Use the image-level feature as a gate on the other branches of the ASPP."
    ] = False
    image_se_uses_qsigmoid: Annotated[
        bool, "Compute that gate as relu6(x + 3) / 6 in place of the sigmoid."
    ] = False
    dense_prediction_cell_json: Annotated[
        str, "JSON file that describes a dense prediction cell to use in place of the ASPP."
    ] = ""

    # --- The decoder (v3+, arXiv 1802.02611) ---
    # Coarse to fine.
    decoder_output_stride: Annotated[
        tuple[Annotated[int, Range(at_least=1, at_most=256)], ...] | None,
        InOneFlag(),
        "Output strides of the low-level features that the decoder uses, such as 4 or 8,4."
        " Default: no decoder.",
    ] = None
    decoder_use_separable_conv: Annotated[
        bool, "Use depthwise separable convolutions in the decoder."
    ] = True
    decoder_filters: Annotated[Channels, "Channels of the decoder's convolutions."] = 256
    decoder_use_sum_merge: Annotated[
        bool, "Merge features by a sum in place of concatenation and two convolutions."
    ] = False
    # No batch norm, no activation and no classifier follow.
    decoder_output_is_logits: Annotated[bool, "Use the decoder's output as the logits."] = False

    # --- Logits and predictions ---
    # The background counts, the ignore label does not.
    num_classes: Annotated[NumClasses, "Number of classes."] = 21
    logits_kernel_size: Annotated[
        int,
        Range(at_least=1, at_most=127),
        "Kernel size of the classifier; above 1 needs --aspp_with_batch_norm=false.",
    ] = 1
    # None: only scale 1.
    image_pyramid: Annotated[
        tuple[Scale, ...] | None,
        "Scale at which the network sees the image.",
    ] = None
    merge_method: Annotated[
        Literal["max", "avg"], "How the logits of the scales of --image_pyramid are merged."
    ] = "max"
    prediction_with_upsampled_logits: Annotated[
        bool, "Upsample the logits before the arg-max; if false, upsample the arg-max."
    ] = True
    # The official flag is quantize_delay_step, not below 0. See `core.quantization`.
    quantize: Annotated[bool, "Simulate 8-bit inference."] = False

    # --- The images ---
    # None: unknown. Officially its flag is repeated.
    crop_size: Annotated[
        tuple[Side, Side] | None, "Height,width that images are cropped or padded to."
    ] = None
    # See `preprocess_utils.size_in_range`. None, or 0 as officially: images are not resized.
    min_resize_value: Annotated[
        int | None, Range(at_least=0, at_most=16384), "Resize images: size of the smaller side."
    ] = None
    max_resize_value: Annotated[
        int | None, Range(at_least=0, at_most=16384), "Resize images: limit of the larger side."
    ] = None
    resize_factor: Annotated[
        Side | None, "Resize images: both sides are multiples of this plus one."
    ] = None

    def __post_init__(self):
        validate(self, flags=_FLAGS)
        if self.image_pooling_stride is None:
            object.__setattr__(self, "image_pooling_stride", (1, 1))
        for name in ("min_resize_value", "max_resize_value"):
            object.__setattr__(self, name, getattr(self, name) or None)
        strides = self.decoder_output_stride or ()
        ordered = sorted(strides, reverse=True)
        if list(strides) != ordered:
            raise ValueError(
                f"--decoder_output_stride is {strides}; it must go from coarse to fine:"
                f" {','.join(map(str, ordered))}"
            )
        if self.min_resize_value is None and (self.max_resize_value or self.resize_factor):
            raise ValueError(
                "--max_resize_value and --resize_factor need --min_resize_value, which is not set"
            )
        parallel_logits = self.atrous_rates and not self.aspp_with_batch_norm
        if (
            self.logits_kernel_size != 1
            and not parallel_logits
            and not self.decoder_output_is_logits
        ):
            raise ValueError(
                f"--logits_kernel_size is {self.logits_kernel_size}; it must be 1 except for"
                " parallel logits (--aspp_with_batch_norm=false and --atrous_rates)"
            )

    def replace(self, **changes: Any) -> "ModelOptions":
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_json(self) -> str:
        """Return the options as a JSON object, one field per line."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "ModelOptions":
        """Read what `to_json` wrote.

        Raises:
            ValueError: The text is not a JSON object, or has an unknown field.
        """
        values = json_text.parse(text, "the file of options")
        if not isinstance(values, dict):
            raise ValueError(f"model options are a JSON object, not {type(values).__name__}")
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"unknown model options {unknown}; known are {sorted(known)}")
        return cls(**values)

    def check_trained(self, trained: "ModelOptions") -> None:
        """Reject options that change what trained weights mean.

        Two paths of dense prediction cells are taken to be of the same cell.

        Args:
            trained: The options that the weights were trained with.

        Raises:
            ValueError: A field differs that is not in `ADJUSTABLE`, or the number of atrous rates.
        """
        for field in dataclasses.fields(self):
            asked, original = getattr(self, field.name), getattr(trained, field.name)
            if asked == original or field.name in ADJUSTABLE:
                continue
            if field.name == "dense_prediction_cell_json" and asked and original:
                continue
            if field.name == "num_classes":
                raise ValueError(
                    f"{asked} classes are asked for (by --dataset or --num_classes), but the"
                    f" checkpoint was trained with {original}: name the dataset that it was"
                    " trained on, or another folder for a new run"
                )
            if field.name == "quantize":
                raise ValueError(
                    f"--quantize_delay_step is {'not ' * asked}below 0, but the checkpoint was"
                    f" trained with{'out' * asked} quantization; leave the flag out to take the"
                    " trained value, or name another folder for a new run"
                )
            raise ValueError(
                f"--{field.name} is {asked!r}, but the checkpoint was trained with {original!r};"
                " leave the flag out to take the trained value"
            )
        if len(self.atrous_rates or ()) != len(trained.atrous_rates or ()):
            raise ValueError(
                f"--atrous_rates has {self.atrous_rates}, but the checkpoint was trained with"
                f" {trained.atrous_rates}: the rates may change, their number may not"
            )
