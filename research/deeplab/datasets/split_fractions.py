"""Divides images at random: by fractions, in groups that stay together, and evenly by class."""

import collections
import dataclasses
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from deeplab.annotations import lists
from deeplab.core.wording import agree, counted


@dataclasses.dataclass(frozen=True)
class Division:
    """A random division of images into splits.

    Args:
        fractions: Part of the images that each split gets; their sum is 1.
        seed: Seed of all choices.
        group_by: Regular expression; images whose names agree in its groups, or in the whole match
            if it has none, stay together. None: each image is a group.
    """

    fractions: Mapping[str, float]
    seed: int = 0
    group_by: str | None = None


def parse_fractions(entries: Sequence[str]) -> dict[str, float]:
    """Return the fractions of `--split_fractions`.

    Raises:
        ValueError: An entry is not <split>:<fraction>, or the sum is not 1.
    """
    fractions: dict[str, float] = {}
    for entry in entries:
        split, _, number = entry.partition(":")
        split = split.strip()
        try:
            fraction = float(number)
        except ValueError:
            fraction = math.nan
        if not split or not 0 < fraction <= 1:
            raise ValueError(
                f"--split_fractions has {entry!r}; it takes <split>:<fraction>, such as"
                " train:0.8,val:0.2"
            )
        if fault := lists.split_name_fault(split):
            raise ValueError(f"--split_fractions={entry}: the split's name {fault}")
        if split in fractions:
            raise ValueError(f"--split_fractions has the split {split!r} twice")
        fractions[split] = fraction
    if abs(sum(fractions.values()) - 1) > 1e-6:
        raise ValueError(
            f"--split_fractions={','.join(entries)}: the sum is {sum(fractions.values()):g}; it"
            " must be 1"
        )
    return fractions


def divide(
    names: Sequence[str], classes: Sequence[frozenset[int]], division: Division
) -> dict[str, list[int]]:
    """Divide images so that each split gets its part of the images with each class.

    The group with the rarest class is placed first, in the split that lacks most images of this
    class, among those that still have room. (Sechidis, Tsoumakas, Vlahavas: On the stratification
    of multi-label data, 2011, for groups.) The result depends on names, classes and seed, not on
    the order of the images.

    Args:
        names: Names of the images.
        classes: Classes in each image.
        division: How to divide.

    Returns:
        The images of each split, as positions in `names`, sorted by name.

    Raises:
        ValueError: The pattern does not match a name, or a split would be empty.
    """
    groups = _groups(names, division.group_by)
    order = sorted(groups)
    order = [order[index] for index in np.random.default_rng(division.seed).permutation(len(order))]
    counts = np.array([_count(groups[key], classes) for key in order])
    sizes = counts[:, 0]
    fractions = np.array(list(division.fractions.values()))
    # Images that each split still lacks: of all images, and of those with each class.
    lacking = fractions[:, np.newaxis] * counts.sum(axis=0)
    chosen = np.full(len(order), -1)
    while (chosen < 0).any():
        open_ = np.flatnonzero(chosen < 0)
        left = counts[open_, 1:].sum(axis=0)
        if left.any():
            column = 1 + int(np.argmin(np.where(left > 0, left, np.iinfo(np.int64).max)))
            members = open_[counts[open_, column] > 0]
        else:
            column, members = 0, open_
        # Large groups first: small ones even out what is left.
        for group in members[np.argsort(-sizes[members], kind="stable")]:
            room = lacking[:, 0] >= sizes[group] / 2
            if not room.any():
                room = lacking[:, 0] == lacking[:, 0].max()
            wanted = [
                (room[split], round(lacking[split, column], 9), round(lacking[split, 0], 9))
                for split in range(len(fractions))
            ]
            split = max(range(len(fractions)), key=lambda index: wanted[index])
            chosen[group] = split
            lacking[split] -= counts[group]
    _fill_empty(chosen, sizes, len(fractions))
    splits = {}
    for number, split in enumerate(division.fractions):
        members = [image for g in np.flatnonzero(chosen == number) for image in groups[order[g]]]
        if not members:
            raise ValueError(
                f"--split_fractions leaves no image for {split}: there"
                f" {agree(len(names), 'is', 'are')} {counted(len(names), 'image')} in"
                f" {counted(len(order), 'group')}"
            )
        splits[split] = sorted(members, key=lambda image: names[image])
    return splits


def _fill_empty(chosen: np.ndarray, sizes: np.ndarray, splits: int) -> None:
    """Give each split without a group the smallest group of those that have several.

    Args:
        chosen: Split of each group, which is changed.
        sizes: Number of images of each group.
        splits: Number of splits.
    """
    for split in range(splits):
        numbers = np.bincount(chosen, minlength=splits)
        movable = np.flatnonzero(numbers[chosen] > 1)
        if not numbers[split] and len(movable):
            chosen[movable[np.argmin(sizes[movable])]] = split


def _groups(names: Sequence[str], pattern: str | None) -> dict[tuple[str, ...], list[int]]:
    """Return the images of each group."""
    try:
        expression = re.compile(pattern) if pattern else None
    except re.error as error:
        raise ValueError(f"--group_by={pattern} is not a regular expression: {error}") from None
    groups: dict[tuple[str, ...], list[int]] = collections.defaultdict(list)
    for index, name in enumerate(names):
        key: tuple[str, ...] = (name,)
        if expression is not None:
            match = expression.search(name)
            if match is None:
                raise ValueError(f"--group_by={pattern} does not match the image {name!r}")
            key = tuple(part or "" for part in match.groups()) or (match[0],)
        groups[key].append(index)
    return groups


def _count(images: Sequence[int], classes: Sequence[frozenset[int]]) -> np.ndarray:
    """Return the number of images of a group, and of those that have each label 0 to 255."""
    counts = np.zeros(257, np.int64)
    counts[0] = len(images)
    for image in images:
        for label in classes[image]:
            counts[1 + label] += 1
    return counts
