"""DeepLab, v1 to v3+, for TensorFlow 2 and Keras 3."""

import os
import pathlib
import signal
import sys
import types

__version__ = "0.1.0"

# Exit code of a process that Ctrl-C ends, as shells report it.
_INTERRUPTED = 128 + signal.SIGINT


def _is_script() -> bool:
    """Return whether this process runs one of the package's commands, not a program of a user."""
    program = pathlib.Path(*sys.argv[:1])
    # While Python looks for the module of `-m`, that is the program.
    return (
        program.name == "-m"
        or program.name.startswith("deeplab-")
        or program.resolve().is_relative_to(pathlib.Path(__file__).resolve().parent)
    )


def leave(number: int, frame: types.FrameType | None) -> None:
    """End the process at once, as a handler of Ctrl-C: there is nothing to clean up yet."""
    del number, frame
    # A worker process leaves the message to the one that started it.
    if "--multiprocessing-fork" not in sys.orig_argv:
        os.write(2, b"error: interrupted\n")
    os._exit(_INTERRUPTED)


# While a command imports its modules, Ctrl-C may arrive as any exception. `cli.script` takes over.
if _is_script() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, leave)
