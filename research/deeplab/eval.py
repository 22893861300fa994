r"""Evaluates the checkpoints of a DeepLab network on TFRecords.

Prints a table with the intersection over union of each class, and writes TensorBoard scalars,
eval-<step>.json and eval.json (the newest result) to --eval_logdir, and eval-<step>-images.csv with
the metrics of each image. If --checkpoint_dir is a folder, it is watched for newer checkpoints.
With --report_dir, report.html shows the result: the classes, the confusions, the worst images.

Example:
    python deeplab/eval.py \
        --dataset=pascal_voc_seg --dataset_dir=tfrecord --eval_split=val \
        --eval_crop_size=513,513 --checkpoint_dir=train_log --eval_logdir=eval_log \
        --max_number_of_evaluations=1

The options of the network are read from model_options.json beside the checkpoint. Official
checkpoints have no such file; give the flags of the network for them.
"""

import functools
from collections.abc import Sequence

from absl import flags

from deeplab import common
from deeplab.cli import crf_flags, network_flags, script
from deeplab.core.options import EvaluationOptions, ReportOptions

_UNUSED_FLAGS = network_flags.UNUSED_FLAGS_OF_EVALUATION


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags of this script (official `eval.py`) and the shared ones."""
    common.define_flags(flag_values)
    crf_flags.define_flags(flag_values)
    define = common.definer("deeplab.eval", flag_values)
    network_flags.define_flags(define)
    define("string", "eval_logdir", None, "Folder for TensorBoard logs and JSON files.")
    network_flags.define_batches(define, "eval")
    common.define_option(
        define,
        EvaluationOptions,
        "max_number",
        flag="max_number_of_evaluations",
        help_text="Stop after this many checkpoints. 0: keep watching for new checkpoints.",
    )
    define("string", "eval_split", "val", "Split to evaluate on.")
    common.define_options(define, ReportOptions)
    crf_flags.define_search_flags(define)


def main(argv: Sequence[str]) -> None:
    """Evaluate checkpoints according to the flags."""
    del argv
    values = flags.FLAGS
    common.log_unused_flags(values, _UNUSED_FLAGS)
    grid = crf_flags.search_grid(values)
    options = network_flags.evaluation_options(values, "eval", "max_number_of_evaluations")
    asked = functools.partial(common.ModelOptions.from_flags, values)

    page = ReportOptions(**common.option_values(ReportOptions, values))
    arguments = script.arguments(values, leave_out=("checkpoint_dir",))

    from deeplab.evaluation import evaluate

    evaluate.evaluate(options, asked, grid, values.crf_search_images, page, arguments)


def run() -> None:
    """Parse the flags and run `main`."""
    script.run(main, define_flags, required=("checkpoint_dir", "eval_logdir", "dataset_dir"))


if __name__ == "__main__":
    run()
