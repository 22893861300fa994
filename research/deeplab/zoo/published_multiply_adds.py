"""Published multiply-adds of DeepLab networks, with the options of the networks."""

import dataclasses
from typing import Any

from deeplab import common
from deeplab.core import dense_prediction_cell

_PAPER = "arXiv 1802.02611"
_MODEL_ZOO = "official model zoo"


@dataclasses.dataclass(frozen=True)
class Published:
    """A published number of multiply-adds.

    Attributes:
        options: Options of the network.
        multiply_adds: Billions for one image of the network's crop size, as published.
        source: Where it is published.
        counts_operations: Multiplications, additions and activations are counted one by one; see
            `g3doc/model_info.md`.
    """

    options: common.ModelOptions
    multiply_adds: str
    source: str
    counts_operations: bool = False


def _on_voc(**options: Any) -> common.ModelOptions:
    return common.ModelOptions(num_classes=21, crop_size=(513, 513), **options)


def _on_cityscapes(**options: Any) -> common.ModelOptions:
    return common.ModelOptions(num_classes=19, crop_size=(1025, 2049), **options)


_ASPP_OS16 = {"output_stride": 16, "atrous_rates": (6, 12, 18)}
_ASPP_OS8 = {"output_stride": 8, "atrous_rates": (12, 24, 36)}
_DECODER = {"decoder_output_stride": (4,)}
_FULL_CONVOLUTIONS = {"aspp_with_separable_conv": False, "decoder_use_separable_conv": False}
_XCEPTION = {"model_variant": "xception_65"}
_RESNET = {"model_variant": "resnet_v1_101_beta", **_FULL_CONVOLUTIONS}
# Only the ResNet of DeepLab v3 had multi-grid rates.
_MULTI_GRID = {"multi_grid": (1, 2, 4)}
_DENSE_PREDICTION_CELL = {
    "dense_prediction_cell_json": "dense_prediction_cell_branch5_top1_cityscapes.json"
}
_MOBILENET_V3 = {
    "output_stride": 32,
    "image_pooling_crop_size": (769, 769),
    "image_pooling_stride": (4, 5),
    "aspp_convs_filters": 128,
    "aspp_with_concat_projection": False,
    "aspp_with_squeeze_and_excitation": True,
    "image_se_uses_qsigmoid": True,
    "decoder_output_stride": (8,),
    "decoder_filters": 19,
    "decoder_use_sum_merge": True,
    "decoder_output_is_logits": True,
}
_EDGETPU = {"model_variant": "mobilenet_edgetpu", "num_classes": 19, "crop_size": (513, 513)}
_EDGETPU_SLIM = {
    **_EDGETPU,
    "depth_multiplier": 0.75,
    "edgetpu_last_filters": 1280,
    "aspp_convs_filters": 128,
}

PUBLISHED: tuple[Published, ...] = (
    Published(_on_voc(), "2.75", _MODEL_ZOO),
    Published(_on_voc(depth_multiplier=0.5), "0.88", _MODEL_ZOO),
    Published(_on_voc(depth_multiplier=0.5, output_stride=8), "2.84", _MODEL_ZOO),
    Published(_on_voc(**_XCEPTION, **_ASPP_OS16, **_DECODER), "54.17", f"{_PAPER}, {_MODEL_ZOO}"),
    Published(_on_voc(**_XCEPTION, **_ASPP_OS8, **_DECODER), "177.10", _PAPER),
    Published(_on_voc(**_XCEPTION, **_FULL_CONVOLUTIONS, **_ASPP_OS16), "68.00", _PAPER),
    Published(
        _on_voc(**_XCEPTION, **_FULL_CONVOLUTIONS, **_ASPP_OS16, **_DECODER), "89.76", _PAPER
    ),
    Published(_on_voc(**_RESNET, **_MULTI_GRID, **_ASPP_OS16), "81.02", _PAPER),
    Published(_on_voc(**_RESNET, **_MULTI_GRID, **_ASPP_OS8), "276.18", _PAPER),
    Published(_on_voc(**_RESNET, **_ASPP_OS16, **_DECODER), "101.28", _PAPER),
    Published(_on_voc(**_RESNET, **_MULTI_GRID, **_ASPP_OS8, **_DECODER), "297.92", _PAPER),
    Published(_on_cityscapes(), "21.27", _MODEL_ZOO),
    Published(_on_cityscapes(**_XCEPTION, **_ASPP_OS16, **_DECODER), "418.64", _MODEL_ZOO),
    Published(
        _on_cityscapes(model_variant="xception_71", **_DENSE_PREDICTION_CELL, **_DECODER),
        "502.07",
        _MODEL_ZOO,
    ),
    Published(
        _on_cityscapes(model_variant="mobilenet_v3_large_seg", **_MOBILENET_V3),
        "15.95",
        _MODEL_ZOO,
        counts_operations=True,
    ),
    Published(
        _on_cityscapes(model_variant="mobilenet_v3_small_seg", **_MOBILENET_V3),
        "4.63",
        _MODEL_ZOO,
        counts_operations=True,
    ),
    # The size is not published; this one fits.
    Published(common.ModelOptions(**_EDGETPU, output_stride=32), "5.6", _MODEL_ZOO),
    Published(common.ModelOptions(**_EDGETPU, output_stride=16), "7.1", _MODEL_ZOO),
    Published(common.ModelOptions(**_EDGETPU_SLIM, output_stride=32), "3.5", _MODEL_ZOO),
    Published(common.ModelOptions(**_EDGETPU_SLIM, output_stride=16), "4.3", _MODEL_ZOO),
)


def find(options: common.ModelOptions) -> Published | None:
    """Return the published number for a network; None if there is none.

    Args:
        options: Options of the network. Those that do not change its size may differ.
    """
    key = _key(options)
    return next((each for each in PUBLISHED if _key(each.options) == key), None)


def _key(options: common.ModelOptions) -> tuple[Any, ...]:
    """Return a key that is equal for networks of the same size."""
    path = options.dense_prediction_cell_json
    cell = dense_prediction_cell.read(path) if path else None
    pyramid = options.image_pyramid
    return cell, options.replace(
        dense_prediction_cell_json="",
        image_pyramid=None if pyramid == (1.0,) else pyramid,
        merge_method="max",
        use_bounded_activation=False,
        prediction_with_upsampled_logits=True,
        min_resize_value=None,
        max_resize_value=None,
        resize_factor=None,
    )
