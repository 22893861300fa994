r"""Saves pictures of a DeepLab network's predictions: for TFRecords or for plain images.

For each image --vis_logdir gets, in segmentation_results/, the image, the coloured prediction, an
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
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from deeplab import common
from deeplab.cli import crf_flags, network_flags, script

if TYPE_CHECKING:
    from deeplab.datasets import data_generator

_UNUSED_FLAGS = network_flags.UNUSED_FLAGS


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of this script (official `vis.py`) and the shared ones."""
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
        "Use so many checkpoints; 0: each that comes, without end. The pictures of a checkpoint"
        " replace those of the one before.",
    )
    define("string", "vis_split", "val", "Which split to show.")
    define(
        "string",
        "images",
        None,
        "Images to show in place of TFRecords: a folder, a pattern such as 'photos/*.jpg', paths"
        " separated by commas, or a .txt file with one path a line.",
    )
    define(
        "enum",
        "colormap_type",
        "pascal",
        "Colours of the classes. Default: those of the data set.",
        enum_values=["pascal", "cityscapes", "ade20k"],
    )
    define("bool", "also_save_raw_predictions", False, "Also save the predicted labels as PNG.")


def main(argv: Sequence[str]) -> None:
    """Saves the pictures."""
    del argv
    values = flags.FLAGS
    network_flags.check(values)
    inference = network_flags.inference_options(values)
    if bool(values.images) == bool(values.dataset_dir):
        raise ValueError("give --dataset_dir (TFRecords) or --images (plain images), one of them")
    if values.vis_batch_size < 1:
        raise ValueError(f"--vis_batch_size is {values.vis_batch_size}; it must be at least 1")

    from deeplab.datasets import data_generator, descriptors, image_files, shards
    from deeplab.evaluation import predictor, visualizer
    from deeplab.utils import checkpoint_waiter

    descriptor = descriptors.load(values.dataset)
    # Said now rather than after what may be a long wait.
    if values.images:
        paths = image_files.find(values.images)
    else:
        shards.find(values.dataset_dir, descriptor.split_names(values.vis_split))
    options = predictor.trained_options(
        values, checkpoint_waiter.wait(values.checkpoint_dir), descriptor, values.vis_crop_size
    )
    network = predictor.Predictor(options, inference)
    preprocessing = network.net.preprocessing()
    if values.images:
        source = image_files.ImageFiles(paths, preprocessing)
        batches = source.evaluation
    else:
        source = data_generator.Dataset(
            descriptor, values.vis_split, values.dataset_dir, preprocessing
        )
        batches = functools.partial(_batches, source)
    pictures = visualizer.Visualizer(
        network,
        descriptor,
        values.vis_logdir,
        colormap=values.colormap_type if values["colormap_type"].present else None,
        also_save_raw_predictions=values.also_save_raw_predictions,
        name_by_image=bool(values.images),
    )
    script.make_folder("vis_logdir", values.vis_logdir)
    for path in checkpoint_waiter.new_checkpoints(
        values.checkpoint_dir, values.eval_interval_secs, values.max_number_of_iterations
    ):
        network.restore(path, averages=values.use_ema)
        pictures.run(batches(values.vis_batch_size), len(source))


def _batches(records: "data_generator.Dataset", batch_size: int) -> Iterator[Mapping[str, Any]]:
    """Batches of records, labelled or not; an error that is due to a record names it."""
    with records.named_errors(labels_required=False):
        yield from records.evaluation(batch_size, labels_required=False)


def run() -> None:
    """The console command."""
    script.run(main, define_flags, required=("checkpoint_dir", "vis_logdir"))


if __name__ == "__main__":
    run()
