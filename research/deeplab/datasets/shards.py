"""The shards of a split: how they are named, and written so that they are whole or not there."""

import contextlib
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf

from deeplab.utils import files

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\b")


def shard_name(split: str, index: int, count: int) -> str:
    """The official file name of a shard."""
    return f"{split}-{index:05d}-of-{count:05d}.tfrecord"


@contextlib.contextmanager
def writing(
    folder: str, split: str, num_records: int, num_shards: int
) -> Iterator[Callable[[bytes], None]]:
    """Writes the shards of a split, in the official distribution: ceil(n / shards) records each.

    The last shards may stay empty; they are written too. All are written aside and take the place
    of earlier ones when the block ends without an error: a kill leaves the earlier ones, and what
    it left behind is removed by the next run.

    Args:
        folder: where they go; it is made if it is not there.
        split: name of the split.
        num_records: how many records there will be.
        num_shards: how many files.

    Yields:
        A function that writes the next record.

    Raises:
        ValueError: there are shards of the split in another number, which would be read as well;
            or another number of records was written.
    """
    tf.io.gfile.makedirs(folder)
    _refuse_other_count(folder, split, num_shards)
    files.remove_leftovers(folder, rf"{re.escape(split)}-\d+-of-\d+\.tfrecord")
    finals = [os.path.join(folder, shard_name(split, i, num_shards)) for i in range(num_shards)]
    per_shard = max(1, math.ceil(num_records / num_shards))
    written = 0

    with files.replacing_all(finals) as asides:
        with contextlib.ExitStack() as opened:
            writers = [opened.enter_context(tf.io.TFRecordWriter(aside)) for aside in asides]

            def write(record: bytes) -> None:
                nonlocal written
                writers[written // per_shard].write(record)
                written += 1

            yield write
        if written != num_records:
            raise ValueError(f"split {split}: {written} records written, {num_records} promised")


def _refuse_other_count(folder: str, split: str, num_shards: int) -> None:
    for path in tf.io.gfile.glob(os.path.join(folder, f"{split}-*-of-*.tfrecord")):
        match = _SHARD.search(os.path.basename(path))
        if match and int(match[2]) != num_shards:
            raise ValueError(
                f"{folder} has {split} in {int(match[2])} shards ({os.path.basename(path)}), which"
                f" would be read together with {num_shards} new ones: delete them or choose another"
                " --output_dir"
            )


def splits(folder: str) -> list[str]:
    """The splits that a folder has shards of, by the names of the files."""
    names = tf.io.gfile.listdir(folder) if tf.io.gfile.isdir(folder) else []
    found = {_SHARD.split(name)[0] for name in names if _SHARD.search(name)}
    return sorted(split for split in found if not split.startswith("."))


def check_complete(paths: Sequence[str]) -> None:
    """Refuses sets of shards that would give other data than the split's.

    Args:
        paths: files of one split; those that are not named as shards are let be.

    Raises:
        ValueError: a shard is missing, or there are two sets of shards.
    """
    shards = [match for path in paths if (match := _SHARD.search(os.path.basename(path)))]
    counts = sorted({int(shard[2]) for shard in shards})
    if len(counts) > 1:
        raise ValueError(
            f"{paths[0]} and others are {counts[0]} and {counts[1]} shards of one split: images"
            " would be read twice; delete one set"
        )
    missing = set(range(*counts)) - {int(shard[1]) for shard in shards} if counts else set()
    if missing:
        raise ValueError(
            f"{len(missing)} of the {counts[0]} shards of {paths[0]} are missing, the first is"
            f" {min(missing):05d}-of-{counts[0]:05d}"
        )
