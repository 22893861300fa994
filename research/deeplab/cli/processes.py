"""Work that is spread over processes."""

import concurrent.futures
import concurrent.futures.process
import contextlib
import multiprocessing
import multiprocessing.process
import os
import threading
from collections.abc import Iterator

from deeplab.cli import remarks


@contextlib.contextmanager
def pool(
    processes: int, work: str, *, remedy: str, cpu_only: bool = False
) -> Iterator[concurrent.futures.Executor]:
    """Yield an executor of other processes. What they have not begun when the block ends is lost.

    Args:
        processes: Number of processes.
        work: What they do, such as "reads images", for messages.
        remedy: What to do if memory runs out, such as "set --num_processes below 4".
        cpu_only: Keep TensorFlow from using GPUs.

    Raises:
        ChildProcessError: A process was killed.
    """
    # A forked copy of a process may hang, because TensorFlow and OpenCV have threads.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        processes, mp_context=context, initializer=begin, initargs=(cpu_only,)
    ) as executor:
        try:
            yield executor
        except concurrent.futures.process.BrokenProcessPool:
            raise ChildProcessError(
                f"a process that {work} was killed, most likely because memory ran out: {remedy}"
            ) from None
        finally:
            executor.shutdown(cancel_futures=True)


def begin(cpu_only: bool = False) -> None:
    """Prepare a new process, before it imports the modules of its tasks.

    It hides TensorFlow's remarks, too, and does not outlive the process that started it.

    Args:
        cpu_only: Keep TensorFlow from using GPUs.
    """
    remarks.hide()
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if cpu_only:
        import tensorflow as tf

        tf.config.set_visible_devices([], "GPU")


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    """End this process when its parent ends, which may be killed and so cannot do it."""
    parent.join()
    os._exit(1)
