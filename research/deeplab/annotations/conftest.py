"""Fixtures and helpers of the formats' tests."""

import json
import pathlib
from typing import Any

import numpy as np
import pytest

from deeplab.annotations import formats
from deeplab.annotations.image_index import ImageIndex
from deeplab.annotations.values import Annotations, ReaderInput, Region

_EXTENSIONS = (".jpg", ".png")


class Project:
    """A folder with images, to which a test adds annotations.

    Attributes:
        folder: The folder; the images are in `images`.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder = folder

    def images(self, *names: str) -> None:
        """Make images, which readers of annotations do not open."""
        for name in names:
            self.write(f"images/{name}", b"")

    def write(self, name: str, content: Any) -> str:
        """Write a file of bytes, of text, or of anything else as JSON; return its path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, bytes):
            text = content if isinstance(content, str) else json.dumps(content)
            content = text.encode()
        path.write_bytes(content)
        return str(path)

    def read(self, name: str, **request: Any) -> Annotations:
        """Read annotations, and detect their format."""
        index = ImageIndex(str(self.folder / "images"), _EXTENSIONS)
        path = str(self.folder / name)
        return formats.read(ReaderInput(path, _EXTENSIONS, index, **request), formats.detect(path))


def drawn(region: Region, height: int, width: int) -> np.ndarray:
    """Return the mask of a region."""
    return region.shape.draw(height, width)


@pytest.fixture
def project(tmp_path: pathlib.Path) -> Project:
    """Return an empty project."""
    return Project(tmp_path)
