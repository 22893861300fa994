"""Temporary files and folders, whose names tell the process that they belong to."""

import contextlib
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator

from absl import logging

from deeplab.utils import file_systems

# `.<name>.<host>.<pid>.<random>.tmp`, and what TensorFlow appends to the prefix of a checkpoint.
_TEMPORARY = re.compile(
    r"\.(?P<name>.+)\.(?P<host>[^.]+)\.(?P<pid>\d+)\.[0-9a-f]{16}\.(tmp|old)(\.(index|data-).*)?"
)
# The form of earlier versions; the extension came last. Other programs' names may look like it.
_EARLIER_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)\.(tmp|old)(?P<extension>\.\w+)?")
# Whether a process of another host still runs cannot be asked. No conversion, export or download
# leaves what it writes alone for so long.
_STALE_SECS = 7 * 24 * 3600
# No process needs so long between the two renames that replace a folder.
_BETWEEN_RENAMES_SECS = 1.0
# Suffix of a folder while another one takes its place.
OLD = ".old"

# Limits of file systems and of Linux.
_MOST_NAME_BYTES = 255
_LARGEST_PID = 2**22

# Temporary paths that this process still uses.
_in_use: set[str] = set()


def _host() -> str:
    return socket.gethostname().replace(".", "-")


@contextlib.contextmanager
def temporary_name(path: str, suffix: str = ".tmp") -> Iterator[str]:
    """Yield a path beside `path`, `.<name>.<host>.<pid>.<random><suffix>`, to use in the block.

    The name cannot be guessed. It contains the number of the process, so that `remove_leftovers`
    finds the files of a killed process.
    """
    folder, name = os.path.split(path)
    temporary = os.path.join(
        folder, f".{name}.{_host()}.{os.getpid()}.{secrets.token_hex(8)}{suffix}"
    )
    _in_use.add(temporary)
    try:
        yield temporary
    finally:
        _in_use.discard(temporary)


def has_room(path: str) -> bool:
    """Return whether the name of a file leaves room for what is added to it while it is written."""
    longest = f".{os.path.basename(path)}.{_host()}.{_LARGEST_PID}.{'0' * 16}.tmp"
    return len(os.fsencode(longest)) <= _MOST_NAME_BYTES


@contextlib.contextmanager
def temporary_file(path: str) -> Iterator[str]:
    """Yield the path of an empty file beside `path` that is gone when the block ends."""
    with temporary_name(path) as temporary:
        create(temporary)
        try:
            yield temporary
        finally:
            remove_if_there(temporary)


@contextlib.contextmanager
def temporary_folder(path: str) -> Iterator[str]:
    """Yield the path of an empty folder beside `path` that is gone when the block ends."""
    with temporary_name(path) as temporary:
        os.mkdir(temporary)
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def create(path: str) -> None:
    """Create an empty file; fail if there is anything at `path`, even a dangling link."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))


def remove_if_there(path: str) -> None:
    """Remove a file, if there is one."""
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)


def recover_folder(path: str) -> None:
    """Rename a folder back if a process on any host was killed while it replaced the folder."""
    if file_systems.is_remote(path) or os.path.lexists(path):
        return
    parent, name = os.path.split(os.path.abspath(path))
    for other in sorted(os.listdir(parent)) if os.path.isdir(parent) else ():
        old = os.path.join(parent, other)
        if not other.endswith(OLD):
            continue
        match = _TEMPORARY.fullmatch(other)
        if match and match["host"] != _host():
            if match["name"] != name:
                continue
            if not _is_stale(old):
                time.sleep(_BETWEEN_RENAMES_SECS)
            if os.path.lexists(path):
                return
        elif _left_over_name(old) != name:
            continue
        logging.warning("%s was being replaced when a process was killed: it is back", path)
        # Another process may have brought it back.
        with contextlib.suppress(FileNotFoundError):
            os.rename(old, path)
        return


def remove_leftovers(folder: str, names: str) -> list[str]:
    """Remove the temporary files and folders of processes that were killed.

    Those of running processes stay, and those of other hosts for a week after the last change:
    they may share the folder. In remote file systems all of them stay.

    Args:
        folder: Their folder; it need not exist.
        names: Regular expression for the whole names of the files that they would have become. It
            must not match names of others, whose hidden files may look alike.

    Returns:
        The paths that were removed.
    """
    removed: list[str] = []
    if file_systems.is_remote(folder) or not os.path.isdir(folder):
        return removed
    for entry in sorted(os.listdir(folder)):
        path = os.path.join(folder, entry)
        name = _left_over_name(path)
        if name is None or not re.fullmatch(names, name):
            continue
        if entry.endswith(OLD):
            # It is the only good one if its replacement never came.
            recover_folder(os.path.join(folder, name))
            if not os.path.lexists(path):
                continue
        logging.info("removing %s: a process was killed while it wrote it", path)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            remove_if_there(path)
        removed.append(path)
    return removed


def remove_leftovers_of(path: str) -> list[str]:
    """Remove temporary files of killed processes that were writing this file or folder.

    A folder that a killed process had renamed in order to replace it is renamed back.
    """
    recover_folder(path)
    folder, name = os.path.split(path)
    return remove_leftovers(folder or ".", re.escape(name))


def _left_over_name(path: str) -> str | None:
    """Return the final name of a temporary file if its process is gone; None for other files."""
    name = os.path.basename(path)
    if match := _TEMPORARY.fullmatch(name):
        if match["host"] != _host():
            return match["name"] if _is_stale(path) else None
    elif not (match := _EARLIER_TEMPORARY.fullmatch(name)):
        return None
    pid = int(match["pid"])
    if pid == os.getpid():
        # A process of an earlier start may have had this number, as in a container.
        if any(path.startswith(temporary) for temporary in _in_use):
            return None
    elif _is_running(pid):
        return None
    return match["name"] + (match.groupdict().get("extension") or "")


def _is_stale(path: str) -> bool:
    try:
        state = os.lstat(path)
        # A rename changes the second time alone, and an old folder may just have been renamed.
        return time.time() - max(state.st_mtime, state.st_ctime) > _STALE_SECS
    except OSError:  # It is gone.
        return False


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
