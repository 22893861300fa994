"""Writes the TFRecords of splits: the last part of every converter."""

import functools
from collections.abc import Mapping

from absl import logging

from deeplab.annotations import lists
from deeplab.core.options import RunnerOptions
from deeplab.core.wording import counted
from deeplab.datasets import beam_conversion, shards
from deeplab.datasets.samples import Samples, write_records
from deeplab.utils.progress import Progress


def check_splits(splits: Mapping[str, Samples]) -> None:
    """Reject splits that cannot be written, before anything is written.

    Raises:
        ValueError: A split has no images, or its name cannot begin those of files.
    """
    for split, samples in splits.items():
        if fault := lists.split_name_fault(split):
            raise ValueError(f"split {split!r}: the name {fault}")
        if not len(samples):
            raise ValueError(f"split {split} has no images: fill its list, or remove it")


def convert(
    splits: Mapping[str, Samples],
    output_dir: str,
    num_shards: int,
    num_processes: int | None = None,
    label_images: str | None = None,
    runner: RunnerOptions | None = None,
) -> None:
    """Write the records of splits, each in the order of its samples.

    A split is written only if all of its samples are good. Splits before a bad one stay written.

    Args:
        splits: Samples by the names of splits. Labels of a test split (`test` or `test_...`) may be
            missing.
        output_dir: Folder of the records.
        num_shards: Number of files of a split.
        num_processes: Number of processes that read files. None: one for a small split, up to one
            per CPU for a large one.
        label_images: Folder in which the labels are written, too, as PNG files with a palette; None
            for none.
        runner: This machine or a pipeline. None: this machine. All shards of all splits are work
            items of one pipeline.

    Raises:
        ValueError: There is nothing to convert, or a file is bad; then no record of its split is
            written. If several files are bad, each is logged.
        ChildProcessError: A process was killed, or the pipeline failed.
    """
    check_splits(splits)
    if runner is not None and runner.runner == "beam":
        beam_conversion.convert(splits, output_dir, num_shards, label_images, runner)
        return
    for split, samples in splits.items():
        size = len(samples)
        with shards.writing(output_dir, split, size, num_shards) as write:
            findings = write_records(
                split,
                samples,
                write,
                label_images=label_images,
                num_processes=num_processes,
                log=functools.partial(logging.warning, "%s"),
                advance=Progress(f"{split}: converted", size).advance,
            )
            findings.raise_errors(split, size)
        findings.log_rest(split)
        images, parts = counted(size, "image"), counted(num_shards, "shard")
        logging.info("%s: %s in %s in %s", split, images, parts, output_dir)
