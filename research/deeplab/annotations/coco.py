"""COCO JSON: polygons and run-length encodings of objects."""

from typing import Any

from absl import logging

from deeplab.annotations import entries, shapes
from deeplab.annotations.entries import Entry
from deeplab.annotations.values import (
    IGNORE,
    AnnotatedImage,
    Annotations,
    ReaderInput,
    Region,
)
from deeplab.core.options import fields
from deeplab.core.wording import agree
from deeplab.utils import files


def read(request: ReaderInput) -> Annotations:
    """Read a file in COCO's format.

    Regions of crowds (`iscrowd`) are ignored; where most are, that is logged. Regions without a
    segment are left out and logged, unless no region has one.

    Raises:
        ValueError: The file is malformed; the message names the entry.
        FileNotFoundError: An image is missing.
    """
    path = request.path
    document = Entry(files.read_json(path), path)
    names = _categories(document)
    found: dict[int | str, tuple[str, Entry, tuple[int, int]]] = {}
    by_path: dict[str, Entry] = {}
    for entry in document.entries("images"):
        identity = entry.identity("id")
        if identity in found:
            raise ValueError(
                f"{entry.place} has the id {identity!r} of {found[identity][1].place}, too"
            )
        image = request.index().require(entry.text("file_name"), entry.place)
        if (other := by_path.setdefault(image, entry)) is not entry:
            raise ValueError(f"{entry.place} is the image {image} of {other.place}, too")
        found[identity] = image, entry, (entry.integer("height", 1), entry.integer("width", 1))
    regions: dict[int | str, list[Region]] = {identity: [] for identity in found}
    empty: list[str] = []
    crowds: list[str] = []
    annotations = document.entries("annotations")
    for entry in annotations:
        if entry.get("segments_info") is not None:
            raise ValueError(
                f"{entry.place} has segments_info: this is COCO's panoptic form, whose segments are"
                " colors in PNG files; give the file of instances, with polygons or run lengths"
            )
        identity = entry.identity("image_id")
        if identity not in found:
            raise ValueError(f"{entry.place} has the image_id {identity!r}, which no image has")
        category = entry.identity("category_id")
        if category not in names:
            raise ValueError(
                f"{entry.place} has the category_id {category!r}, which no category has"
            )
        shape = _shape(entry, found[identity][2])
        if shape is None:
            empty.append(entry.place)
            continue
        name = names[category]
        if _is_crowd(entry):
            name = IGNORE
            crowds.append(entry.place)
        regions[identity].append(Region(name, shape, entry.place))
    if empty and len(empty) == len(annotations):
        raise ValueError(f"{path} has no segmentation, only boxes, the first is {empty[0]}")
    if empty:
        logging.warning(
            "%d of %d annotations %s no segmentation and %s left out, the first is %s",
            *(len(empty), len(annotations), agree(len(empty), "has", "have")),
            *(agree(len(empty), "is", "are"), empty[0]),
        )
    if 2 * len(crowds) > len(annotations) - len(empty):
        logging.warning(
            "%d of %d regions are crowds, whose pixels are ignored, the first is %s: if a tool"
            " wrote iscrowd for single objects, set it to 0",
            *(len(crowds), len(annotations) - len(empty), crowds[0]),
        )
    images = tuple(
        AnnotatedImage(image, entry.place, tuple(regions[identity]), size)
        for identity, (image, entry, size) in found.items()
    )
    return Annotations(images, tuple(names.values()), smaller_on_top=True)


def _categories(document: Entry) -> dict[int | str, str]:
    """Return the names of the categories by their id, in the order of the file."""
    names: dict[int | str, str] = {}
    for entry in document.entries("categories"):
        identity, name = entry.identity("id"), entry.name("name")
        if identity in names:
            raise ValueError(f"{entry.place} has the id {identity!r} of another category")
        if name in names.values():
            raise ValueError(f"{entry.place} has the name {name!r} of another category")
        names[identity] = name
    if not names:
        raise ValueError(f"{document.place} has no categories")
    return names


def _is_crowd(entry: Entry) -> bool:
    value = entry.get("iscrowd")
    if value not in (None, 0, 1):
        raise entry.fault("iscrowd", "0 or 1")
    return bool(value)


def _shape(entry: Entry, size: tuple[int, int]) -> shapes.Shape | None:
    """Return the shape of an annotation; None if it is empty."""
    value = entry.get("segmentation")
    if isinstance(value, dict):
        return _run_lengths(entry.entry("segmentation"), size)
    if value is not None and not isinstance(value, list):
        raise entry.fault("segmentation", "a list of polygons or a run-length encoding")
    parts = []
    for index, part in enumerate(value or ()):
        place = f"{entry.at('segmentation')}[{index}]"
        if not isinstance(part, list):
            raise ValueError(f"{place} is {fields.quoted(part)}; it must be a list of coordinates")
        if part:
            parts.append(entries.coordinates(part, place, least=3))
    return shapes.Polygons(tuple(parts)) if parts else None


def _run_lengths(entry: Entry, size: tuple[int, int]) -> shapes.RunLengths:
    if entry.items("size") != list(size):
        raise ValueError(
            f"{entry.at('size')} is {entry.get('size')} (height, width); its image has {list(size)}"
        )
    counts: Any = entry.get("counts")
    if isinstance(counts, str):
        return shapes.RunLengths(counts)
    if not isinstance(counts, list) or not all(
        type(count) is int and 0 <= count < 2**40 for count in counts
    ):
        raise entry.fault("counts", "a string, or a list of integers of at least 0")
    return shapes.RunLengths(tuple(counts))
