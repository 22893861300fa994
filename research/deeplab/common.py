"""What every script shares: the model's options as a value, and the flags that fill them in."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from absl import flags, logging

MERGE_METHODS = ("max", "avg")

# The name of the file that holds a network's options, beside its checkpoints and in its exports.
OPTIONS_FILE = "model_options.json"

# Not below 0: the network is quantised.
_QUANTIZE_FLAG = "quantize_delay_step"


def _option(default: Any, *, adjustable: bool = False) -> Any:
    """A field of `ModelOptions`.

    Args:
        default: its default.
        adjustable: whether a trained network may be run with another value. Every other field is
            part of what the weights mean.
    """
    return dataclasses.field(default=default, metadata={"adjustable": adjustable})


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Everything that defines a DeepLab network; names and defaults are the official flags'.

    Sequences may be given as any sequence of numbers or of their decimal strings (as absl list
    flags hold them), or as such a flag's text, and are kept as tuples of numbers; an empty one is
    None.

    Raises:
        ValueError: a value that no network can have; the message names the field.
    """

    # --- The backbone ---
    # Name of a backbone in `core.feature_extractor`.
    model_variant: str = _option("mobilenet_v2")
    # Factor on every layer's channels (MobileNet v2 and v3).
    depth_multiplier: float = _option(1.0)
    # Channel counts are rounded to multiples of this (MobileNetV2). None: 8, or 1 where
    # depth_multiplier is not 1.
    divisible_by: int | None = _option(None)
    # Factors on the atrous rate of the last block's units (ResNet, Xception); v3, section 3.2.
    multi_grid: tuple[int, ...] | None = _option(None)
    # Copies of the last block that follow it (ResNet); v3, section 3.2: three are blocks 5 to 7.
    cascaded_blocks: int = _option(0)
    # Kernel of fc6: 3 (LargeFOV), 4 or 7 (VGG-16); v1, table 2. Its rate is that of atrous_rates
    # where there is no ASPP; None: as wide as the image classifier's, 12, 8 and 4 at stride 8.
    vgg_fc6_kernel_size: int = _option(3)
    # Channels of fc6 and fc7: 1024 (LargeFOV) or 4096 (VGG-16).
    vgg_fc6_filters: int = _option(1024)
    # Add features of the image and of the first four poolings (VGG-16): MSc; v1, section 4.3.
    vgg_multi_scale_features: bool = _option(False)
    # ReLU6 in place of ReLU, which suits quantised inference.
    use_bounded_activation: bool = _option(False)
    # Channels of a cell's operations at output stride 4 (NAS networks).
    nas_stem_output_num_conv_filters: int = _option(20)
    # Keep the image classification head and take its input as the features (NAS networks).
    nas_use_classification_head: bool = _option(False)
    # Take the stride out of the branch with output stride 32 (NAS networks).
    nas_remove_os32_stride: bool = _option(False)
    # Ratio of image size to feature size: 4, 8, 16 or 32; with cascaded_blocks up to 256.
    output_stride: int = _option(16, adjustable=True)

    # --- The head: ASPP (v3, section 3.3), or a dense prediction cell (arXiv 1809.04184) ---
    # Atrous rates of the 3x3 branches. None: no such branches.
    atrous_rates: tuple[int, ...] | None = _option(None, adjustable=True)
    # Whether there is a branch with the image-level feature.
    add_image_level_feature: bool = _option(True)
    # Pool over windows of this (height, width) of the image. None: over the whole image.
    image_pooling_crop_size: tuple[int, int] | None = _option(None, adjustable=True)
    # Stride of these windows, in feature pixels.
    image_pooling_stride: tuple[int, int] = _option((1, 1), adjustable=True)
    # False leaves the whole head out; atrous_rates then are those of parallel logits (v2), or of
    # VGG-16's parallel fc6.
    aspp_with_batch_norm: bool = _option(True)
    # Depthwise separable 3x3 branches.
    aspp_with_separable_conv: bool = _option(True)
    # Output channels of each branch.
    aspp_convs_filters: int = _option(256)
    # Project the concatenated branches back to aspp_convs_filters channels.
    aspp_with_concat_projection: bool = _option(True)
    # The image-level feature gates the other branches and is no branch itself (MobileNetV3,
    # arXiv 1905.02244, section 6.4).
    aspp_with_squeeze_and_excitation: bool = _option(False)
    # That gate is relu6(x + 3) / 6 in place of the sigmoid.
    image_se_uses_qsigmoid: bool = _option(False)
    # Path of a JSON file that describes a dense prediction cell to use in place of ASPP.
    dense_prediction_cell_json: str = _option("")

    # --- The decoder (v3+, arXiv 1802.02611) ---
    # Output strides of the low-level features that refine the head's output, coarse to fine.
    # None: no decoder.
    decoder_output_stride: tuple[int, ...] | None = _option(None)
    # Depthwise separable convolutions.
    decoder_use_separable_conv: bool = _option(True)
    # Channels of the decoder's convolutions.
    decoder_filters: int = _option(256)
    # Merge by a sum in place of concatenation and two convolutions.
    decoder_use_sum_merge: bool = _option(False)
    # The decoder's output is the logits: no batch norm, no activation, no classifier after it.
    decoder_output_is_logits: bool = _option(False)

    # --- Logits and predictions ---
    # Number of classes, the background included, the ignored label not.
    num_classes: int = _option(21)
    # Size of the classifier's kernel; above 1 only without the ASPP.
    logits_kernel_size: int = _option(1)
    # Scales at which the image is seen; their logits are merged. None: only 1.
    image_pyramid: tuple[float, ...] | None = _option(None, adjustable=True)
    # How they are merged: "max" or "avg".
    merge_method: str = _option("max", adjustable=True)
    # Upsample logits and take the arg-max, or upsample the arg-max.
    prediction_with_upsampled_logits: bool = _option(True, adjustable=True)

    # Whether weights and activations are rounded as 8-bit integers round them, see
    # `core.quantization` (the official flag quantize_delay_step, not below 0).
    quantize: bool = _option(False)

    # --- The images ---
    # (height, width) that images are cropped or padded to. None: unknown.
    crop_size: tuple[int, int] | None = _option(None, adjustable=True)
    # Images are resized so that their smaller side has at least, and the larger one at most,
    # these many pixels, both sides a multiple of resize_factor plus one. None: not resized.
    min_resize_value: int | None = _option(None, adjustable=True)
    max_resize_value: int | None = _option(None, adjustable=True)
    resize_factor: int | None = _option(None, adjustable=True)

    def __post_init__(self):
        for name, number in (
            ("multi_grid", int),
            ("atrous_rates", int),
            ("image_pooling_crop_size", int),
            ("image_pooling_stride", int),
            ("decoder_output_stride", int),
            ("image_pyramid", float),
            ("crop_size", int),
        ):
            object.__setattr__(self, name, _numbers(name, getattr(self, name), number))
        for name in ("image_pooling_crop_size", "image_pooling_stride", "crop_size"):
            pair = getattr(self, name)
            if pair is not None and (len(pair) != 2 or min(pair) < 1):
                flag = {"crop_size": "the crop size (--train_crop_size, --crop_size, ...)"}
                raise ValueError(
                    f"{flag.get(name, f'--{name}')} is height,width, both at least 1, not {pair}"
                )
        if self.image_pooling_stride is None:
            object.__setattr__(self, "image_pooling_stride", (1, 1))
        if self.merge_method not in MERGE_METHODS:
            raise ValueError(f"merge_method is one of {MERGE_METHODS}, not {self.merge_method!r}")
        if self.num_classes < 2:
            raise ValueError(f"num_classes is {self.num_classes}; it must be at least 2")
        for name in (
            "output_stride",
            "logits_kernel_size",
            "aspp_convs_filters",
            "decoder_filters",
            "divisible_by",
            "vgg_fc6_filters",
        ):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.cascaded_blocks < 0:
            raise ValueError(f"cascaded_blocks is {self.cascaded_blocks}; it must be at least 0")
        if self.depth_multiplier <= 0:
            raise ValueError(f"depth_multiplier is {self.depth_multiplier}; it must be above 0")
        for name in ("atrous_rates", "image_pyramid", "decoder_output_stride", "multi_grid"):
            if any(value <= 0 for value in getattr(self, name) or ()):
                raise ValueError(f"{name} is {getattr(self, name)}; every value must be above 0")
        strides = self.decoder_output_stride or ()
        if list(strides) != sorted(strides, reverse=True):
            ordered = ",".join(map(str, sorted(strides, reverse=True)))
            raise ValueError(
                f"decoder_output_stride is {strides}; it goes from coarse to fine: {ordered}"
            )
        if self.min_resize_value is None and (self.max_resize_value or self.resize_factor):
            raise ValueError(
                "max_resize_value and resize_factor need min_resize_value, which is not set"
            )
        parallel_logits = self.atrous_rates and not self.aspp_with_batch_norm
        if (
            self.logits_kernel_size != 1
            and not parallel_logits
            and not self.decoder_output_is_logits
        ):
            raise ValueError(
                f"logits_kernel_size is {self.logits_kernel_size}; it must be 1 but for parallel"
                " logits (aspp_with_batch_norm=false and atrous_rates)"
            )

    def replace(self, **changes: Any) -> "ModelOptions":
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_json(self) -> str:
        """The options as a JSON object, one field a line."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "ModelOptions":
        """Reads what `to_json` wrote.

        Raises:
            ValueError: the text is no JSON object, or has a field that is unknown here.
        """
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"model options are a JSON object, not {type(values).__name__}")
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"unknown model options {unknown}; known are {sorted(known)}")
        return cls(**values)

    @classmethod
    def from_flags(
        cls,
        flag_values: flags.FlagValues,
        stored: "ModelOptions | None" = None,
        **fixed: Any,
    ) -> "ModelOptions":
        """The options that a script's flags ask for.

        Args:
            flag_values: parsed flags.
            stored: options that the weights were trained with. A flag that was not given takes
                their value.
            **fixed: fields that no flag of that name holds (`num_classes`, `crop_size`, ...).

        Returns:
            The options.

        Raises:
            ValueError: a value that no network can have, or a flag that contradicts `stored`.
        """
        values = dataclasses.asdict(stored) if stored else {}
        for field in dataclasses.fields(cls):
            if field.name in flag_values and field.name not in fixed:
                flag = flag_values[field.name]
                if stored is None or flag.present:
                    values[field.name] = flag.value
        if _QUANTIZE_FLAG in flag_values:
            flag = flag_values[_QUANTIZE_FLAG]
            if stored is None or flag.present:
                values["quantize"] = flag.value >= 0
        options = cls(**{**values, **fixed})
        if stored:
            _check_against(options, stored)
        return options


def _numbers(name: str, values: Any, number: type) -> tuple | None:
    """`values` as a tuple of numbers; None where there are none."""
    if values is None:
        return None
    if isinstance(values, str):
        values = values.split(",") if values else ()
    try:
        numbers = tuple(number(value) for value in values)
        exact = all(float(value) == each for value, each in zip(values, numbers, strict=True))
    except (TypeError, ValueError):
        exact = False
    if not exact:
        kind = "whole numbers" if number is int else "numbers"
        raise ValueError(f"{name} is a list of {kind}; it has {values!r}")
    return numbers or None


def _same_cell(asked: str, trained: str) -> bool:
    """Whether two files describe the same dense prediction cell; a checkpoint keeps a copy."""
    if not asked or not trained:
        return asked == trained
    # It imports TensorFlow, for which --help should not wait.
    from deeplab.core import dense_prediction_cell

    return dense_prediction_cell.read(asked) == dense_prediction_cell.read(trained)


def _check_against(options: ModelOptions, stored: ModelOptions) -> None:
    """Refuses options that change what trained weights mean."""
    for field in dataclasses.fields(ModelOptions):
        asked, trained = getattr(options, field.name), getattr(stored, field.name)
        if field.name == "dense_prediction_cell_json" and _same_cell(asked, trained):
            continue
        if field.name == "num_classes" and asked != trained:
            raise ValueError(
                f"{asked} classes are asked for (by --dataset or --num_classes), but the checkpoint"
                f" was trained with {trained}: name the data set that it was trained on, or another"
                " folder for a new run"
            )
        if field.name == "quantize" and asked != trained:
            raise ValueError(
                f"--{_QUANTIZE_FLAG} is {'not ' * asked}below 0, but the checkpoint was trained"
                f" with{'out' * asked} quantisation; leave the flag out to take the trained value,"
                " or name another folder for a new run"
            )
        if asked != trained and not field.metadata["adjustable"]:
            raise ValueError(
                f"--{field.name} is {asked!r}, but the checkpoint was trained with {trained!r};"
                " leave the flag out to take the trained value"
            )
    if len(options.atrous_rates or ()) != len(stored.atrous_rates or ()):
        raise ValueError(
            f"--atrous_rates has {options.atrous_rates}, but the checkpoint was trained with"
            f" {stored.atrous_rates}: the rates may change, their number may not"
        )
    if (
        options.output_stride != stored.output_stride
        and options.atrous_rates
        and options.atrous_rates == stored.atrous_rates
    ):
        scale = stored.output_stride / options.output_stride
        logging.warning(
            "trained at output stride %d with atrous rates %s; at output stride %d the same fields"
            " of view need --atrous_rates=%s",
            stored.output_stride,
            list(stored.atrous_rates),
            options.output_stride,
            " --atrous_rates=".join(f"{rate * scale:g}" for rate in stored.atrous_rates),
        )


# Official flags that the official code never read, with what does their work.
UNUSED_FLAGS = {
    "batch_norm_decay": "each part of the network has its own decay, as in the official code",
    "keep_aspect_ratio": "resizing always keeps the aspect ratio, as in the official code",
}


def log_unused_flags(flag_values: flags.FlagValues, unused: dict[str, str]) -> None:
    """Says in one line, for each flag that was given and has no effect, what does its work."""
    for name, reason in unused.items():
        if flag_values[name].present:
            logging.info("--%s has no effect: %s", name, reason)


def refuse_unfinished_flags(flag_values: flags.FlagValues, only: dict[str, Any]) -> None:
    """Raises an error for a flag that asks for what is not there yet.

    Args:
        flag_values: parsed flags.
        only: flag name to the one value that it may have.

    Raises:
        ValueError: a flag has another value.
    """
    for name, value in only.items():
        if flag_values[name].value != value:
            raise ValueError(
                f"--{name}={flag_values[name].value} is not there yet: leave the flag out"
                f" (its default is {value!r})"
            )


def definer(module_name: str, flag_values: flags.FlagValues) -> Callable[..., None]:
    """A function that defines a module's flags: kind, name, default, help and what else it needs.

    Args:
        module_name: whose flags they are, for --help.
        flag_values: where they are defined.
    """

    def define(kind: str, name: str, default: Any, help_text: str, **kwargs: Any) -> None:
        getattr(flags, f"DEFINE_{kind}")(
            name=name,
            default=default,
            help=help_text,
            flag_values=flag_values,
            module_name=module_name,
            **kwargs,
        )

    return define


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags that train, eval, vis and export share (official `common.py`)."""

    define = definer("deeplab.common", flag_values)
    define("string", "model_variant", "mobilenet_v2", "Name of the backbone.")
    define("float", "depth_multiplier", 1.0, "Factor on every layer's channels (MobileNet).")
    define("integer", "divisible_by", None, "Round channels to multiples of this (MobileNetV2).")
    define(
        "multi_integer",
        "multi_grid",
        None,
        "Factors on the atrous rates of the last block's units (ResNet, Xception).",
    )
    define("integer", "cascaded_blocks", 0, "Copies of the last block that follow it (ResNet).")
    define("integer", "vgg_fc6_kernel_size", 3, "Kernel of fc6: 3, 4 or 7 (VGG-16).")
    define("integer", "vgg_fc6_filters", 1024, "Channels of fc6 and fc7 (VGG-16).")
    define(
        "bool",
        "vgg_multi_scale_features",
        False,
        "Add features of the image and of the first four poolings (VGG-16).",
    )
    define("bool", "use_bounded_activation", False, "ReLU6 in place of ReLU.")
    define(
        "integer",
        "nas_stem_output_num_conv_filters",
        20,
        "Channels of a cell's operations at output stride 4 (NAS networks).",
    )
    define(
        "bool", "nas_use_classification_head", False, "Keep the classification head (NAS networks)."
    )
    define(
        "bool",
        "nas_remove_os32_stride",
        False,
        "Take the stride out of the branch with output stride 32 (NAS networks).",
    )
    define("bool", "add_image_level_feature", True, "Add the image-level feature to the head.")
    define(
        "list",
        "image_pooling_crop_size",
        None,
        "Pool the image-level feature over windows of this height,width of the image. Default: the"
        " whole image.",
    )
    define(
        "list",
        "image_pooling_stride",
        ["1", "1"],
        "Stride height,width of these windows, in feature pixels.",
    )
    define(
        "bool",
        "aspp_with_batch_norm",
        True,
        "False leaves the ASPP out; --atrous_rates then are those of parallel logits (VGG-16: of"
        " parallel branches).",
    )
    define("bool", "aspp_with_separable_conv", True, "Separable convolutions in the ASPP.")
    define("integer", "aspp_convs_filters", 256, "Channels of each branch of the ASPP.")
    define("bool", "aspp_with_concat_projection", True, "Project the concatenated ASPP branches.")
    define(
        "bool",
        "aspp_with_squeeze_and_excitation",
        False,
        "The image-level feature gates the other branches of the ASPP.",
    )
    define("bool", "image_se_uses_qsigmoid", False, "That gate is relu6(x + 3) / 6.")
    define(
        "string",
        "dense_prediction_cell_json",
        "",
        "JSON file that describes a dense prediction cell to use in place of the ASPP.",
    )
    define(
        "list",
        "decoder_output_stride",
        None,
        "Output strides of the low-level features that the decoder uses, such as 4 or 8,4."
        " Default: no decoder.",
    )
    define("bool", "decoder_use_separable_conv", True, "Separable convolutions in the decoder.")
    define("integer", "decoder_filters", 256, "Channels of the decoder's convolutions.")
    define("bool", "decoder_use_sum_merge", False, "The decoder merges by a sum.")
    define("bool", "decoder_output_is_logits", False, "The decoder's output is the logits.")
    define(
        "integer",
        "logits_kernel_size",
        1,
        "Size of the classifier's kernel; above 1 needs --aspp_with_batch_norm=false.",
    )
    define(
        "multi_float",
        "image_pyramid",
        None,
        "Scale at which the network sees the image; repeat it for several.",
    )
    define(
        "enum",
        "merge_method",
        "max",
        "How the logits of --image_pyramid are merged.",
        enum_values=list(MERGE_METHODS),
    )
    define(
        "bool",
        "prediction_with_upsampled_logits",
        True,
        "Upsample logits before the arg-max (else the arg-max is upsampled).",
    )
    define("integer", "min_resize_value", None, "Resize images: size of the smaller side.")
    define("integer", "max_resize_value", None, "Resize images: limit of the larger side.")
    define("integer", "resize_factor", None, "Resized sides are multiples of this plus one.")
    define("bool", "keep_aspect_ratio", True, "No effect: resizing always keeps it.")
    define(
        "multi_float",
        "label_weights",
        None,
        "Weight of a class in the loss; repeat it, one for each class. Default: all 1.",
    )
    define("float", "batch_norm_decay", 0.9997, "No effect: each part has its official decay.")
