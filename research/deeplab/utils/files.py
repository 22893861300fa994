"""Atomic writes of files and folders: under a temporary name first, then renamed.

Paths may be of any file system that TensorFlow knows (`gs://...`). If it cannot rename, files are
written on this machine and copied when they are complete.
"""

import contextlib
import ctypes
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from absl import logging

from deeplab.core import error_text, json_text, regular_files
from deeplab.utils import file_systems, temporary_files

# Arguments of Linux' renameat2.
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2

# A full disk or quota, a file beyond the allowed size, and a disk that fails.
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a file; standard input and `<(command)` of a shell are files, too.

    Raises:
        OSError: The file cannot be read, or is a named pipe or a device.
    """
    if not file_systems.is_remote(path):
        regular_files.require(path)
        try:
            with open(path, "rb") as file:
                return file.read()
        except OSError as error:
            if error.filename is not None:
                raise
            # As of a disk that fails in the middle.
            raise type(error)(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        with file_systems.gfile().GFile(os.fspath(path), "rb") as file:
            return file.read()
    except Exception as error:
        raise OSError(f"{path} cannot be read: {error_text.one_line(error)}") from None


def read_start(path: str | os.PathLike[str], size: int) -> bytes:
    """Return the first bytes of a file, at most `size`; see `read_bytes`."""
    if not file_systems.is_remote(path):
        regular_files.require(path)
        with open(path, "rb") as file:
            return file.read(size)
    return read_bytes(path)[:size]


def read_json(path: str | os.PathLike[str]) -> Any:
    """Return the content of a JSON file.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is not JSON, or is nested too deeply.
    """
    return json_text.parse(read_bytes(path), os.fspath(path))


@contextlib.contextmanager
def replacing_all(paths: Sequence[str | os.PathLike[str]]) -> Iterator[list[str]]:
    """Yield temporary files to write, which replace `paths` when the block ends.

    Each temporary file lies in the folder of its path, which is made if needed. All files reach
    the disk before the first one is renamed. After an error they are removed and `paths` are as
    they were.

    Args:
        paths: The final paths of the files.

    Yields:
        The temporary paths. The files exist and are empty.
    """
    paths = [os.fspath(path) for path in paths]
    with contextlib.ExitStack() as stack:
        temporaries = []
        for path in paths:
            if file_systems.is_remote(path):
                folder = stack.enter_context(tempfile.TemporaryDirectory())
                temporary = os.path.join(folder, "file")
                temporary_files.create(temporary)
            else:
                regular_files.require_replaceable(path)
                os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
                try:
                    temporary = stack.enter_context(temporary_files.temporary_file(path))
                except OSError as error:
                    raise _of_writing(path, error) from None
            temporaries.append(temporary)
        try:
            yield temporaries
            for temporary in temporaries:
                with open(temporary, "rb") as file:
                    os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in _NO_SPACE:
                raise
            raise _of_writing(paths[0], error) from None
        for temporary, path in zip(temporaries, paths, strict=True):
            if file_systems.is_remote(path):
                _copy_to_remote(temporary, path)
            else:
                os.replace(temporary, path)


def _of_writing(path: str, error: Exception) -> OSError:
    """Return the error about a path instead of one about a temporary file."""
    reason = getattr(error, "strerror", None) or error_text.one_line(error).rpartition("; ")[2]
    kind = type(error) if isinstance(error, OSError) else OSError
    return kind(f"{path} cannot be written: {reason}")


def _copy_to_remote(source: str, path: str) -> None:
    """Copy a file of this machine; rename it after the copy, which may fail halfway."""
    gfile = file_systems.gfile()
    gfile.makedirs(os.path.dirname(path))
    with temporary_files.temporary_name(path) as temporary:
        try:
            gfile.copy(source, temporary)
            gfile.rename(temporary, path, overwrite=True)
        except BaseException:
            with contextlib.suppress(Exception):
                gfile.remove(temporary)
            raise


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yield a temporary file to write, which replaces `path` when the block ends.

    See `replacing_all`.
    """
    with replacing_all([path]) as (temporary,):
        yield temporary


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `path` in UTF-8 atomically."""
    write_bytes(path, text.encode())


@contextlib.contextmanager
def replacing_prefix(prefix: str, *, last: str) -> Iterator[str]:
    """Yield a temporary prefix for files that TensorFlow writes; they are renamed when it ends.

    After an error they are removed. In a remote file system the prefix is `prefix` itself.

    Args:
        prefix: Prefix of the files' paths; its folder must exist.
        last: The rest of the name of the file that is renamed last, such as ".index".

    Yields:
        The temporary prefix.
    """
    if file_systems.is_remote(prefix):
        yield prefix
        return
    with temporary_files.temporary_name(prefix) as temporary:
        try:
            yield temporary
            suffixes = _suffixes(temporary)
            for suffix in sorted(suffixes, key=lambda suffix: (suffix == last, suffix)):
                os.replace(temporary + suffix, prefix + suffix)
        finally:
            for suffix in _suffixes(temporary):
                temporary_files.remove_if_there(temporary + suffix)


def _suffixes(prefix: str) -> list[str]:
    """Return what follows a prefix in the paths of the files that begin with it."""
    folder, name = os.path.split(prefix)
    entries = os.listdir(folder or ".")
    return [entry.removeprefix(name) for entry in entries if entry.startswith(name)]


@contextlib.contextmanager
def replacing_folder(path: str | os.PathLike[str], *, last: str = "") -> Iterator[str]:
    """Yield a temporary empty folder to fill, which replaces the folder `path` when the block ends.

    On this machine the two folders change places in one step where the system can do that, so
    that `path` is there at any moment; otherwise the next call repairs what a kill in between left.
    After an error the temporary folder is removed and `path` is as it was.

    Args:
        path: The final path of the folder. A link to a folder stays a link. In a remote file system
            it must not be there; an error removes what was copied of it.
        last: Name of the file that tells readers that the folder is whole; it is copied last.

    Yields:
        The temporary path.

    Raises:
        FileExistsError: There is such a remote folder.
    """
    if file_systems.is_remote(path):
        with _new_remote_folder(os.fspath(path), last) as temporary:
            yield temporary
        return
    path = os.path.realpath(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary_files.remove_leftovers_of(path)
    # When the block ends, this name belongs to the replaced folder, or to nothing.
    with temporary_files.temporary_folder(path) as temporary:
        try:
            yield temporary
        except Exception as error:
            # Python's error need not name the file; TensorFlow's names one in the folder.
            is_full = isinstance(error, OSError) and error.errno in _NO_SPACE
            is_aside = error_text.is_of_tensorflow(error) and temporary in str(error)
            if not (is_full or is_aside):
                raise
            raise _of_writing(path, error) from None
        if os.path.isdir(path):
            _exchange(temporary, path)
            logging.info("replaced the folder %s", path)
        else:
            os.rename(temporary, path)


@contextlib.contextmanager
def _new_remote_folder(path: str, last: str) -> Iterator[str]:
    _refuse_if_there(path)
    with tempfile.TemporaryDirectory() as temporary:
        yield temporary
        # What another process has written meanwhile is not ours to write over, or to remove.
        _refuse_if_there(path)
        names = [
            os.path.relpath(os.path.join(folder, name), temporary)
            for folder, _, files in os.walk(temporary)
            for name in files
        ]
        try:
            for name in sorted(names, key=lambda name: (name == last, name)):
                _copy_to_remote(os.path.join(temporary, name), os.path.join(path, name))
        except BaseException:
            with contextlib.suppress(Exception):
                file_systems.gfile().rmtree(path)
            raise


def _refuse_if_there(path: str) -> None:
    if file_systems.gfile().exists(path):
        raise FileExistsError(
            f"{path} is there already, and folders of this file system cannot be replaced at"
            " once: name a new folder"
        )


def _exchange(temporary: str, path: str) -> None:
    """Put the folder `temporary` in the place of the folder `path`.

    What was there is at `temporary` after that, or removed.
    """
    if _exchange_at_once(temporary, path):
        return
    with temporary_files.temporary_name(path, temporary_files.OLD) as old:
        os.rename(path, old)
        try:
            os.rename(temporary, path)
        except OSError:
            os.rename(old, path)
            raise
        shutil.rmtree(old)


def _exchange_at_once(first: str, second: str) -> bool:
    """Let two folders change places in one step; return False where the system cannot do that."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):  # The C library, or the whole system, has no such call.
        return False
    names = os.fsencode(first), os.fsencode(second)
    if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    error = ctypes.get_errno()
    if error in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):  # The file system cannot do it.
        return False
    raise OSError(error, os.strerror(error), second)
