"""The flags of scripts that use a trained network: those of eval and vis; export has some."""

from collections.abc import Callable

from deeplab import common

UNUSED_FLAGS = {
    **common.UNUSED_FLAGS,
    "label_weights": "weights of classes count in the loss of training only",
}
# Flags whose work is not there yet, with the only value that can be asked for.
NOT_THERE_YET = {"master": ""}


def define_network_flags(define: Callable[..., None], output_stride: int = 16) -> None:
    """Defines what is taken of the checkpoint, and how: for eval, vis and export.

    Args:
        define: a script's, of `common.definer`.
        output_stride: default of `--output_stride`.
    """
    define(
        "multi_integer",
        "atrous_rates",
        None,
        "Atrous rate of the ASPP; repeat it. Default: those of training.",
    )
    define(
        "integer",
        "output_stride",
        output_stride,
        "Ratio of image size to feature size. Default: that of training, where it is known.",
    )
    define("bool", "add_flipped_images", False, "Also see images flipped left to right.")
    define("bool", "use_ema", False, "Take the moving averages of the weights.")
    define(
        "integer",
        "quantize_delay_step",
        -1,
        "Not below 0: the network is quantised. Default: as it was trained.",
    )


def define_flags(define: Callable[..., None]) -> None:
    """Defines those, and which checkpoints and data are used: for eval and vis.

    Args:
        define: a script's, of `common.definer`.
    """
    define_network_flags(define)
    define("string", "master", "", "Address of a cluster's master.")
    define(
        "string",
        "checkpoint_dir",
        None,
        "Folder whose newest checkpoint is used, and each newer one as it comes; or one checkpoint,"
        " such as train_log/model.ckpt-30000.",
    )
    define("integer", "eval_interval_secs", 300, "Least seconds between two checkpoints.")
    define("multi_float", "eval_scales", [1.0], "Scale at which to see the images; repeat it.")
    define(
        "string",
        "dataset",
        "pascal_voc_seg",
        "Name of a data set (pascal_voc_seg, cityscapes, ade20k) or its JSON description: the"
        " network's classes.",
    )
    define("string", "dataset_dir", None, "Folder of the TFRecords.")
