"""Paths: of this machine, or of another file system that TensorFlow knows (`gs://...`)."""

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any

# Questions to the servers of another file system that are under way at a time.
_QUESTIONS = 64
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Return whether a path names a file system, as `gs://bucket/folder` does."""
    return _SCHEME.match(os.fspath(path)) is not None


def has_wildcards(path: str | os.PathLike[str]) -> bool:
    """Return whether functions that take patterns would not take a path literally."""
    return re.search(r"[*?[\]\\]", os.fspath(path)) is not None


def gfile() -> Any:
    """Return `tf.io.gfile`."""
    # Imported late: it takes seconds, and worker processes and tables do without it.
    import tensorflow as tf

    return tf.io.gfile


def known_schemes() -> list[str]:
    """Return the file systems that TensorFlow knows, such as "gs", but that of this machine."""
    return sorted(scheme for scheme in gfile().get_registered_schemes() if scheme)


def exists(path: str | os.PathLike[str]) -> bool:
    """Return whether there is a file or folder at a path."""
    return gfile().exists(os.fspath(path)) if is_remote(path) else os.path.exists(path)


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Return whether there is a folder at a path."""
    return gfile().isdir(os.fspath(path)) if is_remote(path) else os.path.isdir(path)


def ask(question: Callable[[str], bool], paths: Sequence[str]) -> list[bool]:
    """Return `question(path)` for each path.

    Those of other file systems are asked about many at a time: each waits for a server, and there
    may be millions.

    Args:
        question: `exists` or `is_folder`.
        paths: The paths.
    """
    if not any(map(is_remote, paths)):
        return list(map(question, paths))
    with futures.ThreadPoolExecutor(_QUESTIONS) as pool:
        return list(pool.map(question, paths))


def names_in(folder: str | os.PathLike[str]) -> list[str]:
    """Return the names in a folder, sorted; none if there is no such folder.

    On this machine a name may hold bytes that are not UTF-8, with which TensorFlow would fail.
    """
    if not is_folder(folder):
        return []
    return sorted(gfile().listdir(os.fspath(folder)) if is_remote(folder) else os.listdir(folder))


@contextlib.contextmanager
def without_wildcards(path: str) -> Iterator[str]:
    """Yield a path of a local folder or file that TensorFlow does not take for a pattern.

    Where `path` has wildcards, that is a link to it in a temporary folder.
    """
    if is_remote(path) or not has_wildcards(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = os.path.join(folder, "link")
        os.symlink(os.path.abspath(path), link)
        yield link
