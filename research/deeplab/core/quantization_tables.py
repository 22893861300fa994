"""The places of the quantizers in each family of backbones, and in the heads.

Every convolution has a quantizer for its weight and one for its output; see `quantization`. The
tables hold everything else, and the convolutions that are different.
"""

from collections.abc import Iterator

from deeplab.core import nas_genotypes
from deeplab.core.options import ModelOptions
from deeplab.core.quantization import (
    ACTIVATION,
    AFTER_SUM,
    BEFORE_SUM,
    PRODUCT,
    SUM,
    WEIGHTS,
    Site,
)
from deeplab.core.xception import Depth

Sites = tuple[Site, ...]

# The second activation of several steps in a scope.
_SECOND_ACTIVATION = f"{ACTIVATION}_1"

# A residual connection is rounded after the sum.
MOBILENET: Sites = (Site(r"expanded_conv(_\d+)?/\.add", AFTER_SUM),)

MOBILENET_V3: Sites = (
    *MOBILENET,
    Site(r"squeeze_excite/\.mul", f"mul/{PRODUCT}"),
    # An expansion comes before each of these.
    Site(r"depthwise/\.hard_swish/\.relu6", f"../{_SECOND_ACTIVATION}"),
    Site(r"Conv_1/\.hard_swish/\.relu6", f"../{_SECOND_ACTIVATION}"),
)


def resnet_v1(depth: int) -> Sites:
    """Return the places in a ResNet: a sum is rounded after its ReLU.

    Among the inputs of a sum, the official names treat the first convolution differently: that is
    the shortcut, if there is one, and else the last convolution of the unit.
    """
    last_convolution = "lite_bottleneck_v1/conv2" if depth == 18 else "bottleneck_v1/conv3"
    return (
        Site(r"(lite_)?bottleneck_v1/\.relu", ACTIVATION),
        Site(r"shortcut/\.linear", BEFORE_SUM),
        Site(rf"{last_convolution}/\.linear", BEFORE_SUM, unless="../shortcut"),
    )


def xception(depth: Depth, *, bounded_activation: bool) -> Sites:
    """Return the places in an Xception.

    Outputs that only a ReLU follows are rounded after it; sums before and after. With bounded
    activations the places are the default ones.
    """
    if bounded_activation:
        return ()
    modules = [f"entry_flow/block{block}/unit_1" for block in range(1, len(depth.entry_flow) + 1)]
    modules += [f"middle_flow/block1/unit_{unit}" for unit in range(1, depth.middle_units + 1)]
    modules.append("exit_flow/block1/unit_1")
    # The last module, exit_flow/block2, activates after each convolution and has no shortcut.
    summing = r"(entry_flow|middle_flow|exit_flow/block1)/(.*/)?xception_module"
    return (
        Site(rf"{summing}/\.add", f"add/{SUM}"),
        Site(rf"{summing}/separable_conv[12]_pointwise/\.linear", None),
        Site(rf"{summing}/\.relu_2", f"separable_conv1_pointwise/{ACTIVATION}"),
        Site(rf"{summing}/\.relu_3", f"separable_conv2_pointwise/{ACTIVATION}"),
        Site(
            r"(entry|middle)_flow/.*/xception_module/separable_conv3_pointwise/\.linear",
            BEFORE_SUM,
        ),
        # The first ReLU of a module rounds the output of the module before.
        *(
            Site(
                rf"{module}/xception_module/\.relu_1",
                f"../../../../{before}/xception_module/{ACTIVATION}",
            )
            for before, module in zip(modules, modules[1:], strict=False)
        ),
    )


def nas(genotype: nas_genotypes.Genotype, options: ModelOptions) -> Sites:
    """Return the places in a NAS network: values are rounded once, after their first ReLU."""
    return tuple(_nas(genotype, classification_head=options.nas_use_classification_head))


def _nas(genotype: nas_genotypes.Genotype, *, classification_head: bool) -> Iterator[Site]:
    """Yield the sites of `nas`.

    Args:
        genotype: The operations of the cells.
        classification_head: Whether the network has one.
    """
    # The depthwise half of a separable convolution.
    yield Site(r"\.depthwise/\.weights", f"separable_conv2d/{WEIGHTS}")
    yield Site(r"\.depthwise/\.linear", f"separable_conv2d/{ACTIVATION}")
    # The stem; the first cell takes its last convolution's output.
    yield Site(r"\.stem/conv[012]/\.linear", None)
    yield Site(r"\.stem/\.conv0_relu", f"conv0/{ACTIVATION}")
    yield Site(r"\.stem/\.conv1_relu", f"conv1/{ACTIVATION}")
    yield Site(r"cell_0/\.1x1/\.relu", f"../conv2/{ACTIVATION}")
    yield from _cell(genotype)
    if classification_head:
        yield Site(r"\.head/.*_conv/\.linear", None)
        yield Site(r"\.head/\.(\w+)_relu", rf"\1_conv/{ACTIVATION}")


def _cell(genotype: nas_genotypes.Genotype) -> Iterator[Site]:
    """Return the places in cells of a genotype."""
    separable = [
        (index, side, operation)
        for index, operations in enumerate(genotype)
        for side, operation in zip(("left", "right"), operations, strict=True)
        if operation.rectifies
    ]
    # The input of the cell before, which a convolution projects if its channels differ.
    yield Site(r"prev_1x1/\.linear", None)
    # Scope of each state that is rounded after the first ReLU it meets.
    sources = {2 + index: f"comb_iter_{index}/left" for index in range(len(genotype))}
    sources[1] = "prev_1x1"
    for index, side, operation in separable:
        place, size = (
            rf"comb_iter_{index}/{side}",
            f"{operation.kernel_size}x{operation.kernel_size}",
        )
        first = f"atrous_{size}"
        if operation.kind == "separable":
            first, second = f"separable_{size}_1", f"separable_{size}_2"
            yield Site(rf"{place}/\.{first}/{first}/\.pointwise/\.linear", None)
            yield Site(rf"{place}/\.{second}/\.relu", f"{first}/{ACTIVATION}")
        if source := sources.pop(operation.state, None):
            given = "../../prev_1x1" if operation.state == 1 else None
            yield Site(rf"{place}/\.{first}/\.relu", f"../../{source}/{ACTIVATION}", given=given)
    # If a sum of two convolutions is rectified, the first one has a quantizer of its own.
    rectified = {operation.state - 2 for _, _, operation in separable}
    for index, side, operation in separable:
        if side == "left" and index in rectified:
            last = r"\.atrous_\w+/atrous_\w+"
            if operation.kind == "separable":
                last = r"\.separable_\w+_2/separable_\w+_2/\.pointwise"
            yield Site(rf"comb_iter_{index}/left/{last}/\.linear", BEFORE_SUM)
    yield Site(r"comb_iter_\d+/\.sum", f"combine/add/{SUM}")


def heads(options: ModelOptions) -> Sites:
    """Return the places after the backbone: in ASPP, decoder and logits."""
    return tuple(_heads(options))


def _heads(options: ModelOptions) -> Iterator[Site]:
    """Yield the sites of `heads`."""
    has_aspp = options.aspp_with_batch_norm and not options.dense_prediction_cell_json
    if has_aspp and options.aspp_with_concat_projection:
        # In training, dropout's two products: by the inverse of the share that is kept, and by the
        # mask.
        dropout = "concat_projection_dropout/dropout"
        yield Site(
            r"\.aspp/\.dropout/\.before",
            f"{dropout}/mul/{PRODUCT}",
            only_in_training=True,
            divisor=0.9,
        )
        yield Site(r"\.aspp/\.dropout/\.after", f"{dropout}/mul_1/{PRODUCT}", only_in_training=True)
        if options.aspp_with_squeeze_and_excitation and options.add_image_level_feature:
            # The official code rounds the gated features where they are projected. It is the second
            # product of the official graph outside of all scopes, after preprocessing.
            yield Site(r"\.aspp/\.mul", f"mul_1/{PRODUCT}")
    if options.decoder_use_sum_merge:
        # Officially named after what comes before the sum: an activation or not.
        for index in range(len(options.decoder_output_stride or ())):
            suffix = f"_{index}" if index else ""
            name = f"{AFTER_SUM}{suffix}"
            if options.decoder_output_is_logits:
                name = f"add{suffix}/{SUM}"
            yield Site(rf"\.stage{suffix}/\.add", name)
