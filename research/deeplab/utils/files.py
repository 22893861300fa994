"""Files that are either whole or not there: written aside and renamed."""

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[str]:
    """Gives the path of a file to write, which takes the place of `path` when the block ends.

    The file lies in the folder of `path` (made if it is not there), so that the rename cannot
    fail half-way; it has reached the disk by then. After an error it is removed and `path` is as it
    was.

    Args:
        path: where the file is wanted.

    Yields:
        The temporary path, with the extension of `path`.
    """
    folder, name = os.path.split(os.fspath(path))
    if folder:
        os.makedirs(folder, exist_ok=True)
    stem, extension = os.path.splitext(name)
    temporary = os.path.join(folder, f".{stem}.{os.getpid()}.tmp{extension}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes `data` to `path`."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes `text` to `path` in UTF-8."""
    write_bytes(path, text.encode())
