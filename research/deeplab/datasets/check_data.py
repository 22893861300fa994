"""Checks TFRecords before they are trained on: every image, every label, every label value.

Prints for each split the images and their sizes, the share of pixels of each class and of the
ignore label, the classes that are never seen, and for a training split class weights to balance
them. The first bad record ends it with exit code 1 and an error that names record and value.

  python -m deeplab.datasets.check_data --dataset=pascal_voc_seg --dataset_dir=tfrecord
"""

from collections.abc import Sequence

from absl import flags

from deeplab import common
from deeplab.cli import script
from deeplab.datasets import descriptors


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of this script."""
    define = common.definer("deeplab.datasets.check_data", flag_values)
    define(
        "string",
        "dataset",
        "pascal_voc_seg",
        "Name of the data set, or the path of its descriptor (.json).",
    )
    define("string", "dataset_dir", None, "Folder of the TFRecords.")
    define(
        "multi_string",
        "split",
        None,
        "Split to check; repeat it for several. Default: all that the folder has.",
    )


def main(argv: Sequence[str]) -> None:
    """Checks the splits and prints what they hold."""
    del argv
    # Reads with TensorFlow, which takes seconds to import: not for --help.
    from deeplab.datasets import shards, split_statistics

    values = flags.FLAGS
    descriptor = descriptors.load(values.dataset)
    splits = values.split or shards.splits(values.dataset_dir)
    if not splits:
        raise ValueError(
            f"there are no shards (<split>-00000-of-00004...) in {values.dataset_dir}"
            " (--dataset_dir); --split=<split> checks files of other names"
        )
    statistics = {}
    for split in splits:
        statistics[split] = split_statistics.check(split, values.dataset_dir, descriptor)
        print(split_statistics.report(split, statistics[split], descriptor))
        weights = split_statistics.class_weights(statistics[split], descriptor)
        if split.startswith("train") and weights is not None:
            print("\nclass weights (median frequency balancing), to use where rare classes fail:")
            print(" ".join(f"--label_weights={weight:.4g}" for weight in weights))
        print()
    for line in split_statistics.overlaps(statistics):
        print(line)


def run() -> None:
    """Runs the script."""
    script.run(main, define_flags, required=("dataset_dir",))


if __name__ == "__main__":
    run()
