"""Paths that are no files, but that reading would wait at, or never end."""

import os
import stat

# What a shell or a program has opened for this process: `<(command)`, `command |`.
_OPENED = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/", os.devnull)
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
    if path.startswith(_OPENED):
        return
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return
    for is_kind, name in _KINDS.items():
        if is_kind(mode):
            raise OSError(f"{path} is {name}, not a file: copy what it holds to a file")
