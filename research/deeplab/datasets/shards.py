"""Shards of a split: their names, how they are found, and how they are written."""

import contextlib
import itertools
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from deeplab.annotations import lists
from deeplab.core.wording import agree, counted
from deeplab.datasets.record_files import RecordFiles
from deeplab.utils import file_systems, files, temporary_files

# The official name of a shard, with any extension.
_SHARD = re.compile(
    r"(?P<split>.+)-(?P<index>\d{5,})-of-(?P<count>\d{5,})(?P<extension>\..*)?", re.DOTALL
)
_EXTENSION = ".tfrecord"
# How many names of files an error message lists.
_LISTED_FILES = 10


def shard_name(split: str, index: int, count: int) -> str:
    """Return the official file name of a shard."""
    return f"{split}-{index:05d}-of-{count:05d}{_EXTENSION}"


@contextlib.contextmanager
def writing(
    folder: str, split: str, num_records: int, num_shards: int
) -> Iterator[Callable[[bytes], None]]:
    """Write the shards of a split in the official distribution: ceil(n / shards) records each.

    The last shards may be empty; they are written too. All are written to temporary files, which
    replace earlier shards when the block ends without an error. If the process is killed, the
    earlier shards are intact, and the next run removes the temporary files.

    Args:
        folder: Folder of the shards; it is made if needed.
        split: Name of the split.
        num_records: Number of records that will be written.
        num_shards: Number of files.

    Yields:
        A function that writes the next record.

    Raises:
        ValueError: The name cannot be that of a split; there are other shards of the split, which
            would be read as well; or another number of records was written.
    """
    finals = prepare(folder, split, num_shards)
    size = shard_size(num_records, num_shards)
    written = 0

    with files.replacing_all(finals) as asides:
        with contextlib.ExitStack() as opened:
            writers = [opened.enter_context(tf.io.TFRecordWriter(aside)) for aside in asides]

            def write(record: bytes) -> None:
                nonlocal written
                writers[written // size].write(record)
                written += 1

            yield write
        if written != num_records:
            raise ValueError(f"split {split}: {written} records written, {num_records} promised")


def shard_size(num_records: int, num_shards: int) -> int:
    """Return how many records a shard has; the last ones have fewer, or none."""
    return max(1, math.ceil(num_records / num_shards))


def prepare(folder: str, split: str, num_shards: int) -> list[str]:
    """Make the folder of a split if needed, and remove temporary files of killed processes.

    Returns:
        The paths of its shards.

    Raises:
        ValueError: The name cannot be that of a split, or there are other shards of the split.
    """
    if fault := lists.split_name_fault(split):
        raise ValueError(f"split {split!r}: the name {fault}")
    tf.io.gfile.makedirs(folder)
    _refuse_other_count(folder, split, num_shards)
    temporary_files.remove_leftovers(folder, rf"{re.escape(split)}-\d+-of-\d+\.tfrecord")
    return [os.path.join(folder, shard_name(split, i, num_shards)) for i in range(num_shards)]


def _refuse_other_count(folder: str, split: str, num_shards: int) -> None:
    for name in _entries(folder):
        match = _SHARD.fullmatch(name)
        if not match or match["split"] != split:
            continue
        if int(match["count"]) != num_shards:
            raise ValueError(
                f"{folder} has {split} in {counted(int(match['count']), 'shard')} ({name}), which"
                f" would be read together with {counted(num_shards, 'new one')}: delete them or"
                " choose another --output_dir"
            )
        if match["extension"] != _EXTENSION:
            raise ValueError(
                f"{folder} has {split} in shards with another extension ({name}), which would be"
                " read together with the new ones: delete them or choose another --output_dir"
            )


def splits(folder: str) -> list[str]:
    """Return the splits whose shards are in a folder, by the names of the files."""
    found = {match["split"] for name in _entries(folder) if (match := _SHARD.fullmatch(name))}
    return sorted(found)


def find(folder: str | os.PathLike[str], names: Sequence[str]) -> list[str]:
    """Return the files of a split, and of no other split.

    They are the shards `<split>-NNNNN-of-NNNNN`, with any extension. If there are none, they are
    all files `<split>-*` that are not shards of another split. The folder is not a pattern.

    Args:
        folder: A folder, local or of any file system that `tf.io.gfile` reads.
        names: Names of the split, to try in turn; see `DatasetDescriptor.split_names`.

    Returns:
        The paths, sorted.

    Raises:
        FileNotFoundError: There are no files; the message lists what the folder holds.
        ValueError: A shard is missing or there twice, or there are two sets of shards.
    """
    folder = os.fspath(folder)
    entries = _entries(folder)
    for split in names:
        shards = {}
        for name in entries:
            if (match := _SHARD.fullmatch(name)) and match["split"] == split:
                shards[os.path.join(folder, name)] = int(match["index"]), int(match["count"])
        if shards:
            _check_set(shards)
            return sorted(shards)
    for split in names:
        others = [
            os.path.join(folder, name)
            for name in entries
            if name.startswith(f"{split}-") and not _SHARD.fullmatch(name)
        ]
        if paths := [path for path in others if not tf.io.gfile.isdir(path)]:
            return sorted(paths)
    raise FileNotFoundError(_nothing_found(folder, names, entries))


def open_split(folder: str | os.PathLike[str], names: Sequence[str]) -> RecordFiles:
    """Return the records of a split; see `find`.

    The last shards may be empty, as converters leave them.

    Raises:
        FileNotFoundError: There are no files.
        ValueError: A shard is missing, or empty although later ones hold records; there are two
            sets of shards; a file is truncated or corrupt; or there is no record at all.
    """
    records = RecordFiles(find(folder, names))
    if _SHARD.fullmatch(os.path.basename(records.paths[0])):
        last = int(np.flatnonzero(records.counts)[-1])
        for path, count in zip(records.paths[:last], records.counts[:last], strict=True):
            if count == 0:
                raise ValueError(
                    f"{path} is empty, but {records.paths[last]} holds records: records are lost;"
                    " copy or convert the split again"
                )
    return records


def _entries(folder: str) -> list[str]:
    """Return the names in a folder, sorted, without hidden ones."""
    return [name for name in file_systems.names_in(folder) if not name.startswith(".")]


def _check_set(shards: Mapping[str, tuple[int, int]]) -> None:
    """Reject a set of shards that would give other records than the split's.

    Args:
        shards: Path to index and count, from the name.
    """
    first = min(shards)
    counts = sorted({count for _, count in shards.values()})
    if len(counts) > 1:
        raise ValueError(
            f"{first} and others are {counts[0]} and {counts[1]} shards of one split: images"
            " would be read twice; delete one set"
        )
    (count,) = counts
    by_index: dict[int, str] = {}
    for path, (index, _) in sorted(shards.items()):
        if index >= count:
            raise ValueError(
                f"{path} cannot be one of {counted(count, 'shard')}: numbers begin at 0"
            )
        if other := by_index.get(index):
            raise ValueError(
                f"{other} and {path} are the same shard of one split: images would be read twice;"
                " delete one"
            )
        by_index[index] = path
    if missing := count - len(by_index):
        # Not a set of all indices, which may be too large: a name may state any count.
        index = next(index for index in itertools.count() if index not in by_index)
        raise ValueError(
            f"{missing} of the {count} shards of {first} {agree(missing, 'is', 'are')} missing,"
            " the first is"
            f" {index:05d}-of-{count:05d}: copy it, or convert the split again"
        )


def _nothing_found(folder: str, names: Sequence[str], entries: Sequence[str]) -> str:
    """Return the error about a split without files."""
    wanted = " or ".join(os.path.join(folder, f"{name}-*") for name in names)
    if not tf.io.gfile.isdir(folder):
        return f"no file matches {wanted}: there is no such folder"
    listed = ", ".join(entries[:_LISTED_FILES]) or "nothing"
    more = f" and {len(entries) - _LISTED_FILES} more" if len(entries) > _LISTED_FILES else ""
    message = f"no file matches {wanted}; the folder holds {listed}{more}"
    if any(entry.startswith(tuple(f"{name}-" for name in names)) for entry in entries):
        message += " (shards of other splits and folders do not count)"
    return message
