"""Work that is spread over processes."""

import concurrent.futures
import concurrent.futures.process
import contextlib
import multiprocessing
import multiprocessing.forkserver
import multiprocessing.process
import os
import threading
from collections.abc import Iterator, Sequence

from deeplab.cli import remarks

# The first import of the process of which all others are forks.
_PREPARED = "deeplab.cli.prepared_process"


def start_early(processes: int | None, modules: Sequence[str]) -> None:
    """Start the process that imports modules for `pool`, while this process imports its own.

    Otherwise the first `pool` starts it.

    Args:
        processes: Number of processes that will be used. Nothing is started for 1 or None.
        modules: Names of the modules.
    """
    if processes and processes > 1:
        _context(modules)
        multiprocessing.forkserver.ensure_running()


@contextlib.contextmanager
def pool(
    processes: int, work: str, *, remedy: str, modules: Sequence[str] = ()
) -> Iterator[concurrent.futures.Executor]:
    """Yield an executor of other processes. What they have not begun when the block ends is lost.

    They do not use GPUs.

    Args:
        processes: Number of processes.
        work: Their work, such as "reads images", for messages.
        remedy: Advice if memory runs out, such as "set --num_processes below 4".
        modules: Names of the modules that they need, to import only once.

    Raises:
        ChildProcessError: A process was killed.
    """
    with concurrent.futures.ProcessPoolExecutor(
        processes, mp_context=_context(modules), initializer=begin
    ) as executor:
        try:
            yield executor
        # The last two errors: the process that is forked was killed.
        except (concurrent.futures.process.BrokenProcessPool, EOFError, ConnectionError):
            raise ChildProcessError(
                f"a process that {work} was killed, most likely because memory ran out: {remedy}"
            ) from None
        finally:
            executor.shutdown(cancel_futures=True)


def _context(modules: Sequence[str]) -> multiprocessing.context.BaseContext:
    """Return a context whose processes are forks of a process that has imported the modules."""
    # A fork of this process may hang, because TensorFlow and OpenCV have threads here. The process
    # that is forked has only imported them.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_PREPARED, *modules])
    return context


def begin() -> None:
    """Prepare a new process, before it imports the modules of its tasks.

    It hides TensorFlow's remarks, too, and does not outlive the process that started it.
    """
    remarks.hide()
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    """End this process when its parent ends, which may be killed and so cannot do it."""
    parent.join()
    os._exit(1)
