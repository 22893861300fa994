"""Folders that are called 1, 2, 3, ... within another, as the versions of a served model."""

import contextlib
import dataclasses
import errno
import os
import re
from collections.abc import Iterator

from deeplab.utils import file_systems, files, temporary_files

# What the name of a new folder begins with until it has its number.
_NEW = "version"
# Somebody else took the number.
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
# Numbers are 64-bit integers.
_LIMIT = 2**63


@dataclasses.dataclass
class NewFolder:
    """A folder that gets its number when it is whole.

    Args:
        temporary: The path at which it is filled.
        path: Where it is in the end; "" until then.
    """

    temporary: str
    path: str = ""


def numbers(base: str) -> list[int]:
    """Return the numbers that are taken in a folder, which need not exist, sorted."""
    names = (name.rstrip("/") for name in file_systems.names_in(base))
    found = (int(name) for name in names if _is_number(name))
    return sorted(number for number in found if number < _LIMIT)


def _is_number(name: str) -> bool:
    return re.fullmatch("[0-9]+", name) is not None


@contextlib.contextmanager
def adding(base: str, *, last: str = "") -> Iterator[NewFolder]:
    """Yield an empty folder to fill, which is called by the next free number when the block ends.

    That is one more than the largest number, or 1. Of two processes that do this at once each gets
    a number of its own. After an error nothing is left. In a remote file system, which cannot
    rename folders, the number is chosen first.

    Args:
        base: The folder around it; made if needed.
        last: Name of the file that tells readers that the folder is whole; see
            `files.replacing_folder`.

    Yields:
        The folder; its `path` is known after the block.

    Raises:
        FileExistsError: Another process took the number in a remote file system.
    """

    def following() -> str:
        return os.path.join(base, str(max(numbers(base), default=0) + 1))

    if file_systems.is_remote(base):
        path = following()
        with files.replacing_folder(path, last=last) as temporary:
            folder = NewFolder(temporary)
            yield folder
        folder.path = path
        return
    os.makedirs(base, exist_ok=True)
    new = os.path.join(base, _NEW)
    temporary_files.remove_leftovers_of(new)
    with temporary_files.temporary_folder(new) as temporary:
        folder = NewFolder(temporary)
        yield folder
        while not folder.path:
            path = following()
            try:
                # It replaces empty folders only.
                os.rename(temporary, path)
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise
            else:
                folder.path = path
