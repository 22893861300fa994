"""The flags of scripts that use a trained network: eval, vis and, in part, export."""

import contextlib
from collections.abc import Callable, Iterator, Mapping

from absl import flags

from deeplab import common
from deeplab.cli import crf_flags
from deeplab.core.options import (
    DeviceOptions,
    EvaluationOptions,
    InferenceOptions,
    ModelOptions,
    TrainOptions,
    WindowOptions,
    batch_memory,
)
from deeplab.core.options.data_options import DataOptions

UNUSED_FLAGS = {
    **common.UNUSED_FLAGS,
    "label_weights": "weights of classes count in the loss of training only",
}
# Those of eval and vis.
UNUSED_FLAGS_OF_EVALUATION = {
    **UNUSED_FLAGS,
    "master": "hosts find each other by TF_CONFIG, and --num_clones is the number of GPUs of each"
    " (g3doc/distributed.md shows how)",
}


def define_network_flags(define: Callable[..., None], output_stride: int = 16) -> None:
    """Define how the network of a checkpoint is used: for eval, vis and export.

    Args:
        define: A script's, of `common.definer`.
        output_stride: Default of `--output_stride`.
    """
    common.define_option(
        define,
        ModelOptions,
        "atrous_rates",
        help_text="Atrous rate of a branch of the ASPP. Default: those of training.",
    )
    common.define_option(
        define,
        ModelOptions,
        "output_stride",
        default=output_stride,
        help_text="Ratio of image size to feature size. Default: that of training, where it is"
        " known.",
    )
    common.define_option(define, InferenceOptions, "add_flipped_images")
    define_windows(define)
    define("bool", "use_ema", False, "Use the moving averages of the weights.")
    common.define_option(
        define,
        TrainOptions,
        "quantize_delay_step",
        help_text="Not below 0: simulate 8-bit inference. Default: as in training.",
    )


def define_windows(define: Callable[..., None]) -> None:
    """Define the windows of large images: for eval, vis, export and predict.

    Args:
        define: A script's, of `common.definer`.
    """
    common.define_option(define, WindowOptions, "size", flag="window", default=None)
    common.define_option(define, WindowOptions, "overlap", flag="window_overlap")


def define_flags(define: Callable[..., None]) -> None:
    """Define those, and which checkpoints and data are used: for eval and vis.

    Args:
        define: A script's, of `common.definer`.
    """
    define_network_flags(define)
    define("string", "master", "", "No effect: hosts find each other by TF_CONFIG.")
    common.define_options(define, DeviceOptions)
    define(
        "string",
        "checkpoint_dir",
        None,
        "Folder whose newest checkpoint is used, then each newer one; or one checkpoint, such as"
        " train_log/model.ckpt-30000, or a DeepLab saved by Keras.",
    )
    common.define_option(define, EvaluationOptions, "interval_secs", prefix="eval_", default=300)
    common.define_option(define, InferenceOptions, "eval_scales")
    common.define_option(define, DataOptions, "dataset")
    common.define_option(define, DataOptions, "dataset_dir")


def define_batches(define: Callable[..., None], script: str) -> None:
    """Define the size and number of the images at a time: for eval and vis.

    Args:
        define: A script's, of `common.definer`.
        script: Prefix of the flags, "eval" or "vis".
    """
    for name in ("batch_size", "crop_size"):
        common.define_option(define, EvaluationOptions, name, prefix=f"{script}_")


def evaluation_options(
    flag_values: flags.FlagValues, script: str, max_number_flag: str
) -> EvaluationOptions:
    """Return the options that the flags of eval or vis ask for.

    Args:
        flag_values: Parsed flags.
        script: Prefix of some flags, "eval" or "vis".
        max_number_flag: Name of the flag with the number of checkpoints.

    Raises:
        ValueError: A value is out of range, a flag of the CRF is given without `--crf`, or a batch
            needs more memory than this machine has.
    """
    own = {name: f"{script}_{name}" for name in ("logdir", "split", "crop_size", "batch_size")}
    own |= {"max_number": max_number_flag, "interval_secs": "eval_interval_secs"}
    with _named(own):
        options = EvaluationOptions(
            checkpoint_dir=flag_values.checkpoint_dir,
            dataset=flag_values.dataset,
            dataset_dir=flag_values.dataset_dir,
            use_ema=flag_values.use_ema,
            inference=inference_options(flag_values),
            **common.option_values(DeviceOptions, flag_values),
            **{field: flag_values[flag].value for field, flag in own.items()},
        )
    batch_memory.check(script, options.batch_size, options.crop_size)
    if window := options.inference.window:
        batch_memory.check(script, options.batch_size, window.size, size_flag="window")
    return options


def inference_options(
    flag_values: flags.FlagValues, scales_flag: str = "eval_scales"
) -> InferenceOptions:
    """Return how the flags ask to apply the network.

    Args:
        flag_values: Parsed flags.
        scales_flag: Name of the flag with the scales.

    Raises:
        ValueError: A value is out of range, or a flag of the CRF or of windows has no effect.
    """
    with _named({"eval_scales": scales_flag}):
        return InferenceOptions(
            eval_scales=flag_values[scales_flag].value,
            add_flipped_images=flag_values.add_flipped_images,
            crf=crf_flags.from_flags(flag_values),
            window=window_options(flag_values),
        )


def window_options(flag_values: flags.FlagValues) -> WindowOptions | None:
    """Return the windows that the flags ask for; None without `--window`.

    Args:
        flag_values: Parsed flags.

    Raises:
        ValueError: A value is out of range, or `--window_overlap` is given without `--window`.
    """
    if flag_values["window"].value is None:
        if flag_values["window_overlap"].present:
            raise ValueError("--window_overlap has no effect without --window")
        return None
    return WindowOptions(size=flag_values.window, overlap=flag_values.window_overlap)


@contextlib.contextmanager
def _named(flags_of_fields: Mapping[str, str]) -> Iterator[None]:
    """Let an error about a field name the flag that its value comes from."""
    try:
        yield
    except ValueError as error:
        message = str(error)
        for field, flag in flags_of_fields.items():
            message = message.replace(f"--{field} is", f"--{flag} is")
        raise ValueError(message) from None
