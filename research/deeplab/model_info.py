r"""Prints the parameters, multiply-adds and output shapes of the parts of a network.

Example:
    python -m deeplab.model_info \
        --model_variant=xception_65 --crop_size=513,513 --output_stride=16 \
        --atrous_rates=6 --atrous_rates=12 --atrous_rates=18 --decoder_output_stride=4

g3doc/model_info.md describes what is counted.
"""

import functools
from collections.abc import Callable, Sequence

from absl import flags

from deeplab import common
from deeplab.cli import script
from deeplab.core.options import ModelOptions
from deeplab.datasets import descriptors

_UNUSED_FLAGS = {
    **common.UNUSED_FLAGS,
    "label_weights": "class weights are used only in the loss of training",
    "min_resize_value": "images are taken to have the size of --crop_size",
    "max_resize_value": "images are taken to have the size of --crop_size",
    "resize_factor": "images are taken to have the size of --crop_size",
}


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags of this script and the shared ones."""
    common.define_flags(flag_values)
    define = common.definer("deeplab.model_info", flag_values)
    common.define_option(
        define,
        ModelOptions,
        "crop_size",
        kind="list",
        default=["513", "513"],
        help_text="Height,width of the image.",
    )
    for name in ("atrous_rates", "output_stride", "num_classes"):
        common.define_option(define, ModelOptions, name)
    define(
        "string",
        "dataset",
        None,
        "Name of a dataset (pascal_voc_seg, cityscapes, ade20k) or its JSON descriptor, instead of"
        " --num_classes.",
    )
    define(
        "string",
        "checkpoint_dir",
        None,
        "Folder of checkpoints, or one checkpoint, or a DeepLab saved by Keras. Flags that are not"
        " given are those of its training.",
    )
    define("bool", "by_layer", False, "Also print every layer.")


def main(argv: Sequence[str]) -> None:
    """Print the report about the network of the flags."""
    del argv
    values = flags.FLAGS
    common.log_unused_flags(values, _UNUSED_FLAGS)
    asked = asked_options(values)

    from deeplab.zoo import model_report

    options = model_report.options(asked, values.checkpoint_dir, values.crop_size)
    model_report.print_report(options, by_layer=values.by_layer)


def asked_options(flag_values: flags.FlagValues) -> Callable[..., common.ModelOptions]:
    """Return a function that returns the network's options, given those of its training (`stored`).

    Raises:
        ValueError: The numbers of classes of two flags differ.
    """
    fixed = {}
    if flag_values.dataset:
        fixed["num_classes"] = descriptors.load(flag_values.dataset).num_classes
        if flag_values["num_classes"].present and flag_values.num_classes != fixed["num_classes"]:
            raise ValueError(
                f"--num_classes is {flag_values.num_classes}, but --dataset={flag_values.dataset}"
                f" has {fixed['num_classes']} classes: leave one of the flags out"
            )
    return functools.partial(common.ModelOptions.from_flags, flag_values, **fixed)


def run() -> None:
    """Parse the flags and run `main`."""
    script.run(main, define_flags)


if __name__ == "__main__":
    run()
