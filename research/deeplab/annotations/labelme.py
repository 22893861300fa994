"""labelme: a JSON file for each image."""

import os

from deeplab.annotations import entries, folders, shapes
from deeplab.annotations.entries import Entry
from deeplab.annotations.values import (
    BACKGROUND,
    IGNORE,
    AnnotatedImage,
    Annotations,
    ReaderInput,
    Region,
)
from deeplab.core.wording import counted, with_article
from deeplab.utils import files

_NAMES = {"__ignore__": IGNORE, "_background_": BACKGROUND}
# The width with which labelme draws lines.
_LINE_WIDTH = 10


def read(request: ReaderInput) -> Annotations:
    """Read the JSON files in a folder and the folders below it, or one file.

    Raises:
        ValueError: A file is malformed; the message names file and shape.
        FileNotFoundError: An image is missing.
    """
    by_path: dict[str, AnnotatedImage] = {}
    for path in folders.find(request.path, (".json",)):
        document = Entry(files.read_json(path), path)
        found = _image(document, request)
        regions = tuple(_region(entry) for entry in document.entries("shapes"))
        image = AnnotatedImage(found, path, regions, _size(document))
        if (other := by_path.setdefault(found, image)) is not image:
            raise ValueError(f"{path} and {other.place} are both about the image {found}")
    return Annotations(tuple(by_path.values()))


def _image(document: Entry, request: ReaderInput) -> str:
    """Return the image of a file, by the last part of its `imagePath`.

    If several images have this name, the one in the folder that corresponds to the file's counts.
    """
    last = document.text("imagePath").replace("\\", "/").rpartition("/")[2]
    if not last:
        raise document.fault("imagePath", "the path of an image")
    folder = ""
    if os.path.isdir(request.path):
        folder = os.path.relpath(os.path.dirname(document.place), request.path)
    return request.index().require(os.path.join(folder, last), document.place)


def _size(document: Entry) -> tuple[int, int] | None:
    if document.get("imageHeight") is None and document.get("imageWidth") is None:
        return None
    return document.integer("imageHeight", 1), document.integer("imageWidth", 1)


def _region(entry: Entry) -> Region:
    name = entry.name("label")
    return Region(_NAMES.get(name, name), _shape(entry), entry.place)


def _shape(entry: Entry) -> shapes.Shape:
    # Files of the first versions have polygons only, and no shape_type.
    kind = "polygon" if entry.get("shape_type") is None else entry.text("shape_type")

    def points(least: int):
        return entries.points(entry.get("points"), entry.at("points"), least)

    if kind == "polygon":
        return shapes.Polygons((points(3),))
    if kind in ("oriented_rectangle", "rotation"):
        return shapes.Polygons((points(4),))
    if kind in ("line", "linestrip"):
        return shapes.Strip(points(2), _LINE_WIDTH)
    if kind not in ("rectangle", "circle", "mask"):
        raise ValueError(
            f"{entry.at('shape_type')} is {kind!r}; known are polygon, rectangle,"
            " oriented_rectangle, circle, line, linestrip and mask, other shapes have no area"
        )
    corners = points(2)
    if kind == "rectangle" and len(corners) == 4:  # As X-AnyLabeling writes it.
        return shapes.Polygons((corners,))
    if len(corners) != 2:
        raise ValueError(
            f"{entry.at('points')} has {counted(len(corners), 'point')};"
            f" {with_article(kind)} has two"
        )
    if kind == "circle":
        center, border = corners
        radius = float(((border - center) ** 2).sum() ** 0.5)
        return shapes.Ellipse((float(center[0]), float(center[1])), (radius, radius))
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    if kind == "rectangle":
        return shapes.box(left, top, right, bottom)
    # A mask that was moved may lie between pixels; its size is whole.
    height, width = (round(float(value)) + 1 for value in (bottom - top, right - left))
    left, top = round(float(left)), round(float(top))
    return shapes.PlacedMask(entry.text("mask"), left, top, height, width)
