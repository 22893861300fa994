r"""Saves pictures of a DeepLab network's predictions: for TFRecords or for plain images.

For each image --vis_logdir gets, in segmentation_results/, the image, the colored prediction, an
overlay of both, and a panel of all of them with the label, where there is one, and a legend.

Examples:
    python deeplab/vis.py \
        --dataset=pascal_voc_seg --dataset_dir=tfrecord --vis_split=val \
        --checkpoint_dir=train_log --vis_logdir=vis_log --max_number_of_iterations=1
    python deeplab/vis.py \
        --dataset=pascal_voc_seg --images='photos/*.jpg' \
        --checkpoint_dir=train_log/model.ckpt-30000 --vis_logdir=vis_log

The network is the one that was trained: flags that define it may be left out, unless the checkpoint
is an official one, which does not say what it holds.
"""

import functools
from collections.abc import Sequence

from absl import flags

from deeplab import common
from deeplab.cli import crf_flags, network_flags, script


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags of this script (official `vis.py`) and the shared ones."""
    common.define_flags(flag_values)
    crf_flags.define_flags(flag_values)
    define = common.definer("deeplab.vis", flag_values)
    network_flags.define_flags(define)
    define("string", "vis_logdir", None, "Folder for the pictures.")
    define("integer", "vis_batch_size", 1, "Images at a time.")
    define("list", "vis_crop_size", ["513", "513"], "Height,width that images are padded to.")
    define(
        "integer",
        "max_number_of_iterations",
        0,
        "Number of checkpoints to draw; each one's pictures replace the earlier ones. 0: keep"
        " watching for new checkpoints.",
    )
    define("string", "vis_split", "val", "Split to draw.")
    define(
        "string",
        "images",
        None,
        "Images to draw in place of TFRecords: a folder, a pattern such as 'photos/*.jpg', paths"
        " separated by commas, or a .txt file with one path a line.",
    )
    define(
        "enum",
        "colormap_type",
        "pascal",
        "Colors of the classes. Default: those of the data set.",
        enum_values=["pascal", "cityscapes", "ade20k"],
    )
    define("bool", "also_save_raw_predictions", False, "Also save the predicted labels as PNG.")


def main(argv: Sequence[str]) -> None:
    """Save the pictures."""
    del argv
    values = flags.FLAGS
    network_flags.check(values)
    options = network_flags.evaluation_options(values, "vis", "max_number_of_iterations")
    if bool(values.images) == bool(values.dataset_dir):
        raise ValueError("give either --dataset_dir (TFRecords) or --images (plain images)")
    asked = functools.partial(common.ModelOptions.from_flags, values)

    from deeplab.evaluation import visualize

    visualize.visualize(
        options,
        asked,
        values.images,
        colormap=values.colormap_type if values["colormap_type"].present else None,
        also_save_raw_predictions=values.also_save_raw_predictions,
    )


def run() -> None:
    """Run the console command."""
    script.run(main, define_flags, required=("checkpoint_dir", "vis_logdir"))


if __name__ == "__main__":
    run()
