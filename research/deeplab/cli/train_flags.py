"""The flags of training that are not those of the network."""

from collections.abc import Callable

from absl import flags

from deeplab import common
from deeplab.core.options import ModelOptions, RandomScale, TrainOptions


def define_flags(define: Callable[..., None]) -> None:
    """Define the flags.

    Args:
        define: the train script's, of `common.definer`.
    """
    define("string", "master", "", "No effect: hosts find each other by TF_CONFIG.")
    define("integer", "task", 0, "Number of this host. Default: as in TF_CONFIG.")
    define("integer", "num_clones", 1, "Number of GPUs of this host to train on.")
    define("bool", "clone_on_cpu", False, "Train on the CPU, split into --num_clones devices.")
    define("integer", "num_replicas", 1, "Number of hosts, whose addresses are in TF_CONFIG.")
    define("integer", "startup_delay_steps", 15, "No effect: hosts start together.")
    define("integer", "num_ps_tasks", 0, "No effect: every host keeps the variables.")

    define("string", "train_logdir", None, "Folder for checkpoints and logs.")
    define(
        "integer",
        "eval_every",
        0,
        "Evaluate every this many steps and after the last one, and keep the best checkpoint."
        " 0: never.",
    )
    define("string", "eval_split", "val", "Split to evaluate on with --eval_every.")
    define(
        "list",
        "eval_crop_size",
        ["513", "513"],
        "Height,width that images are padded to for --eval_every.",
    )
    define(
        "bool",
        "deterministic_ops",
        False,
        "Use only operations whose results are the same in every run, also on a GPU; slower there.",
    )
    define(
        "enum",
        "precision",
        "float32",
        "Type that the network computes in; mixed_float16 scales the loss dynamically.",
        enum_values=["float32", "mixed_bfloat16", "mixed_float16"],
    )
    # The label weights are a shared flag.
    common.define_options(define, TrainOptions, leave_out={"label_weights"})
    common.define_options(define, RandomScale)
    common.define_option(define, ModelOptions, "atrous_rates")
    common.define_option(define, ModelOptions, "output_stride")

    define("list", "train_crop_size", ["513", "513"], "Height,width of the crops.")
    define(
        "string",
        "tf_initial_checkpoint",
        None,
        "Checkpoint to start from; or, for VGG-16, a weights file of Keras' VGG16.",
    )
    define("bool", "initialize_last_layer", True, "Also start the last layers from it.")
    define(
        "string",
        "dataset",
        "pascal_voc_seg",
        "Name of a data set (pascal_voc_seg, cityscapes, ade20k) or its JSON description.",
    )
    define("string", "train_split", "train", "Split to train on.")
    define("string", "dataset_dir", None, "Folder of the TFRecords.")


def train_options(flag_values: flags.FlagValues) -> TrainOptions:
    """Return how the flags ask to train.

    Raises:
        ValueError: A value is out of range.
    """
    return TrainOptions(**common.option_values(TrainOptions, flag_values))


def random_scale(flag_values: flags.FlagValues) -> RandomScale:
    """Return the random scale that the flags ask for.

    Raises:
        ValueError: The flags are no range.
    """
    return RandomScale(**common.option_values(RandomScale, flag_values))
