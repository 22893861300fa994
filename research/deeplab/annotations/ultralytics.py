"""The YAML files of Ultralytics: images of each split, with masks or with YOLO polygons."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any

import yaml
from absl import logging

from deeplab.annotations import folders, lists, yolo
from deeplab.annotations.entries import Entry
from deeplab.annotations.values import (
    BACKGROUND,
    IGNORE,
    AnnotatedImage,
    Annotations,
    ReaderInput,
    Region,
    is_background,
)
from deeplab.core.options import fields
from deeplab.utils import files

# Fields of each split; the first one that is there counts.
_SPLITS = {"train": ("train",), "val": ("val", "validation"), "test": ("test",)}
_MASKS = (".png", ".PNG", ".bmp", ".tif")
_IMAGES, _LABELS = "images", "labels"
# Largest number of values of a file. Its aliases may repeat values without end.
_MOST_VALUES = 10**6
_MOST_DIGITS = 9
# Entry of `label_mapping` for ignored values.
_IGNORED = (None, "ignore_label", 255)


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
    except Exception as error:  # Such as the error of an invalid date.
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    _check_size(content, path)
    return Entry(content, path)


def _check_size(content: Any, path: str) -> None:
    """Reject content that no dataset's file has, such as a list that contains itself."""
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

    Masks are taken as they are: a value is the number of a name, or what `label_mapping` says of
    it. If there is a single name, 1 is its class, and 0 is the background.

    Raises:
        ValueError: A file is malformed.
        FileNotFoundError: A folder, a list, a mask or every label file is missing.
    """
    entry = parse(request.path)
    dataset = _Dataset(entry, root(request.path), _names(entry), request.extensions)
    splits = _splits(dataset)
    if not splits:
        raise ValueError(f"{request.path} has no images: train, val and test are missing")
    masks = entry.get("masks_dir")
    if masks is not None:
        masks = entry.text("masks_dir")
    class_names, values = dataset.names, None
    if masks is not None:
        class_names, values = _mask_values(entry, dataset.names)
    classes = yolo.class_numbers(dataset.names)
    images = []
    for path in dict.fromkeys(path for paths in splits.values() for path in paths):
        if masks is not None:
            mask = _mask(dataset, path, masks)
            images.append(AnnotatedImage(path, request.path, mask=mask))
        else:
            place, regions = _regions(dataset, path, classes)
            images.append(AnnotatedImage(path, place, regions))
    if masks is None and not any(os.path.isfile(image.place) for image in images):
        raise FileNotFoundError(
            f"none of the {len(images)} images of {request.path} has a label file, such as"
            f" {images[0].place}"
        )
    return Annotations(
        tuple(images),
        class_names,
        smaller_on_top=True,
        others_are_background=masks is None,
        splits=splits,
        label_files=masks is not None,
        mask_values=values,
    )


def _splits(dataset: _Dataset) -> dict[str, list[str]]:
    """Return the images of each split."""
    splits: dict[str, list[str]] = {}
    for split, names in _SPLITS.items():
        field = next(filter(dataset.entry.get, names), None)
        if field is None:
            continue
        value = dataset.entry.get(field)
        is_missing = isinstance(value, str) and not os.path.exists(_place(dataset, value))
        # Some tools name test images that do not exist.
        if is_missing and split == "test":
            logging.warning("%s: test is left out, there is no %s", dataset.entry.place, value)
            continue
        splits[split] = list(_images(dataset, field))
    return splits


def _mask_values(entry: Entry, names: Sequence[str]) -> tuple[tuple[str, ...], dict[int, str]]:
    """Return the names of the classes, and that of each value in masks."""
    if len(names) == 1 and not is_background(names[0]):
        names = (BACKGROUND, *names)
    values = dict(enumerate(names))
    mapping: Any = {} if entry.get("label_mapping") is None else entry.get("label_mapping")
    if not isinstance(mapping, dict):
        raise entry.fault("label_mapping", "an object of values and numbers of names")
    for value, number in mapping.items():
        name = IGNORE
        if number not in _IGNORED:
            is_known = type(number) is int and 0 <= number < len(names)
            name = names[number] if is_known else None
        if name is None or type(value) is not int:
            raise ValueError(
                f"{entry.at('label_mapping')} has {fields.quoted({value: number})}; it maps values"
                f" to numbers of names, 0 to {len(names) - 1}, or to ignore_label"
            )
        # Masks have no other values.
        if 0 <= value < 2**16:
            values[value] = name
    return tuple(names), values


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
    """Convert a string of a number to the number; return anything else unchanged."""
    text = str(key)
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else key


def _place(dataset: _Dataset, item: str) -> str:
    """Return the path of a folder or list that the YAML file names."""
    path = os.path.join(dataset.root, item)
    if not os.path.exists(path):
        # Some tools write paths from a folder beside that of the file, or those of Windows.
        path = os.path.join(dataset.root, item.replace("\\", "/").removeprefix("../"))
    return path


def _images(dataset: _Dataset, field: str) -> Iterator[str]:
    """Yield the images of a split, from folders and from text files with a path per line."""
    value: Any = dataset.entry.get(field)
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, str):
            raise dataset.entry.fault(field, "a folder, a text file, or a list of these")
        path = _place(dataset, item)
        if os.path.isdir(path):
            found = folders.find(path, dataset.extensions)
            if not found:
                raise FileNotFoundError(f"{dataset.entry.at(field)}: no image in {path}")
            yield from found
        elif os.path.isfile(path):
            beside = os.path.dirname(path)
            for line in lists.read(path):
                # Ultralytics takes paths that begin with "./" from the folder of the list.
                places = [
                    os.path.join(folder, name)
                    for name in (line.text, line.text.replace("\\", "/"))
                    for folder in (dataset.root, beside)
                ]
                image = os.path.normpath(next(filter(os.path.isfile, places), places[0]))
                if not os.path.isfile(image):
                    raise FileNotFoundError(f"{line.place}: there is no image {image}")
                yield image
        else:
            raise FileNotFoundError(
                f"{dataset.entry.at(field)} is {item!r}, and there is no {path}; paths are relative"
                " to `path` in the file, or to its folder"
            )


def _counterparts(dataset: _Dataset, image: str, folder: str) -> list[str]:
    """Return the paths, without extension, of files that may belong to an image.

    The last part `images` of the image's path is replaced by the folder. Where there is no such
    part, the folder comes first.
    """
    stem = os.path.splitext(image)[0]
    before, part, after = os.path.abspath(stem).rpartition(f"/{_IMAGES}/")
    found = [os.path.join(before or "/", folder, after)] if part else []
    relative = os.path.relpath(stem, dataset.root)
    if _IMAGES not in relative.split("/")[:-1]:
        found.append(os.path.join(dataset.root, folder, relative))
    shown = os.path.normpath if os.path.isabs(image) else os.path.relpath
    return [shown(path) for path in found]


def _mask(dataset: _Dataset, image: str, folder: str) -> str:
    stems = _counterparts(dataset, image, folder)
    for path in (stem + extension for stem in stems for extension in _MASKS):
        if os.path.isfile(path):
            return path
    raise FileNotFoundError(
        f"label {stems[0]}.png not found, the mask of {image} (masks_dir in {dataset.entry.place})"
    )


def _regions(
    dataset: _Dataset, image: str, classes: dict[int, str]
) -> tuple[str, tuple[Region, ...]]:
    stems = _counterparts(dataset, image, _LABELS)
    if _IMAGES not in os.path.dirname(image).split("/"):
        stems.append(os.path.splitext(image)[0])
    paths = [f"{stem}.txt" for stem in stems]
    path = next(filter(os.path.isfile, paths), None)
    if path is None:
        return paths[0], ()
    return path, yolo.read_regions(path, classes)
