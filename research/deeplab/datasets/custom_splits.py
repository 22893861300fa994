"""Assigns images to splits: by lists, by patterns, or by annotations."""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from deeplab.annotations import lists
from deeplab.core.wording import agree
from deeplab.datasets import patterns, source_files
from deeplab.datasets.custom_options import CustomOptions

# The message where flags do not say, or say twice, where splits come from.
CHOOSE_SPLITS = (
    "splits come from --list_folder or from --split, or from --split_fractions: set one of them"
)


class Image(NamedTuple):
    """An image of a split.

    Attributes:
        name: Its name in records.
        path: Its file.
        place: Where it is listed; "" if nowhere.
    """

    name: str
    path: str
    place: str = ""


def by_flags(options: CustomOptions) -> dict[str, list[Image]] | None:
    """Return the images of each split that --list_folder or --split names.

    Returns:
        The images; None if neither flag is given.

    Raises:
        ValueError: Both are given, a pattern is malformed or names nothing, or an image has several
            files.
        FileNotFoundError: A listed image is missing.
    """
    ways = [bool(options.list_folder), bool(options.split), bool(options.split_fractions)]
    if sum(ways) > 1:
        raise ValueError(CHOOSE_SPLITS)
    if not (options.list_folder or options.split):
        return None
    if not options.image_folder:
        raise ValueError("--list_folder and --split name images in --image_folder: set it")
    return _by_list(options) if options.list_folder else _by_pattern(options)


def all_images(options: CustomOptions) -> list[Image]:
    """Return all images in --image_folder and the folders below it, sorted by name.

    Raises:
        ValueError: There is none, or one has several files.
    """
    pattern = os.path.join(options.image_folder, "**", "*")
    found: dict[str, list[str]] = {}
    for path in patterns.expand(pattern):
        if path.lower().endswith(options.extensions):
            name = os.path.relpath(os.path.splitext(path)[0], options.image_folder)
            found.setdefault(name, []).append(path)
    if not found:
        raise ValueError(f"there is no image in {options.image_folder} (--image_folder)")
    return [_image(name, found[name]) for name in sorted(found)]


def from_paths(splits: Mapping[str, Sequence[str]], folder: str) -> dict[str, list[Image]]:
    """Return the images of splits that are given by paths, relative to a folder where they can be.

    Args:
        splits: Paths of the images of each split.
        folder: The folder of the images.
    """
    named = {}
    for split, paths in splits.items():
        named[split] = [Image(record_name(path, folder), path) for path in paths]
    return named


def record_name(path: str, folder: str) -> str:
    """Return the name of an image in records: its path in a folder, without extension."""
    stem = os.path.splitext(path)[0]
    relative = os.path.relpath(stem, folder)
    return os.path.basename(stem) if relative.startswith("..") else relative


def _image(name: str, paths: Sequence[str], place: str = "") -> Image:
    """Return an image; reject one that has several files."""
    if len(paths) > 1:
        raise ValueError(
            f"{paths[0]} and {paths[1]} have the same name; choose one format, such as"
            " --image_format=jpg"
        )
    return Image(name, paths[0], place)


def _by_list(options: CustomOptions) -> dict[str, list[Image]]:
    folder = source_files.ImageFolder(options.image_folder, options.extensions)
    splits: dict[str, list[Image]] = {}
    for split, lines in source_files.read_lists(options.list_folder).items():
        found = [(*folder.find(line.text), line.place) for line in lines]
        missing = [(name, place) for name, paths, place in found if not paths]
        if missing:
            name, place = missing[0]
            raise FileNotFoundError(
                f"{len(missing)} of the {len(lines)} images of {split}"
                f" {agree(len(missing), 'is', 'are')} not in"
                f" {options.image_folder}, the first is"
                # Some characters cannot be seen.
                f" {name if name.isprintable() else repr(name)} ({place})"
                + (_other_format(options, name) or folder.hint(name))
            )
        splits[split] = [_image(*each) for each in found]
    return splits


def _other_format(options: CustomOptions, name: str) -> str:
    """Return the end of a message about an image in another format than --image_format; or ""."""
    if not options.image_format:
        return ""
    every = source_files.ImageFolder(options.image_folder, source_files.IMAGE_EXTENSIONS)
    paths = every.find(name)[1]
    if not paths:
        return ""
    extension = os.path.splitext(paths[0])[1].removeprefix(".")
    return f"; there is {paths[0]}: set --image_format={extension.lower()}"


def _by_pattern(options: CustomOptions) -> dict[str, list[Image]]:
    splits: dict[str, dict[str, list[str]]] = {}
    for entry in options.split:
        split, equals, pattern = entry.partition("=")
        if not (split and equals and pattern):
            raise ValueError(f"--split is {entry!r}; it takes <split>=<pattern>, such as val=val/*")
        if fault := lists.split_name_fault(split):
            raise ValueError(f"--split={entry}: the split's name {fault}")
        found: dict[str, list[str]] = {}
        for path in patterns.expand(os.path.join(options.image_folder, pattern)):
            if path.lower().endswith(options.extensions):
                name = os.path.relpath(os.path.splitext(path)[0], options.image_folder)
                found.setdefault(name, []).append(path)
        if not found:
            raise ValueError(f"--split={entry}: no image {pattern} in {options.image_folder}")
        splits.setdefault(split, {}).update(found)
    return {
        split: [_image(name, paths) for name, paths in found.items()]
        for split, found in splits.items()
    }
