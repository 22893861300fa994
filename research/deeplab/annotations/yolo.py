"""YOLO polygons: a text file for each image, a line `class x1 y1 x2 y2 ...` for each region."""

import os
from collections.abc import Mapping, Sequence

from deeplab.annotations import entries, folders, lists, shapes
from deeplab.annotations.lists import Line
from deeplab.annotations.values import (
    AnnotatedImage,
    Annotations,
    ReaderInput,
    Region,
    is_background,
)
from deeplab.core.options import fields

# Text files that tools write beside the label files.
_NAMES_FILE = "classes.txt"
_OTHER_LISTS = frozenset({_NAMES_FILE, "train.txt", "val.txt", "valid.txt", "test.txt"})
_README = "readme."
# Larger coordinates are pixels; those a little outside of the image are cut off.
_LARGEST = 10


def is_label_file(path: str) -> bool:
    """Return whether a text file in a folder holds regions and is not a list."""
    name = os.path.basename(path).lower()
    return name not in _OTHER_LISTS and not name.startswith(_README)


def read(request: ReaderInput) -> Annotations:
    """Read a folder of text files. Images without a file are all background.

    Names of the numbers are in `classes.txt`, in the folder or beside it, else in --class_names.

    Raises:
        ValueError: A file is malformed, the message names file and line; or names are unknown.
        FileNotFoundError: There is no image for a file.
    """
    names = _read_names(request.path) or request.class_names
    if not names:
        raise ValueError(
            f"{request.path} has numbers of classes, and no classes.txt with their names: set"
            " --class_names, or give the YAML file of the dataset as --annotations"
        )
    classes = class_numbers(names)
    by_path: dict[str, AnnotatedImage] = {}
    for path in folders.find(request.path, (".txt",)):
        if not is_label_file(path):
            continue
        stem = os.path.splitext(os.path.relpath(path, request.path))[0]
        found = request.index().require(stem, path)
        image = AnnotatedImage(found, path, read_regions(path, classes))
        if (other := by_path.setdefault(found, image)) is not image:
            raise ValueError(f"{path} and {other.place} are both about the image {found}")
    return Annotations(
        tuple(by_path.values()), tuple(names), smaller_on_top=True, others_are_background=True
    )


def class_numbers(names: Sequence[str]) -> dict[int, str]:
    """Return the name of each class number.

    They are counted from 0, from the name after "background" on if that is the first: a background
    is not annotated.
    """
    first = 1 if is_background_first(names) else 0
    return dict(enumerate(names[first:], start=first))


def is_background_first(names: Sequence[str]) -> bool:
    """Return whether the first name is that of the background."""
    return bool(names) and is_background(names[0])


def _read_names(folder: str) -> tuple[str, ...]:
    # Label Studio writes it beside the folder of the labels.
    for place in (folder, os.path.join(folder, os.pardir)):
        path = os.path.join(place, _NAMES_FILE)
        if os.path.isfile(path):
            names = tuple(line.text for line in lists.read(path))
            if len(set(names)) < len(names):
                raise ValueError(f"{path} has a name twice: {fields.quoted(list(names))}")
            return names
    return ()


def read_regions(path: str, classes: Mapping[int, str]) -> tuple[Region, ...]:
    """Return the regions of a text file.

    Args:
        path: The file.
        classes: Name of each class number.

    Raises:
        ValueError: A line is malformed.
    """
    return tuple(_region(line, classes) for line in lists.read(path))


def _region(line: Line, classes: Mapping[int, str]) -> Region:
    words = line.text.split()
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        raise ValueError(
            f"{line.place} is {fields.quoted(line.text)}; it must be numbers: class x1 y1 x2 y2 ..."
        ) from None
    if not numbers[0].is_integer() or int(numbers[0]) not in classes:
        raise ValueError(
            f"{line.place} has the class {words[0]}; known are {min(classes, default=0)} to"
            f" {max(classes, default=0)} ({', '.join(classes.values())})"
        )
    if len(numbers) == 5:
        raise ValueError(f"{line.place} is a box (4 numbers after the class), not a polygon")
    points = entries.coordinates(numbers[1:], line.place, least=3)
    if abs(points).max() > _LARGEST:
        raise ValueError(
            f"{line.place} has the coordinate {abs(points).max():g}; coordinates are parts of the"
            " width and the height, 0 to 1"
        )
    shape = shapes.Polygons((points,), relative=True)
    return Region(classes[int(numbers[0])], shape, line.place)
