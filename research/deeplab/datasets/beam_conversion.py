"""Writes the TFRecords of splits with a pipeline of Apache Beam, whose work item is a shard."""

import dataclasses
import os
from collections.abc import Mapping

import tensorflow as tf
from absl import logging

from deeplab.core.options import RunnerOptions
from deeplab.core.wording import counted
from deeplab.datasets import shards
from deeplab.datasets.samples import Findings, Samples, write_records
from deeplab.sharing import pipelines
from deeplab.utils import files

# What the names of a shard's work item, and of what is found in it, have after the shard's name.
_TASK, _FINDINGS = ".task", ".findings"


@dataclasses.dataclass(frozen=True)
class _Task:
    """A shard to write.

    Args:
        split: Name of the split.
        samples: The samples of the shard.
        label_images: Folder in which the labels are written, too; None for none.
    """

    split: str
    samples: Samples
    label_images: str | None


def convert(
    splits: Mapping[str, Samples],
    output_dir: str,
    num_shards: int,
    label_images: str | None,
    runner: RunnerOptions,
) -> None:
    """Write the records of splits; see `conversion.convert`.

    Work items lie in files, since engines limit the size of a pipeline. Workers write shards into a
    folder beside the records. Those of a split are moved from there when all are good.
    """
    pipelines.check(runner)
    finals = {split: shards.prepare(output_dir, split, num_shards) for split in splits}
    with pipelines.staging(output_dir) as folder:
        staged = {
            split: [os.path.join(folder, os.path.basename(path)) for path in paths]
            for split, paths in finals.items()
        }
        for split, samples in splits.items():
            size = shards.shard_size(len(samples), num_shards)
            for number, path in enumerate(staged[split]):
                part = samples.part(number * size, (number + 1) * size)
                pipelines.store(path + _TASK, _Task(split, part, label_images))
        count = sum(map(len, staged.values()))
        logging.info("a pipeline writes %s", counted(count, "shard"))
        pipelines.for_each(
            write_shard, [path for paths in staged.values() for path in paths], runner
        )
        for split, samples in splits.items():
            findings = Findings.merge(pipelines.load(path + _FINDINGS) for path in staged[split])
            for remark in findings.remarks:
                logging.warning("%s", remark)
            findings.raise_errors(split, len(samples))
            findings.log_rest(split)
            for source, target in zip(staged[split], finals[split], strict=True):
                tf.io.gfile.rename(source, target, overwrite=True)
            images, parts = counted(len(samples), "image"), counted(num_shards, "shard")
            logging.info("%s: %s in %s in %s", split, images, parts, output_dir)


def write_shard(path: str) -> None:
    """Write a shard and the findings about its samples, on a worker.

    Args:
        path: The shard; its work item lies beside it.
    """
    task: _Task = pipelines.load(path + _TASK)
    with files.replacing(path) as temporary, tf.io.TFRecordWriter(temporary) as writer:
        # Engines start as many workers as there are processors.
        findings = write_records(
            task.split,
            task.samples,
            writer.write,
            label_images=task.label_images,
            num_processes=1,
        )
    pipelines.store(path + _FINDINGS, findings)
