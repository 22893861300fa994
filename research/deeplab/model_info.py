r"""Prints how large a network is: parameters, multiply-adds and output shapes of its parts.

Example:
    python -m deeplab.model_info \
        --model_variant=xception_65 --crop_size=513,513 --output_stride=16 \
        --atrous_rates=6 --atrous_rates=12 --atrous_rates=18 --decoder_output_stride=4

The page g3doc/model_info.md says what is counted.
"""

from collections.abc import Sequence

from absl import flags

from deeplab import common
from deeplab.cli import script

_UNUSED_FLAGS = {
    **common.UNUSED_FLAGS,
    "label_weights": "weights of classes count in the loss of training only",
    "min_resize_value": "images are taken to have the size of --crop_size",
    "max_resize_value": "images are taken to have the size of --crop_size",
    "resize_factor": "images are taken to have the size of --crop_size",
}


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of this script and the shared ones."""
    common.define_flags(flag_values)
    define = common.definer("deeplab.model_info", flag_values)
    define("list", "crop_size", ["513", "513"], "Height,width of the image.")
    define("multi_integer", "atrous_rates", None, "Atrous rate of the ASPP; repeat it.")
    define("integer", "output_stride", 16, "Ratio of image size to feature size.")
    define("integer", "num_classes", 21, "Number of classes.")
    define(
        "string",
        "dataset",
        None,
        "Name of a data set (pascal_voc_seg, cityscapes, ade20k) or its JSON description, in place"
        " of --num_classes.",
    )
    define(
        "string",
        "checkpoint_dir",
        None,
        "Folder of checkpoints, or one of them: flags that are left out are those of its training.",
    )
    define("bool", "by_layer", False, "Also print every layer.")


def main(argv: Sequence[str]) -> None:
    """Prints."""
    del argv
    values = flags.FLAGS
    common.log_unused_flags(values, _UNUSED_FLAGS)

    from deeplab import model
    from deeplab.zoo import model_statistics, published_multiply_adds

    options = _options(values)
    net = model.DeepLab(options)
    statistics = model_statistics.measure(net, options.crop_size)
    height, width = options.crop_size
    print(
        f"{options.model_variant}, image {height}x{width}, output stride {options.output_stride},"
        f" {options.num_classes} classes\n"
    )
    print(model_statistics.format_statistics(statistics, by_layer=values.by_layer))
    total = statistics.total
    print(f"\nA checkpoint also holds {total.moving_averages:,} moving averages of batch norms.")
    published = published_multiply_adds.find(options)
    if published is None:
        return
    line = f"Published are {published.multiply_adds} B multiply-adds ({published.source})"
    if published.counts_operations:
        print(f"{line}, which count every operation: see g3doc/model_info.md.")
        return
    ours, padded = (
        f"{count / 1e9:.2f} B ({count / 1e9 / float(published.multiply_adds) - 1:+.1%})"
        for count in (total.multiply_adds, total.padded_multiply_adds)
    )
    print(f"{line}; here they are {ours}, with the padding that was counted there {padded}.")


def _options(values: flags.FlagValues) -> common.ModelOptions:
    """What to build.

    Raises:
        ValueError: flags that contradict each other or the checkpoint.
    """
    from deeplab.datasets import descriptors
    from deeplab.utils import checkpoint

    stored = None
    if values.checkpoint_dir:
        stored = checkpoint.load_options(values.checkpoint_dir)
        if stored is None:
            raise ValueError(
                f"--checkpoint_dir={values.checkpoint_dir} holds no {common.OPTIONS_FILE}, as is"
                " so for official checkpoints: give the flags of its training in its place"
            )
    fixed = {}
    if values.dataset:
        fixed["num_classes"] = descriptors.load(values.dataset).num_classes
        if values["num_classes"].present and values.num_classes != fixed["num_classes"]:
            raise ValueError(
                f"--num_classes is {values.num_classes}, but --dataset={values.dataset} has"
                f" {fixed['num_classes']} classes: leave one of the flags out"
            )
    options = common.ModelOptions.from_flags(values, stored=stored, **fixed)
    if options.crop_size is None:
        options = options.replace(crop_size=values.crop_size)
    return options


def run() -> None:
    """The console command."""
    script.run(main, define_flags)


if __name__ == "__main__":
    run()
