"""Checks that the files and folders of flags can be written, before long work is done."""

import dataclasses
import os
from collections.abc import Iterable

from deeplab.core import error_text, regular_files
from deeplab.utils import file_systems, files, temporary_files


@dataclasses.dataclass(frozen=True)
class Result:
    """A kind of file that a command writes: it replaces earlier ones, and nothing else.

    Args:
        name: Its name for messages, such as "a report of this command".
        extension: What the name of a file must end in, such as ".png".
        beginning: The first bytes of its content, from `skipped` on.
        skipped: Number of bytes that may be any.
        fields: Of a file that is a JSON object: its fields that others do not have.
    """

    name: str
    extension: str = ""
    beginning: bytes = b""
    skipped: int = 0
    fields: tuple[str, ...] = ()

    def is_at(self, path: str) -> bool:
        """Return whether the file at a path is one, or empty, as `mktemp` makes it.

        Raises:
            OSError: It cannot be read.
        """
        start = files.read_start(path, self.skipped + max(1, len(self.beginning)))
        if not start:
            return True
        if not start[self.skipped :].startswith(self.beginning):
            return False
        if not self.fields:
            return True
        try:
            content = files.read_json(path)
        except ValueError:
            return False
        return isinstance(content, dict) and content.keys() >= set(self.fields)


PNG = Result("a PNG file", ".png", b"\x89PNG")
LITE_MODEL = Result("a TensorFlow Lite model", "", b"TFL3", skipped=4)
DESCRIPTOR = Result("a descriptor", "", b"{", fields=("num_classes",))
DATA_REPORT = Result("a report of this command", "", b"{", fields=("dataset", "splits", "findings"))
EXPORT_REPORT = Result(
    "a report of this command", "", b"{", fields=("export_path", "versions", "findings")
)


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


def check_file(flag: str, path: str, result: Result) -> None:
    """Reject the file of a flag that cannot be written, before long work is done.

    Nothing is made on this machine; a remote folder is.

    Args:
        flag: Name of the flag.
        path: The file, whose folder need not exist.
        result: What is written there, and the only kind of file that it may replace.

    Raises:
        ValueError: There is a folder of that name, files cannot be written where it will be, the
            name ends otherwise, or another kind of file is there.
    """
    folder = os.path.dirname(path)
    try:
        reason = "it is a folder" if file_systems.is_folder(path) else ""
        if not file_systems.is_remote(path):
            regular_files.require_replaceable(path)
        # A file at the top of a file system has no folder that could be tried.
        if not reason and file_systems.is_remote(folder) == file_systems.is_remote(path):
            reason = why_no_files_in(folder)
        is_other = not reason and file_systems.exists(path) and not result.is_at(path)
    except Exception as error:  # TensorFlow has many.
        reason = error_text.one_line(error)
    if reason:
        raise ValueError(f"--{flag}={path} cannot be written: {reason}")
    if not path.lower().endswith(result.extension):
        raise ValueError(f"--{flag} is {path}; the file's name must end in {result.extension}")
    if is_other:
        raise ValueError(
            f"--{flag}={path} would replace a file that is not {result.name}: name another file, or"
            " remove it"
        )


def check_not_read(flag: str, path: str, inputs: Iterable[str]) -> None:
    """Reject an output file that is also an input.

    Raises:
        ValueError: The file is an input, even if under another path.
    """
    if os.path.realpath(path) in {os.path.realpath(each) for each in inputs}:
        raise ValueError(f"--{flag}={path} would replace a file that is read; name another file")


def check_folder(flag: str, path: str) -> None:
    """Find out whether files can be written in the folder that a flag names; see `check_file`.

    Raises:
        ValueError: They cannot.
    """
    if reason := why_no_files_in(path):
        raise ValueError(f"--{flag}={path} cannot be written: {reason}")


def why_no_files_in(folder: str) -> str:
    """Return why files cannot be written in a folder, which need not exist; "" if they can be."""
    if file_systems.is_remote(folder):
        try:
            _write_remote_check(folder)
        except Exception as error:  # TensorFlow has many.
            return error_text.one_line(error)
        return ""
    above = os.path.abspath(folder)
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    if not os.path.isdir(above):
        return f"{above} is not a folder"
    try:
        with temporary_files.temporary_file(os.path.join(above, "check")):
            return ""
    except OSError as error:
        return f"{above}: {error.strerror}"
