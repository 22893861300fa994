"""The YAML files of Ultralytics: images of each split, with masks or with YOLO polygons."""

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import yaml

from deeplab.annotations import folders, lists, yolo
from deeplab.annotations.entries import Entry
from deeplab.annotations.values import AnnotatedImage, Annotations, ReaderInput, Region
from deeplab.core.options import fields
from deeplab.utils import files

_SPLITS = ("train", "val", "test")
_MASKS = (".png", ".PNG", ".bmp", ".tif")
_IMAGES, _LABELS = "images", "labels"
# Of a file, whose aliases may stand for far more than it is long.
_MOST_VALUES = 10**6
_MOST_DIGITS = 9


@dataclasses.dataclass(frozen=True)
class _Dataset:
    """A YAML file.

    Attributes:
        entry: Its content.
        root: Folder to which the paths in it are relative.
        names: Names of the classes.
        extensions: Extensions of images.
    """

    entry: Entry
    root: str
    names: tuple[str, ...]
    extensions: tuple[str, ...]


def parse(path: str) -> Entry:
    """Return the content of a YAML file.

    Raises:
        ValueError: It is not YAML, or not a mapping.
    """
    data = files.read_bytes(path)
    try:
        content = yaml.safe_load(data)
    except RecursionError:
        raise ValueError(f"{path} is not usable: its YAML is nested too deeply") from None
    except Exception as error:  # Of dates that are none, and others, besides its own.
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    _check_size(content, path)
    return Entry(content, path)


def _check_size(content: Any, path: str) -> None:
    """Reject what no file of a dataset holds, such as a list that has itself as an item."""
    waiting, count = [content], 0
    while waiting:
        value = waiting.pop()
        count += 1
        if count + len(waiting) > _MOST_VALUES:
            raise ValueError(f"{path} is not usable: it has more than {_MOST_VALUES} values")
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def root(path: str) -> str:
    """Return the folder to which the paths in a YAML file are relative.

    It is `path` in the file, relative to the file or the working directory, or else the folder of
    the file.
    """
    own = os.path.dirname(path) or "."
    given = parse(path).get("path")
    if given is None or given == "":
        return own
    if not isinstance(given, str):
        raise ValueError(f"{path}: path is {fields.quoted(given)}; it must be the path of a folder")
    for folder in (os.path.join(own, given), given):
        if os.path.isdir(folder):
            return os.path.normpath(folder)
    # The files of a dataset that was moved lie beside the YAML file.
    return own


def read(request: ReaderInput) -> Annotations:
    """Read a dataset: masks if it has `masks_dir`, else polygons in `labels`.

    Masks are taken as they are: a value is the number of a name.

    Raises:
        ValueError: A file is malformed.
        FileNotFoundError: A folder, a list or a mask is missing.
    """
    entry = parse(request.path)
    dataset = _Dataset(entry, root(request.path), _names(entry), request.extensions)
    splits = {split: list(_images(dataset, split)) for split in _SPLITS if entry.get(split)}
    if not splits:
        raise ValueError(f"{request.path} has no images: train, val and test are missing")
    masks = entry.get("masks_dir")
    if masks is not None:
        masks = entry.text("masks_dir")
    classes = yolo.class_numbers(dataset.names)
    images = []
    for path in dict.fromkeys(path for paths in splits.values() for path in paths):
        if masks is not None:
            mask = _mask(dataset, path, masks)
            images.append(AnnotatedImage(path, request.path, mask=mask))
        else:
            place, regions = _regions(dataset, path, classes)
            images.append(AnnotatedImage(path, place, regions))
    return Annotations(
        tuple(images),
        dataset.names,
        smaller_on_top=True,
        others_are_background=masks is None,
        splits=splits,
        label_files=masks is not None,
        mask_values=dict(enumerate(dataset.names)) if masks is not None else None,
    )


def _names(entry: Entry) -> tuple[str, ...]:
    """Return the names of the classes, which are a list or numbered from 0."""
    value = entry.get("names")
    if isinstance(value, dict):
        # Some tools write the numbers as strings.
        value = {_number(key): name for key, name in value.items()}
        if sorted(value, key=str) != sorted(range(len(value)), key=str):
            raise ValueError(f"{entry.place}: names must be numbered 0, 1, 2, ...")
        value = [value[number] for number in range(len(value))]
    if not isinstance(value, list) or not value:
        raise entry.fault("names", "a list of names, or names numbered from 0")
    for name in value:
        if isinstance(name, dict | list) or name is None or name == "":
            raise ValueError(f"{entry.place}: names has {fields.quoted(name)}, which is not a name")
    names = tuple(str(name).strip() for name in value)
    if len(set(names)) < len(names):
        raise ValueError(f"{entry.place}: names has a name twice: {fields.quoted(value)}")
    return names


def _number(key: Any) -> Any:
    """Return the number that a text is; anything else as it is."""
    text = str(key)
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else key


def _images(dataset: _Dataset, split: str) -> Iterator[str]:
    """Yield the images of a split, from folders and from text files with a path per line."""
    value: Any = dataset.entry.get(split)
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, str):
            raise dataset.entry.fault(split, "a folder, a text file, or a list of these")
        path = os.path.join(dataset.root, item)
        if not os.path.exists(path):
            # Some tools write paths from a folder beside that of the file.
            path = os.path.join(dataset.root, item.removeprefix("../"))
        if os.path.isdir(path):
            found = folders.find(path, dataset.extensions)
            if not found:
                raise FileNotFoundError(f"{dataset.entry.at(split)}: no image in {path}")
            yield from found
        elif os.path.isfile(path):
            beside = os.path.dirname(path)
            for line in lists.read(path):
                # Ultralytics takes paths that begin with "./" from the folder of the list.
                places = [os.path.join(folder, line.text) for folder in (dataset.root, beside)]
                image = os.path.normpath(next(filter(os.path.isfile, places), places[0]))
                if not os.path.isfile(image):
                    raise FileNotFoundError(f"{line.place}: there is no image {image}")
                yield image
        else:
            raise FileNotFoundError(
                f"{dataset.entry.at(split)} is {item!r}, and there is no {path}; paths are relative"
                " to `path` in the file, or to its folder"
            )


def _counterpart(dataset: _Dataset, image: str, folder: str) -> str:
    """Return the path, without extension, of the file that belongs to an image.

    The last part `images` of the image's path is replaced by the folder.
    """
    parts = os.path.splitext(os.path.relpath(image, dataset.root))[0].split(os.sep)
    places = [index for index, part in enumerate(parts[:-1]) if part == _IMAGES]
    if places:
        parts[places[-1]] = folder
    else:
        parts.insert(0, folder)
    return os.path.normpath(os.path.join(dataset.root, *parts))


def _mask(dataset: _Dataset, image: str, folder: str) -> str:
    stem = _counterpart(dataset, image, folder)
    for extension in _MASKS:
        if os.path.isfile(stem + extension):
            return stem + extension
    raise FileNotFoundError(
        f"label {stem}.png not found, the mask of {image} (masks_dir in {dataset.entry.place})"
    )


def _regions(
    dataset: _Dataset, image: str, classes: dict[int, str]
) -> tuple[str, tuple[Region, ...]]:
    path = _counterpart(dataset, image, _LABELS) + ".txt"
    if not os.path.isfile(path):
        return path, ()
    return path, yolo.read_regions(path, classes)
