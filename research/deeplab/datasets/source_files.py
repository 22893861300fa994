"""The files that records are made of: lists that name them, folders that hold them."""

import collections
import dataclasses
import functools
import os
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from absl import logging

from deeplab.annotations.lists import Line, parse_list
from deeplab.core.wording import agree, counted
from deeplab.utils import file_systems, files

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm")


class DrawnLabel(Protocol):
    """A label that is drawn, such as `annotations.drawn_labels.Drawing` or one of SBD.

    `str` of it names the place where it is described, for messages.
    """

    def draw(self, size: tuple[int, int]) -> np.ndarray:
        """Return the label, uint8 [height, width], for an image of this height and width."""


@dataclasses.dataclass(frozen=True)
class Source:
    """The files of one record.

    Args:
        name: Name of the image in the record.
        image: Path of the image.
        label: Path of the label, or what draws it; None if the image has none.
        place: Where the image is named, such as "lists/train.txt, line 3"; "" if nowhere.
    """

    name: str
    image: str
    label: str | DrawnLabel | None
    place: str = ""


def is_file(path: str) -> bool:
    """Return whether there is a file at a path; in another file system, a file or a folder."""
    # Each question takes such a file system some time.
    return file_systems.exists(path) if file_systems.is_remote(path) else os.path.isfile(path)


def read_lists(folder: str) -> dict[str, list[Line]]:
    """Return the names in each list of a folder.

    Args:
        folder: A folder with one list `<split>.txt` for each split, with a name per line.

    Returns:
        Split to names, in the order of the lines. Repeated lines are kept and logged.

    Raises:
        ValueError: There is no list, a split has two, or one is not UTF-8 text or cannot be found.
        OSError: A list cannot be read.
    """
    lists = {}
    for entry in file_systems.names_in(folder):
        split, extension = os.path.splitext(entry)
        path = os.path.join(folder, entry)
        if extension.lower() != ".txt" or entry.startswith(".") or file_systems.is_folder(path):
            continue
        if not file_systems.exists(path):
            raise ValueError(f"{path} is a link that leads to no file: remove or mend it")
        if split in lists:
            raise ValueError(f"{path} is one of two lists of the split {split}: remove one")
        lists[split] = parse_list(files.read_bytes(path), path)
        _log_repeated(path, lists[split])
    if not lists:
        raise ValueError(f"there is no list (*.txt) in {folder} (--list_folder)")
    return lists


def _log_repeated(path: str, lines: Sequence[Line]) -> None:
    counts = collections.Counter(line.text for line in lines)
    repeated = [text for text, count in counts.items() if count > 1]
    if repeated:
        logging.warning(
            "%s: %s %s repeated, such as %r: the split has each image as often as it is listed (%s"
            " of %s)",
            *(path, counted(len(repeated), "name")),
            *(agree(len(repeated), "is", "are"), repeated[0]),
            *(counted(len(lines), "record"), counted(len(counts), "image")),
        )


class ImageFolder:
    """Finds images by the names that lists give them.

    The name of an image is its path relative to the folder, without extension. A name counts as
    it is written first. If there is no such image, its extension is left out, accents are joined
    to their letters or taken apart, backslashes are taken for slashes, and a leading part that
    repeats the end of the folder's own path (or all of it) is left out.

    Lists name images by their paths. `annotations.image_index.ImageIndex` finds those that
    annotation tools name, which keep only the end of a path.

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
        path = os.path.join(self._folder, folder) if folder else self._folder
        found: dict[str, list[str]] = {}
        for entry in file_systems.names_in(path):
            stem, extension = os.path.splitext(entry)
            if extension.lower() in self._extensions:
                found.setdefault(stem, []).append(os.path.join(path, entry))
        return found
