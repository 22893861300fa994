"""Paths that are no files: reading would wait there, or never end, and writing would break them."""

import os
import stat

# What a shell or a program has opened for this process: `<(command)`, `command |`.
_OPENED = ("/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/self/fd/", os.devnull)
_KINDS = {
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


def require(path: str | os.PathLike[str]) -> None:
    """Reject a pipe with a name, a device or a socket, in the place of a file to read.

    Standard input, and pipes that were opened for this process, are read as files are. What is not
    there, a folder and a path of another file system are left to the reader.

    Raises:
        OSError: It is one of them.
    """
    path = os.fspath(path)
    if not path.startswith(_OPENED) and (name := _kind(path)):
        raise OSError(f"{path} is {name}, not a file: copy what it holds to a file")


def require_replaceable(path: str | os.PathLike[str]) -> None:
    """Reject a path that a written file would take the place of, as it is no file.

    Root can replace even `/dev/null`, for all programs of the machine.

    Raises:
        OSError: It is a device, a named pipe, a socket, or standard output.
    """
    path = os.fspath(path)
    name = "a stream" if path.startswith(_OPENED) else _kind(path)
    if name:
        raise OSError(f"{path} is {name}, which a file must not replace: name a new file")


def _kind(path: str) -> str:
    """Return what is at a path that is no file, nor a folder; "" otherwise."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return ""
    return next((name for is_kind, name in _KINDS.items() if is_kind(mode)), "")
