"""The files that records are made of: lists that name them, folders that hold them."""

import codecs
import collections
import dataclasses
import functools
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from absl import logging

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm")
# Byte order marks of encodings other than UTF-8; the longer ones first, they begin alike.
_OTHER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


@dataclasses.dataclass(frozen=True)
class Source:
    """The files of one record.

    Args:
        name: Name of the image in the record.
        image: Path of the image.
        label: Path of the label; None if the image has none.
        place: Where the image is named, such as "lists/train.txt, line 3"; "" if nowhere.
    """

    name: str
    image: str
    label: str | None
    place: str = ""


class Line(NamedTuple):
    """A line of a list of files.

    Attributes:
        text: The line without white space around it.
        place: Where it is, such as "lists/train.txt, line 3".
    """

    text: str
    place: str


def parse_list(data: bytes, path: str) -> list[Line]:
    """Return the lines of a text file that are not blank.

    Args:
        data: Content of the file: UTF-8, with or without a byte order mark.
        path: Path of the file, for messages.

    Raises:
        ValueError: The file has another encoding; the message names file and line.
    """
    for mark, encoding in _OTHER_MARKS.items():
        if data.startswith(mark):
            raise ValueError(f"{path}, line 1: the file is {encoding}; save it as UTF-8")
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode()
        wrong = text.find("\0")
    except UnicodeDecodeError as error:
        text = data[: error.start].decode()
        wrong = error.start
    if wrong >= 0:
        number = len(re.findall("\r\n|\r|\n", text[:wrong])) + 1
        raise ValueError(f"{path}, line {number}: this is not UTF-8 text; save the file as UTF-8")
    # Not `splitlines`: names may have the other characters at which it splits.
    lines = (line.strip() for line in re.split("\r\n|\r|\n", text))
    return [
        Line(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1) if line
    ]


def read_lists(folder: str) -> dict[str, list[Line]]:
    """Return the names in each list of a folder.

    Args:
        folder: A folder with one list `<split>.txt` for each split, with a name per line.

    Returns:
        Split to names, in the order of the lines. Repeated lines are kept and logged.

    Raises:
        ValueError: There is no list, or one is not UTF-8 text.
    """
    lists = {}
    for entry in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        split, extension = os.path.splitext(entry)
        path = os.path.join(folder, entry)
        if extension != ".txt" or entry.startswith(".") or not os.path.isfile(path):
            continue
        with open(path, "rb") as file:
            lists[split] = parse_list(file.read(), path)
        _log_repeated(path, lists[split])
    if not lists:
        raise ValueError(f"there is no list (*.txt) in {folder} (--list_folder)")
    return lists


def _log_repeated(path: str, lines: Sequence[Line]) -> None:
    counts = collections.Counter(line.text for line in lines)
    repeated = [text for text, count in counts.items() if count > 1]
    if repeated:
        logging.warning(
            "%s: %d names are repeated, such as %r: the split has their images as often as they"
            " are listed (%d records of %d images)",
            *(path, len(repeated), repeated[0], len(lines), len(counts)),
        )


def split_name_fault(split: str) -> str:
    """Return why a word cannot name a split, as the end of a message; "" if it can."""
    if split.startswith(".") or any(mark in split for mark in "/\\"):
        return "must not begin with a dot or contain / or \\: it begins the names of files"
    return "" if split.isprintable() else "has characters that cannot be printed"


class ImageFolder:
    """Finds images by the names that lists give them.

    The name of an image is its path relative to the folder, without extension. A name counts as
    it is written first. If there is no such image, its extension is left out, accents are joined
    to their letters or taken apart, backslashes are taken for slashes, and a leading part that
    repeats the end of the folder's own path (or all of it) is left out.

    Args:
        folder: The folder.
        extensions: Extensions of the images, such as ".jpg"; upper case counts as lower case.

    Example:
        name, paths = ImageFolder("data/images", [".jpg"]).find("images/a/b.jpg")
        # "a/b", ["data/images/a/b.jpg"]
    """

    def __init__(self, folder: str, extensions: Sequence[str]):
        self._folder = folder
        self._extensions = tuple(extensions)
        self._files = functools.cache(self._list)

    def find(self, name: str) -> tuple[str, list[str]]:
        """Return the name of an image and its files.

        Args:
            name: The name that a list gives it.

        Returns:
            The name, without what was left out, and the files that have it: none if there is no
            such image, several if files differ in the extension only.
        """
        for candidate in self._candidates(name):
            if paths := self._paths(candidate):
                return candidate, paths
            stem, extension = os.path.splitext(candidate)
            if extension.lower() in self._extensions:
                path = os.path.join(self._folder, candidate)
                if paths := self._paths(stem):
                    return stem, [path] if path in paths else paths
        return name, []

    def hint(self, name: str) -> str:
        """Return what to change in a name that is not found, as the end of a message; or ""."""
        for part in name.split():
            if part != name and self.find(part)[1]:
                return "; a line is the name of one image: remove the other columns"
        parts = name.replace("\\", "/").split("/")
        for start in range(1, len(parts)):
            rest = "/".join(parts[start:])
            if self.find(rest)[1]:
                return f"; there is '{rest}': remove '{name[: len(name) - len(rest)]}'"
        return ""

    def _candidates(self, name: str) -> Iterator[str]:
        """Yield forms of a name, as written first."""
        if not os.path.isabs(name):
            # Some systems take letters and their accents apart, as in the names of an archive.
            for form in (name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))):
                # "../images/a" is "a", if that is the folder.
                yield os.path.relpath(os.path.join(self._folder, form), self._folder)
        own = os.path.abspath(self._folder).split("/")
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
        if "\\" in name and not name.startswith("\\"):
            yield "/".join(parts)
        for length in range(1, len(parts)):
            if own[-length:] == parts[:length]:
                yield "/".join(parts[length:])

    def _paths(self, name: str) -> list[str]:
        folder, stem = os.path.split(name)
        return self._files(folder).get(stem, [])

    def _list(self, folder: str) -> dict[str, list[str]]:
        """Return the images directly in a folder, relative to this one, by stem."""
        path = os.path.join(self._folder, folder)
        found: dict[str, list[str]] = {}
        for entry in sorted(os.listdir(path)) if os.path.isdir(path) else ():
            stem, extension = os.path.splitext(entry)
            if extension.lower() in self._extensions:
                found.setdefault(stem, []).append(os.path.join(path, entry))
        return found
