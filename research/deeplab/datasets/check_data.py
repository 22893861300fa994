"""Check TFRecords before training: every image, every label and every label value.

For each split, print the number of images and their sizes, statistics of the colors, the share of
pixels of each class and of the ignore label, and suspicious findings, with the name of the remedy;
for training splits, weights that balance the classes. Then compare the splits: copies and
near-duplicates, classes that training lacks, and drift.

The first bad record ends the script with exit code 1 and an error that names the record and the
value. With --fail_on=warning the exit code is 2 if there is a warning.

  python -m deeplab.datasets.check_data --dataset=pascal_voc_seg --dataset_dir=tfrecord
"""

import os
from collections.abc import Sequence

from absl import flags

from deeplab import common
from deeplab.cli import script, writable
from deeplab.datasets import descriptors
from deeplab.utils import file_systems

# Exit code where every record is good, but a warning was asked to fail.
_WARNED = 2


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
    define("string", "json", None, "File to write the report to, as JSON.")
    define(
        "string",
        "contact_sheet",
        None,
        "PNG file to draw images of each split with their labels to.",
    )
    define(
        "enum",
        "fail_on",
        "error",
        "Findings that change the exit code: bad records (1), or warnings as well (2).",
        enum_values=["error", "warning"],
    )


def main(argv: Sequence[str]) -> int:
    """Check the splits and print the reports; return the exit code."""
    del argv
    # Imports TensorFlow, which takes seconds: not for --help.
    from deeplab.datasets import shards, split_findings, split_report, split_statistics
    from deeplab.utils import reports, save_annotation

    values = flags.FLAGS
    descriptor = descriptors.load(values.dataset)
    names = values.split or shards.splits(values.dataset_dir)
    if not names:
        raise ValueError(
            f"there are no shards (<split>-00000-of-00004...) in {values.dataset_dir}"
            " (--dataset_dir); check files with other names with --split=<split>"
        )
    inputs = _inputs(names)
    for flag, result in (("json", writable.DATA_REPORT), ("contact_sheet", writable.PNG)):
        if path := values[flag].value:
            writable.check_not_read(flag, path, inputs)
            writable.check_file(flag, path, result)
    splits, findings = [], []
    for name in names:
        split = split_statistics.check(
            name,
            values.dataset_dir,
            descriptor,
            labels_required=split_statistics.is_training(name),
        )
        found = split_findings.of_split(name, split.statistics, descriptor)
        print(split_report.text(split, found, descriptor))
        splits.append(split)
        findings += found
    compared = split_findings.between(splits, descriptor)
    for finding in compared:
        print(finding)
    findings += compared
    if values.json:
        reports.write_json(values.json, split_report.facts(splits, findings, descriptor))
    if values.contact_sheet:
        save_annotation.write_png(values.contact_sheet, split_report.picture(splits, descriptor))
    warned = any(finding.level == "warning" for finding in findings)
    return _WARNED if warned and values.fail_on == "warning" else 0


def _inputs(names: Sequence[str]) -> list[str]:
    """Return the descriptor and all files with records of the splits."""
    folder, beginnings = flags.FLAGS.dataset_dir, tuple(f"{name}-" for name in names)
    shards = [each for each in file_systems.names_in(folder) if each.startswith(beginnings)]
    return [flags.FLAGS.dataset, *(os.path.join(folder, each) for each in shards)]


def run() -> None:
    """Parse the flags and run `main`."""
    script.run(main, define_flags, required=("dataset_dir",), cpu_only=True)


if __name__ == "__main__":
    run()
