"""Work that several workers of a process share, with results in order."""

import collections
import os
import queue
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from typing import TypeVar

_Item, _Result = TypeVar("_Item"), TypeVar("_Result")

# The most threads that finish items. They write and count, mostly outside of Python. Twice as many
# items are held in memory at a time.
_MAX_FINISHERS = 4


def map_in_order(
    workers: Sequence[Callable[[_Item], _Result]], items: Iterable[_Item]
) -> Iterator[_Result]:
    """Yield the result of each item, in order; each item goes to a worker that is free.

    Everything up to an error is yielded before it is raised, whether it comes from a worker or
    from the items.

    Args:
        workers: Functions that return the result of an item. Each is called for one item at a
            time; several run in threads.
        items: Taken a few ahead of the results.
    """
    if len(workers) == 1:
        yield from map(workers[0], items)
        return
    free: queue.SimpleQueue[Callable[[_Item], _Result]] = queue.SimpleQueue()
    for worker in workers:
        free.put(worker)

    def call(item: _Item) -> _Result:
        worker = free.get()
        try:
            return worker(item)
        finally:
            free.put(worker)

    pool = futures.ThreadPoolExecutor(len(workers))
    pending: collections.deque[futures.Future[_Result]] = collections.deque()
    try:
        items = iter(items)
        error = None
        while error is None:
            try:
                pending.append(pool.submit(call, next(items)))
            except StopIteration:
                break
            except Exception as raised:
                error = raised
            if len(pending) == 2 * len(workers):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
        if error is not None:
            raise error
    finally:
        pool.shutdown(cancel_futures=True)


def finish_in_order(
    function: Callable[[_Item], _Result], items: Iterable[_Item]
) -> Iterator[_Result]:
    """Yield the result for each item, in order, from threads that work while items are made.

    Errors are those of `map_in_order`.

    Args:
        function: Returns the result of an item; several threads call it at a time.
        items: Items, which are made in the calling thread.
    """
    return map_in_order([function] * min(_MAX_FINISHERS, os.cpu_count() or 1), items)


def read_ahead(items: Iterable[_Item]) -> Iterator[_Item]:
    """Yield items; a thread makes the next one while the caller uses the last."""
    items, end = iter(items), object()
    with futures.ThreadPoolExecutor(1) as pool:
        made = pool.submit(next, items, end)
        while (item := made.result()) is not end:
            made = pool.submit(next, items, end)
            yield item
