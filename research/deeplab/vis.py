r"""Saves pictures of the predictions of a DeepLab network, for TFRecords or for image files.

For each image, it writes the image, the prediction in colors, an overlay of both, and a panel of
all of them with a legend to segmentation_results/ in --vis_logdir. The panel also shows the label,
if there is one. With --contact_sheet, one more picture shows many of them.

Examples:
    python deeplab/vis.py \
        --dataset=pascal_voc_seg --dataset_dir=tfrecord --vis_split=val \
        --checkpoint_dir=train_log --vis_logdir=vis_log --max_number_of_iterations=1
    python deeplab/vis.py \
        --dataset=pascal_voc_seg --images='photos/*.jpg' \
        --checkpoint_dir=train_log/model.ckpt-30000 --vis_logdir=vis_log

With --augmented, it writes a sheet of the first training samples instead, as the flags of
augmentation make them.

The options of the network are read from model_options.json beside the checkpoint. Official
checkpoints have no such file; give the flags of the network for them.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

from absl import flags

from deeplab import common
from deeplab.cli import augmentation_flags, crf_flags, network_flags, script
from deeplab.core.options import (
    EvaluationOptions,
    PictureOptions,
    RandomScale,
    RunOptions,
    TrainingRun,
    TrainOptions,
)

# Flags of train.py that --augmented takes, too.
_TRAIN_FLAGS = {
    RunOptions: ("train_crop_size",),
    RandomScale: ("min_scale_factor", "max_scale_factor", "scale_factor_step_size"),
    TrainOptions: ("seed",),
}

_UNUSED_FLAGS = network_flags.UNUSED_FLAGS_OF_EVALUATION


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags of this script (official `vis.py`) and the shared ones."""
    common.define_flags(flag_values)
    crf_flags.define_flags(flag_values)
    augmentation_flags.define_flags(flag_values)
    define = common.definer("deeplab.vis", flag_values)
    network_flags.define_flags(define)
    define("string", "vis_logdir", None, "Folder for the pictures.")
    network_flags.define_batches(define, "vis")
    common.define_option(
        define,
        EvaluationOptions,
        "max_number",
        flag="max_number_of_iterations",
        help_text="Stop after this many checkpoints; the pictures of each replace those of the one"
        " before. 0: keep watching for new checkpoints.",
    )
    define("string", "vis_split", "val", "Split to visualize.")
    common.define_options(define, PictureOptions, leave_out=("colormap_type",))
    common.define_option(define, PictureOptions, "colormap_type", default="pascal")
    define(
        "bool",
        "augmented",
        False,
        "Instead of predictions, show the first samples of a training on --vis_split, as the flags"
        " of scale, crop and augmentation make them; no checkpoint is needed.",
    )
    for options_class, names in _TRAIN_FLAGS.items():
        for name in names:
            common.define_option(define, options_class, name)


def main(argv: Sequence[str]) -> None:
    """Save pictures of predictions or of augmented samples."""
    del argv
    values = flags.FLAGS
    common.log_unused_flags(values, _UNUSED_FLAGS)
    asked = functools.partial(common.ModelOptions.from_flags, values)
    if values.augmented:
        _show_training(values, asked)
        return
    for name in (
        *augmentation_flags.names(),
        *(each for own in _TRAIN_FLAGS.values() for each in own),
    ):
        if values[name].present:
            raise ValueError(f"--{name} has no effect without --augmented")
    if not values.checkpoint_dir:
        raise ValueError("--checkpoint_dir must be given, or --augmented")
    options = network_flags.evaluation_options(values, "vis", "max_number_of_iterations")
    if bool(values.images) == bool(values.dataset_dir):
        raise ValueError("give either --dataset_dir (TFRecords) or --images (image files)")

    from deeplab.evaluation import visualize

    pictures = PictureOptions(**common.option_values(PictureOptions, values))
    if not values["colormap_type"].present:
        pictures = dataclasses.replace(pictures, colormap_type=None)
    visualize.visualize(options, asked, pictures)


def _show_training(values: flags.FlagValues, asked: Callable[..., common.ModelOptions]) -> None:
    """Save a sheet of what training sees."""
    if values.images or not values.dataset_dir:
        raise ValueError("--augmented shows TFRecords: give --dataset_dir, and not --images")
    if values.contact_sheet:
        raise ValueError(
            f"--contact_sheet={values.contact_sheet} has no effect with --augmented, whose sheet is"
            " augmented.png in --vis_logdir"
        )
    options = TrainingRun(
        files=RunOptions(
            dataset=values.dataset,
            dataset_dir=values.dataset_dir,
            train_split=values.vis_split,
            train_crop_size=values.train_crop_size,
        ),
        training=TrainOptions(seed=values.seed),
        scales=RandomScale(**common.option_values(RandomScale, values)),
        augmentation=augmentation_flags.from_flags(values),
    )

    from deeplab.evaluation import training_samples

    training_samples.save_contact_sheet(values.vis_logdir, options, asked, values.checkpoint_dir)


def run() -> None:
    """Parse the flags and run `main`."""
    script.run(main, define_flags, required=("vis_logdir",))


if __name__ == "__main__":
    run()
