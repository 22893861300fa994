"""Numbered folders 1, 2, 3, ... in a folder, such as the versions of a served model."""

import contextlib
import dataclasses
import errno
import os
import re
from collections.abc import Iterator

from deeplab.utils import file_systems, files, temporary_files

# Start of the name of a new folder until it gets its number.
_NEW = "version"
# The errors if another process has taken the number.
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
# Numbers are 64-bit integers.
_LIMIT = 2**63


@dataclasses.dataclass
class NewFolder:
    """A folder that gets its number when it is complete.

    Args:
        temporary: The path at which it is filled.
        path: Its final path; "" until then.
    """

    temporary: str
    path: str = ""


def named(base: str) -> list[tuple[int, str]]:
    """Return the numbers in a folder, sorted, each with the name that it has there.

    A name may have leading zeros. The folder need not exist.
    """
    names = (name.rstrip("/") for name in file_systems.names_in(base))
    found = ((int(name), name) for name in names if re.fullmatch("[0-9]+", name))
    return sorted(each for each in found if each[0] < _LIMIT)


def numbers(base: str) -> list[int]:
    """Return the numbers in a folder, sorted; none if the folder does not exist."""
    return [number for number, _ in named(base)]


@contextlib.contextmanager
def adding(base: str, *, last: str = "") -> Iterator[NewFolder]:
    """Yield an empty folder to fill. It is renamed to the next free number when the block ends.

    This number is one more than the largest, or 1. Two processes that do this at the same time get
    different numbers. After an error nothing is left. In a remote file system, which cannot rename
    folders, the number is chosen first.

    Args:
        base: The folder of the numbered ones; it is made if needed.
        last: Name of the file that tells readers that the folder is whole; see
            `files.replacing_folder`.

    Yields:
        The folder; its `path` is known after the block.

    Raises:
        FileExistsError: Another process took the number in a remote file system.
        ValueError: The largest number that there is, is taken.
    """

    def following() -> str:
        number = max(numbers(base), default=0) + 1
        if number == _LIMIT:
            raise ValueError(
                f"{base} holds a folder {number - 1}, the largest number of a version: rename it"
            )
        return os.path.join(base, str(number))

    if file_systems.is_remote(base):
        path = following()
        with files.replacing_folder(path, last=last) as temporary:
            folder = NewFolder(temporary)
            yield folder
        folder.path = path
        return
    # Before the work is done: is there one?
    following()
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
