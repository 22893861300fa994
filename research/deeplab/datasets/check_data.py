"""Check TFRecords before training: every image, every label and every label value.

For each split, print the number of images and their sizes, the share of pixels of each class and
of the ignore label, classes that are never seen and, for training splits, weights that balance the
classes. The first bad record ends the script with exit code 1 and an error that names the record
and the value.

  python -m deeplab.datasets.check_data --dataset=pascal_voc_seg --dataset_dir=tfrecord
"""

from collections.abc import Sequence

from absl import flags

from deeplab import common
from deeplab.cli import script
from deeplab.datasets import descriptors


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags of this script."""
    define = common.definer("deeplab.datasets.check_data", flag_values)
    define(
        "string",
        "dataset",
        "pascal_voc_seg",
        "Name of the dataset, or the path of its descriptor (.json).",
    )
    define("string", "dataset_dir", None, "Folder of the TFRecords.")
    define(
        "multi_string",
        "split",
        None,
        "Split to check; repeat the flag for several. Default: all splits in the folder.",
    )


def main(argv: Sequence[str]) -> None:
    """Check the splits and print the reports."""
    del argv
    # Imports TensorFlow, which takes seconds: not for --help.
    from deeplab.datasets import shards, split_statistics

    values = flags.FLAGS
    descriptor = descriptors.load(values.dataset)
    splits = values.split or shards.splits(values.dataset_dir)
    if not splits:
        raise ValueError(
            f"there are no shards (<split>-00000-of-00004...) in {values.dataset_dir}"
            " (--dataset_dir); check files with other names with --split=<split>"
        )
    statistics = {}
    for split in splits:
        statistics[split] = split_statistics.check(split, values.dataset_dir, descriptor)
        print(split_statistics.report(split, statistics[split], descriptor))
        weights = split_statistics.class_weights(statistics[split], descriptor)
        if split.startswith("train") and weights is not None:
            print("\nclass weights (median frequency balancing), for training with rare classes:")
            print(" ".join(f"--label_weights={weight:.4g}" for weight in weights))
        print()
    for line in split_statistics.overlaps(statistics):
        print(line)


def run() -> None:
    """Run the script."""
    script.run(main, define_flags, required=("dataset_dir",), cpu_only=True)


if __name__ == "__main__":
    run()
