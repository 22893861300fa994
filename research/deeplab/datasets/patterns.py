"""Patterns of files, for flags that take them. Every other path is literal."""

import glob
import os

from deeplab.utils import file_systems


def expand(pattern: str) -> list[str]:
    """Return the files that a path or a pattern names, sorted.

    What exists is taken literally, whatever characters its name has: the whole path, and leading
    folders of a pattern. `**` matches any number of folders. Hidden files only match if the
    pattern names them. In other file systems a pattern is one throughout, without `**`.

    Args:
        pattern: A file, a folder, which stands for the files in it, or a pattern.

    Returns:
        Paths of files.
    """
    if file_systems.is_remote(pattern):
        return _expand_remote(pattern)
    head, tail = pattern, []
    while head and not os.path.lexists(head):
        head, part = os.path.split(head)
        if part:  # None after a slash at the end.
            tail.insert(0, part)
    if not tail and os.path.isdir(head):
        tail = ["*"]
    paths = glob.glob(os.path.join(glob.escape(head), *tail), recursive=True) if tail else [head]
    return sorted(path for path in paths if os.path.isfile(path))


def _expand_remote(pattern: str) -> list[str]:
    paths = sorted(file_systems.gfile().glob(pattern))
    paths = [path for path in paths if not os.path.basename(path).startswith(".")]
    are_folders = file_systems.ask(file_systems.is_folder, paths)
    return [path for path, is_folder in zip(paths, are_folders, strict=True) if not is_folder]
