"""The network of a checkpoint, and the layers that new classes have to train from scratch."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from deeplab import model
from deeplab.core import feature_extractor, networks, scopes
from deeplab.core.options import ModelOptions
from deeplab.core.wording import counted
from deeplab.training.recipe.facts import NewLayers
from deeplab.utils import checkpoint
from deeplab.weights import initial_values

_RATES_AT_16 = (6, 12, 18)
_LOGITS = f"{model.LOGITS_SCOPE}/semantic/weights"
_DECODER_STRIDES = (8, 4)
_GIVE_FLAGS = (
    "give the flags of its network (--model_variant, --atrous_rates, --decoder_output_stride, ...),"
    " for example with the --flagfile of its recipe"
)

Shapes = Mapping[str, Sequence[int]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class StartingNetwork:
    """A network for a dataset that starts from a checkpoint.

    Attributes:
        options: The network.
        origin: Its origin, a phrase for a comment.
        new_layers: The layers whose values are not in the checkpoint.
        num_classes: Number of classes of the checkpoint; None: it has no classifier.
    """

    options: ModelOptions
    origin: str
    new_layers: NewLayers
    num_classes: int | None


def find(path: str, given: Mapping[str, Any], num_classes: int) -> StartingNetwork:
    """Return the network of a checkpoint, changed for a number of classes.

    The options stored beside the checkpoint determine it or, without these, its variables.

    Args:
        path: Prefix of the checkpoint, or a folder, whose newest checkpoint is taken.
        given: Fields of `ModelOptions` that flags give.
        num_classes: Number of classes of the dataset.

    Raises:
        FileNotFoundError: There is no checkpoint.
        ValueError: The checkpoint's network is unknown, or is not the one of the flags.
    """
    reader = checkpoint.read(path)
    shapes = reader.get_variable_to_shape_map()
    stored = checkpoint.load_options(path)
    if stored:
        options, origin = stored.replace(**given), "of the options stored beside the checkpoint"
        before = stored.num_classes
    else:
        options = infer(shapes, given)
        origin = "of the flags" if "model_variant" in given else "of the checkpoint's variables"
        before = shapes[_LOGITS][-1] if _LOGITS in shapes else None
    start = _for_classes(options, origin, given, before, num_classes)
    _check(start, reader, path)
    return start


def infer(shapes: Shapes, given: Mapping[str, Any]) -> ModelOptions:
    """Return the network that has variables of these names and shapes.

    Args:
        shapes: Shape of each variable, by official name.
        given: Fields of `ModelOptions` that are known.

    Raises:
        ValueError: The variables fit no known backbone, or several.
    """
    variant = given.get("model_variant") or _variant(shapes)
    found: dict[str, Any] = {"model_variant": variant}
    spec = feature_extractor.get_backbone(variant)
    if spec.depth_multipliers and "depth_multiplier" not in given:
        found["depth_multiplier"] = _depth_multiplier(variant, shapes)
    branches = {match[1] for name in shapes if (match := re.match(r"aspp([1-9]\d*)(_|/)", name))}
    stride = given.get("output_stride", ModelOptions().output_stride)
    if branches and "atrous_rates" not in given:
        if len(branches) != len(_RATES_AT_16):
            raise ValueError(
                f"the checkpoint has {counted(len(branches), 'atrous branch')}: {_GIVE_FLAGS}"
            )
        found["atrous_rates"] = tuple(rate * 16 // stride for rate in _RATES_AT_16)
        found["aspp_with_separable_conv"] = any(
            name.startswith("aspp1_depthwise/") for name in shapes
        )
    has_head = any(name.startswith(("aspp0/", "concat_projection/", "logits/")) for name in shapes)
    if has_head:
        found["add_image_level_feature"] = _has(shapes, "image_pooling/")
        if _has(shapes, "decoder/") and "decoder_output_stride" not in given:
            found["decoder_output_stride"] = (4,)
    elif not spec.has_light_head:
        # The published networks that started from such a checkpoint.
        found |= {"atrous_rates": tuple(rate * 16 // stride for rate in _RATES_AT_16)}
        found |= {"decoder_output_stride": (4,)}
    return ModelOptions(**{**found, **given})


def _has(shapes: Iterable[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in shapes)


def _backbone_shapes(variant: str, **options: Any) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a backbone's variables by official name."""
    spec = feature_extractor.get_backbone(variant)
    backbone = spec.build(ModelOptions(model_variant=variant, **options))
    networks.start_at_zero(backbone)
    backbone(tf.zeros((1, 33, 33, 3)))
    return {
        f"{spec.scope}/{scopes.official_name(weight.path, backbone.name)}": tuple(weight.shape)
        for weight in backbone.weights
    }


def _variant(shapes: Shapes) -> str:
    """Return the backbone whose variables the checkpoint has."""
    roots = {name.partition("/")[0] for name in shapes}
    fitting = [
        name for name, backbone in feature_extractor.BACKBONES.items() if backbone.scope in roots
    ]
    if len(fitting) > 1:
        fitting = [name for name in fitting if _backbone_shapes(name).keys() <= shapes.keys()]
    if len(fitting) != 1:
        raise ValueError(
            f"the backbone of the checkpoint's variables ({', '.join(sorted(roots))}) is unknown:"
            f" {_GIVE_FLAGS}"
        )
    return fitting[0]


def _depth_multiplier(variant: str, shapes: Shapes) -> float:
    """Return the published factor on the channels that is nearest to the checkpoint's."""
    whole = _backbone_shapes(variant)
    widest = max((name for name in whole if name in shapes), key=lambda name: whole[name][-1])
    factor = shapes[widest][-1] / whole[widest][-1]
    known = feature_extractor.get_backbone(variant).depth_multipliers
    return min(known, key=lambda multiplier: abs(multiplier - factor))


def _for_classes(
    options: ModelOptions,
    origin: str,
    given: Mapping[str, Any],
    before: int | None,
    num_classes: int,
) -> StartingNetwork:
    """Change the network for other classes than those of the checkpoint."""
    new_layers: NewLayers = "none"
    if before != num_classes:
        new_layers = "head" if before is None else "logits"
        spec = feature_extractor.get_backbone(options.model_variant)
        strides = [
            stride
            for stride in _DECODER_STRIDES
            if stride in spec.decoder_end_points and stride < options.output_stride
        ]
        has_own_decoder = options.decoder_output_stride or "decoder_output_stride" in given
        if options.decoder_output_is_logits:
            new_layers = "head"
            options = options.replace(num_classes=num_classes, decoder_filters=num_classes)
        elif strides and not has_own_decoder and options.aspp_with_batch_norm:
            new_layers = "decoder"
            options = options.replace(
                num_classes=num_classes,
                decoder_output_stride=tuple(strides),
                decoder_use_sum_merge=True,
                decoder_output_is_logits=True,
                decoder_filters=num_classes,
            )
    options = options.replace(num_classes=num_classes, crop_size=None, quantize=False)
    return StartingNetwork(
        options=options, origin=origin, new_layers=new_layers, num_classes=before
    )


def _check(start: StartingNetwork, reader: checkpoint.Reader, path: str) -> None:
    """Reject a network for which the checkpoint lacks variables."""
    new = {
        "none": (),
        "logits": (model.LOGITS_SCOPE,),
        "decoder": (model.LOGITS_SCOPE, "decoder"),
        "head": model.LAST_LAYER_SCOPES,
    }[start.new_layers]
    net = model.DeepLab(start.options, random_weights=False)
    variables = checkpoint.official_variables(net)
    variant = start.options.model_variant
    sources = feature_extractor.get_backbone(variant).weight_sources
    values = initial_values.InitialValues(reader, variables, sources)
    shapes = values.get_variable_to_shape_map()
    for name, variable in variables.items():
        if name.startswith(tuple(new)):
            continue
        if name not in shapes or tuple(shapes[name]) != tuple(variable.shape):
            there = tuple(shapes[name]) if name in shapes else "missing"
            raise ValueError(
                f"--tf_initial_checkpoint={path} does not fit the network of the recipe: {name} is"
                f" {there} there, {tuple(variable.shape)} in {variant}:"
                f" {_GIVE_FLAGS}"
            )
