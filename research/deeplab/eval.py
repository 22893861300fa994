r"""Evaluates a DeepLab network on TFRecords, now or whenever training writes a checkpoint.

Prints a table of each class's intersection over union, and writes TensorBoard scalars,
eval-<step>.json and eval.json (the newest) to --eval_logdir.

Example:
    python deeplab/eval.py \
        --dataset=pascal_voc_seg --dataset_dir=tfrecord --eval_split=val \
        --eval_crop_size=513,513 --checkpoint_dir=train_log --eval_logdir=eval_log \
        --max_number_of_evaluations=1

The network is the one that was trained: flags that define it may be left out, unless the checkpoint
is an official one, which does not say what it holds.
"""

from collections.abc import Sequence

from absl import flags

from deeplab import common
from deeplab.cli import crf_flags, network_flags, script

_UNUSED_FLAGS = network_flags.UNUSED_FLAGS


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of this script (official `eval.py`) and the shared ones."""
    common.define_flags(flag_values)
    crf_flags.define_flags(flag_values)
    define = common.definer("deeplab.eval", flag_values)
    network_flags.define_flags(define)
    define("string", "eval_logdir", None, "Folder for TensorBoard logs and JSON files.")
    define("integer", "eval_batch_size", 1, "Images at a time.")
    define("list", "eval_crop_size", ["513", "513"], "Height,width that images are padded to.")
    define(
        "integer",
        "max_number_of_evaluations",
        0,
        "Evaluate so many checkpoints; 0: each that comes, without end.",
    )
    define("string", "eval_split", "val", "Which split to evaluate on.")
    crf_flags.define_search_flags(define)


def main(argv: Sequence[str]) -> None:
    """Evaluates."""
    del argv
    values = flags.FLAGS
    network_flags.check(values)
    grid = crf_flags.search_grid(values)
    inference = network_flags.inference_options(values)

    from deeplab.datasets import data_generator, descriptors, shards
    from deeplab.evaluation import crf_search, evaluator, predictor
    from deeplab.utils import checkpoint_waiter

    descriptor = descriptors.load(values.dataset)
    # Said now rather than after what may be a long wait.
    shards.find(values.dataset_dir, descriptor.split_names(values.eval_split))
    options = predictor.trained_options(
        values, checkpoint_waiter.wait(values.checkpoint_dir), descriptor, values.eval_crop_size
    )
    network = predictor.Predictor(options, inference)
    records = data_generator.Dataset(
        descriptor,
        values.eval_split,
        values.dataset_dir,
        network.net.preprocessing(),
    )
    if grid:
        search = crf_search.CrfSearch(network, records, grid, values.crf_search_images)
    evaluation = evaluator.Evaluator(network, records, values.eval_batch_size)
    script.make_folder("eval_logdir", values.eval_logdir)
    for path in checkpoint_waiter.new_checkpoints(
        values.checkpoint_dir, values.eval_interval_secs, values.max_number_of_evaluations
    ):
        step = network.restore(path, averages=values.use_ema)
        if grid:
            search.report(search.run(), path, step, values.eval_logdir)
            continue
        evaluation.report(evaluation.evaluate(), path, step, values.eval_logdir)


def run() -> None:
    """The console command."""
    script.run(main, define_flags, required=("checkpoint_dir", "eval_logdir", "dataset_dir"))


if __name__ == "__main__":
    run()
