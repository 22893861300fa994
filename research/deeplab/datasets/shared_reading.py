"""Reads the images and labels of a split, in several processes where that pays."""

import collections
import concurrent.futures
import dataclasses
import itertools
import os
from collections.abc import Iterator, Sequence

from deeplab.cli import processes
from deeplab.datasets.build_data import Sample, read_sample
from deeplab.datasets.label_files import LabelReader
from deeplab.datasets.source_files import Source

# Starting a process takes about as long as reading this many images.
_IMAGES_A_PROCESS = 500
# Images that each other process is given at a time: the one being read and the next ones.
_HANDED_OUT = 4
# Images that are read ahead, and bytes of images that this process may hold until earlier images
# arrive. That is what it can read while the other processes start.
_IMAGES_AHEAD = 2048
_BYTES_AHEAD = 2**28


def read_all(
    sources: Sequence[Source], labels: LabelReader, num_processes: int | None
) -> Iterator[Sample | Exception]:
    """Yield the samples in order; in place of a bad one, its error.

    Args:
        sources: The files.
        labels: Reads and checks the labels.
        num_processes: Number of processes that read files. None: one for a small split, up to one
            per CPU for a large one.
    """
    most = max(1, len(sources) // _IMAGES_A_PROCESS)
    num_processes = num_processes or min(os.cpu_count() or 1, most)
    if num_processes == 1:
        yield from (_read(source, labels) for source in sources)
        return
    remedy = f"set --num_processes below {num_processes} (1 reads without other processes)"
    # This process is one of them.
    others = num_processes - 1
    with processes.pool(others, "reads images", remedy=remedy, modules=[__name__]) as pool:
        yield from _share(pool, others, sources, labels)


@dataclasses.dataclass(eq=False)
class _Task:
    """An image to read: by another process (`future`), or by this one (`sample`)."""

    source: Source
    future: concurrent.futures.Future | None = None
    sample: Sample | Exception | None = None

    def is_done(self) -> bool:
        """Return whether the image is read."""
        return self.sample is not None or (self.future is not None and self.future.done())

    def result(self) -> Sample | Exception:
        """Return the sample or its error, once it is there."""
        return self.future.result() if self.sample is None else self.sample


def _share(
    pool: concurrent.futures.Executor, others: int, sources: Sequence[Source], labels: LabelReader
) -> Iterator[Sample | Exception]:
    """Yield the samples in order, of which a pool and this process each read a part.

    Other processes may need seconds to start. Meanwhile, this one reads samples that it keeps.

    Args:
        pool: The other processes.
        others: Their number.
        sources: The files.
        labels: Reads and checks the labels.
    """
    rest = iter(sources)
    ahead: collections.deque[_Task] = collections.deque()
    handed_out: list[_Task] = []
    unread: collections.deque[_Task] = collections.deque()
    held = 0

    def hand_out() -> None:
        handed_out[:] = [task for task in handed_out if not task.is_done()]
        while unread and len(handed_out) < _HANDED_OUT * others:
            task = unread.popleft()
            task.future = pool.submit(_try_to_read, (task.source, labels))
            handed_out.append(task)

    while True:
        tasks = [_Task(source) for source in itertools.islice(rest, _IMAGES_AHEAD - len(ahead))]
        ahead += tasks
        unread += tasks
        if not ahead:
            return
        first = ahead[0]
        hand_out()
        while not first.is_done() and unread and held < _BYTES_AHEAD:
            task = unread.popleft()
            task.sample = _read(task.source, labels)
            held += _size(task.sample)
            hand_out()
        ahead.popleft()
        if first.future is None:
            held -= _size(first.sample)
        yield first.result()


def _size(sample: Sample | Exception | None) -> int:
    return len(sample.image) if isinstance(sample, Sample) else 0


def _try_to_read(task: tuple[Source, LabelReader]) -> Sample | Exception:
    return _read(*task)


def _read(source: Source, labels: LabelReader) -> Sample | Exception:
    try:
        return read_sample(source, labels)
    except (ValueError, OSError) as error:
        return error
