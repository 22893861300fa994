"""Finds out whether what flags name can be written, before long work is done for it."""

import os

from deeplab.utils import error_text, file_systems, temporary_files


def make_folder(flag: str, path: str) -> None:
    """Make the folder that a flag names, before long work is done for its files.

    Args:
        flag: Name of the flag.
        path: The folder, of any file system that TensorFlow knows.

    Raises:
        ValueError: The folder cannot be made, or files cannot be written in it.
    """
    try:
        if file_systems.is_remote(path):
            _write_remote_check(path)
        else:
            os.makedirs(path, exist_ok=True)
            check = os.path.join(path, "check")
            with temporary_files.temporary_file(check) as temporary, open(temporary, "wb") as file:
                file.write(b"-")
    except Exception as error:  # Of the operating system or of TensorFlow.
        raise ValueError(
            f"--{flag}={path} cannot be written: {error_text.one_line(error)}"
        ) from None


def _write_remote_check(folder: str) -> None:
    """Make a remote folder if needed, and write a file there, which is removed."""
    gfile = file_systems.gfile()
    gfile.makedirs(folder)
    with temporary_files.temporary_name(os.path.join(folder, "check")) as temporary:
        with gfile.GFile(temporary, "w") as file:
            file.write("-")
        gfile.remove(temporary)


def check_file(flag: str, path: str) -> None:
    """Find out whether a file can be written that a flag names, before long work is done for it.

    On this machine nothing is made; a remote folder is.

    Args:
        flag: Name of the flag.
        path: The file, whose folder need not exist.

    Raises:
        ValueError: There is a folder of that name, or files cannot be written where it will be.
    """
    if file_systems.is_remote(path):
        try:
            reason = "it is a folder" if file_systems.gfile().isdir(path) else ""
            # A file at the top of a file system has no folder that could be tried.
            if not reason and file_systems.is_remote(folder := os.path.dirname(path)):
                _write_remote_check(folder)
        except Exception as error:  # TensorFlow has many.
            reason = error_text.one_line(error)
        if reason:
            raise ValueError(f"--{flag}={path} cannot be written: {reason}")
        return
    above = os.path.dirname(os.path.abspath(path))
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    if os.path.isdir(path):
        reason = "it is a folder"
    elif not os.path.isdir(above):
        reason = f"{above} is not a folder"
    else:
        try:
            with temporary_files.temporary_file(os.path.join(above, "check")):
                return
        except OSError as error:
            reason = f"{above}: {error.strerror}"
    raise ValueError(f"--{flag}={path} cannot be written: {reason}")
