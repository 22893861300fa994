"""Label Studio's JSON export: a list of tasks, each with an image and its annotations."""

import re
import urllib.parse

import numpy as np
from absl import logging

from deeplab.annotations import entries, shapes
from deeplab.annotations.entries import Entry
from deeplab.annotations.image_index import ImageIndex
from deeplab.annotations.values import AnnotatedImage, Annotations, ReaderInput, Region
from deeplab.core.options import fields
from deeplab.core.wording import agree, counted
from deeplab.utils import files

# The prefix that an upload adds to the name of a file.
_UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")
_PERCENT = 100
# Fields that regions have; each kind has one of these.
_AREAS = ("rle", "points", "radiusX", "width")


def read(request: ReaderInput) -> Annotations:
    """Read a JSON export.

    Of the annotations of a task that were not canceled, the last one counts. A task without any is
    left out. Regions without a label are left out and logged.

    Raises:
        ValueError: The file is malformed; the message names task and region.
        FileNotFoundError: An image is missing.
    """
    tasks = files.read_json(request.path)
    if not isinstance(tasks, list):
        raise ValueError(f"{request.path} is not a list of tasks")
    by_path: dict[str, AnnotatedImage] = {}
    several: list[str] = []
    canceled: list[str] = []
    unnamed: list[str] = []
    for index, value in enumerate(tasks):
        task = Entry(value, f"{request.path}: [{index}]", nested=True)
        field = "completions" if task.get("annotations") is None else "annotations"
        annotations = task.entries(field)
        kept = [each for each in annotations if not each.get("was_cancelled")]
        if len(kept) < len(annotations):
            canceled.append(task.place)
        if len(kept) > 1:
            several.append(task.place)
        if not kept:
            continue
        found = _image(task, request.index())
        results = kept[-1].entries("result")
        unnamed += _unnamed(results)
        size, regions = _regions(results)
        image = AnnotatedImage(found, task.place, regions, size)
        if (other := by_path.setdefault(found, image)) is not image:
            raise ValueError(f"{task.place} and {other.place} are both about the image {found}")
    have = agree(len(canceled), "has", "have")
    _log(canceled, "task", f"{have} canceled annotations, which are left out")
    have = agree(len(several), "has", "have")
    _log(several, "task", f"{have} several annotations, of which the last counts")
    are_left_out = agree(len(unnamed), "has no label and is", "have no label and are")
    _log(unnamed, "region", f"{are_left_out} left out")
    return Annotations(tuple(by_path.values()))


def _log(places: list[str], noun: str, what: str) -> None:
    if places:
        logging.warning("%s %s, the first is %s", counted(len(places), noun), what, places[0])


def _image(task: Entry, index: ImageIndex) -> str:
    """Return the image of a task."""
    data = task.entry("data")
    names = _names(data, index)
    if not names:
        raise ValueError(f"{data.place} names no image: {fields.quoted(task.get('data'))}")
    for name in names:
        try:
            path = index.find(name)
        except ValueError as error:
            raise ValueError(f"{data.place} {error}") from None
        if path is not None:
            return path
    return index.require(names[0], data.place)


def _names(data: Entry, index: ImageIndex) -> list[str]:
    """Return the names that a task's image may have, the most likely first."""
    values = [data.get("image")] if isinstance(data.get("image"), str) else data.texts()
    names = []
    for value in values:
        try:
            url = urllib.parse.urlsplit(value)
            path = urllib.parse.unquote(url.path)
            decoded = urllib.parse.parse_qs(url.query).get("d", [])
        except ValueError:  # It looks like a URL, but is not one.
            path, decoded = value, []
        # The URL of a local file ends like its path, but with another folder before it.
        for name in (path, *decoded, value) if decoded else (value, path):
            if not name.lower().endswith(index.extensions):
                continue
            folder, _, last = name.replace("\\", "/").rpartition("/")
            names.append(name)
            if prefix := _UPLOAD.match(last):
                shorter = last[prefix.end() :]
                names.append(f"{folder}/{shorter}" if folder else shorter)
    return list(dict.fromkeys(names))


def _unnamed(results: list[Entry]) -> list[str]:
    """Return the places of regions that no result gives a label."""
    named, places = set(), {}
    for entry in results:
        if not isinstance(entry.get("value"), dict):
            continue
        value, identity = entry.entry("value"), str(entry.get("id"))
        if _label(value) is not None:
            named.add(identity)
        elif any(value.get(field) is not None for field in _AREAS):
            places.setdefault(identity, entry.place)
    return [place for identity, place in places.items() if identity not in named]


def _regions(results: list[Entry]) -> tuple[tuple[int, int] | None, tuple[Region, ...]]:
    """Return the size of an image and its regions."""
    size, regions = None, []
    for entry in results:
        if not isinstance(entry.get("value"), dict):
            continue
        value = entry.entry("value")
        name = _label(value)
        if name is None:
            continue
        if turn := entry.get("image_rotation"):
            raise ValueError(
                f"{entry.at('image_rotation')} is {fields.quoted(turn)}, but the file of the image"
                " is not turned: turn the image back in Label Studio"
            )
        own = entry.integer("original_height", 1), entry.integer("original_width", 1)
        if size not in (None, own):
            raise ValueError(
                f"{entry.place} is for an image of {own[1]}x{own[0]} pixels (width x height), the"
                f" regions before it for one of {size[1]}x{size[0]}"
            )
        size = own
        shape = _shape(entry, value, own)
        if shape is not None:
            regions.append(Region(name, shape, entry.place))
    return size, tuple(regions)


def _label(value: Entry) -> str | None:
    """Return the label of a region; None if it has none, such as the answer to a question."""
    for field in value.field_names():
        if field.endswith("labels") and isinstance(value.get(field), list):
            labels = value.items(field)
            if len(labels) > 1:
                raise ValueError(f"{value.at(field)} has {len(labels)} labels; a pixel has one")
            if labels and (not isinstance(labels[0], str) or not labels[0].strip()):
                raise ValueError(f"{value.at(field)} is {labels}; it must be a list of a name")
            return labels[0].strip() if labels else None
    return None


def _shape(entry: Entry, value: Entry, size: tuple[int, int]) -> shapes.Shape | None:
    height, width = size
    if value.get("rle") is not None:
        return shapes.Brush(_brush(value))
    if value.get("points") is not None:
        points = entries.points(value.get("points"), value.at("points"), least=3)
        return shapes.Polygons((points / _PERCENT,), relative=True)
    scale = np.array([width, height]) / _PERCENT
    if value.get("radiusX") is not None:
        center = np.array([value.number("x"), value.number("y")]) * scale
        radii = np.array([value.number("radiusX"), value.number("radiusY")]) * scale
        return shapes.Ellipse(tuple(center), tuple(radii), _rotation(value))
    if value.get("width") is not None and value.get("height") is not None:
        return _rectangle(value, scale)
    raise ValueError(
        f"{entry.place} has the type {fields.quoted(entry.get('type'))}, which has no area; known"
        " are polygons, brushes, rectangles and ellipses"
    )


def _brush(value: Entry) -> bytes:
    numbers = value.items("rle")
    if not all(type(number) is int and 0 <= number <= 255 for number in numbers):
        raise ValueError(f"{value.at('rle')} must be a list of bytes, 0 to 255")
    return bytes(numbers)


def _rotation(value: Entry) -> float:
    return 0.0 if value.get("rotation") is None else value.number("rotation")


def _rectangle(value: Entry, scale: np.ndarray) -> shapes.Polygons:
    """Return a rectangle, which is turned clockwise around its first corner."""
    corner = np.array([value.number("x"), value.number("y")]) * scale
    right, down = np.array([value.number("width"), value.number("height")]) * scale
    angle = np.radians(_rotation(value))
    along = np.array([np.cos(angle), np.sin(angle)]) * right
    across = np.array([-np.sin(angle), np.cos(angle)]) * down
    return shapes.Polygons(
        (np.stack([corner, corner + along, corner + along + across, corner + across]),)
    )
