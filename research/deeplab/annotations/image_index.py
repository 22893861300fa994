"""Finds the images that annotations name. Tools store the whole path, a part of it or the name."""

import os
import unicodedata
from collections.abc import Sequence

from deeplab.annotations import folders
from deeplab.core.wording import counted


def _parts(name: str) -> tuple[str, ...]:
    """Return the parts of a path with either separator, in one form of Unicode."""
    name = unicodedata.normalize("NFC", name.replace("\\", "/"))
    return tuple(part for part in name.split("/") if part not in ("", "."))


def _common_end(first: Sequence[str], second: Sequence[str]) -> int:
    count = 0
    for one, other in zip(reversed(first), reversed(second), strict=False):
        if one != other:
            break
        count += 1
    return count


class ImageIndex:
    """All images in a folder and the folders below it.

    Args:
        folder: The folder.
        extensions: Extensions of the images, such as ".jpg"; upper case counts as lower case.

    Attributes:
        folder: The folder.
        paths: The files, sorted.

    Example:
        index = ImageIndex("images", [".jpg"])
        index.find("C:\\\\photos\\\\a.jpg")  # "images/2024/a.jpg"
    """

    def __init__(self, folder: str, extensions: Sequence[str]):
        self.folder = folder
        self.extensions = tuple(extensions)
        self.paths = folders.find(folder, extensions) if os.path.isdir(folder) else []
        self._by_last: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for path in self.paths:
            parts = _parts(os.path.relpath(path, folder))
            stem = os.path.splitext(parts[-1])[0]
            for last in {parts[-1], stem}:
                key = (*parts[:-1], last)
                self._by_last.setdefault(last, []).append((key, path))

    def find(self, name: str) -> str | None:
        """Return the image that a name means; None if there is none.

        The last part of the image's path must be that of the name. If several images have it, the
        image with the most equal parts before it is returned. The name may lack an extension. If
        no image has the name's extension, an image with another extension is returned.

        Args:
            name: A path, with `/` or `\\`, of which the last part must agree.

        Raises:
            ValueError: Several images may be meant; the message is the end of a sentence that
                begins with the place of the name.
        """
        parts = _parts(name)
        if not parts:
            return None
        stem, extension = os.path.splitext(parts[-1])
        found = self._by_last.get(parts[-1])
        if not found and extension.lower() in self.extensions:
            parts = (*parts[:-1], stem)
            found = self._by_last.get(stem)
        if not found:
            return None
        agreeing = [(_common_end(parts, key), key == parts, path) for key, path in found]
        best = max(agreeing)[:2]
        paths = [path for *rank, path in agreeing if tuple(rank) == best]
        if len(paths) > 1:
            raise ValueError(
                f"names the image {name!r}, which may be {paths[0]} or {paths[1]}: name its folder,"
                " set --image_format, or choose another --image_folder"
            )
        return paths[0]

    def require(self, name: str, place: str) -> str:
        """Return the image that a name means.

        Raises:
            ValueError: Several images may be meant.
            FileNotFoundError: There is none.
        """
        try:
            path = self.find(name)
        except ValueError as error:
            raise ValueError(f"{place} {error}") from None
        if path is None:
            raise FileNotFoundError(
                f"{place} names the image {name!r}, which is not in {self.folder}"
                f" ({counted(len(self.paths), 'image')}, --image_folder)"
            )
        return path
