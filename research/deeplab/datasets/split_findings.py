"""Finds suspicious things in the splits of a dataset, and names the remedy of each."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from deeplab.core.wording import agree, counted
from deeplab.datasets import perceptual_hash
from deeplab.datasets.descriptors import DatasetDescriptor
from deeplab.datasets.split_statistics import (
    CheckedSplit,
    Moments,
    SplitStatistics,
    class_name,
    classes_seen,
    is_training,
    labels_that_count,
)

# A quantity drifts if the means of two splits differ by half a standard deviation of the images,
# which is a medium effect in statistics (Cohen, 1988), ...
_DRIFT_EFFECT = 0.5
# ... and by four standard errors, which chance exceeds in one of 16,000 comparisons ...
_DRIFT_ERRORS = 4.0
# ... and if there are this many images. Fewer have no meaningful deviation.
_DRIFT_IMAGES = 10
# How many quantities a message lists.
_LISTED = 4
# At output stride 16 a feature covers this many pixels. Smaller objects are easily lost.
_TINY_PIXELS = 16 * 16
# A class in fewer training images is learned by heart.
_FEW_IMAGES = 10
# Name, unit and form of the quantities in `SplitStatistics.looks`.
_LOOKS = (
    ("size", " megapixels", lambda value: f"{2**value / 1e6:.2g}"),
    ("width / height", "", lambda value: f"{2**value:.2f}"),
    ("brightness", " of 255", lambda value: f"{value:.0f}"),
)


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something suspicious.

    Args:
        kind: A stable name of its kind; g3doc/check_data.md lists them.
        split: The split.
        message: One line: the problem and the remedy.
        level: "warning", or "note" if there is often no problem.
        other: The other split, if two are compared.
        count: Number of images or classes that it is about.
    """

    kind: str
    split: str
    message: str
    level: str = "warning"
    other: str | None = None
    count: int | None = None

    def __str__(self) -> str:
        return self.message if self.kind == "never_seen" else f"{self.level}: {self.message}"


def of_split(split: str, found: SplitStatistics, descriptor: DatasetDescriptor) -> list[Finding]:
    """Return the findings about one split."""
    findings = []

    def add(kind: str, message: str, level: str = "warning", count: int | None = None) -> None:
        findings.append(Finding(kind, split, message, level, count=count))

    expected = descriptor.split_size(split)
    if expected not in (None, found.num_images):
        add("number_of_images", f"the descriptor says {expected} images", "note")
    if found.dark.count:
        add(
            "dark_images",
            f"{found.dark.count} 16-bit images are almost black, or of one color, as only the upper"
            f" 8 bits are used ({found.dark.first}): scale their values to 0..65535",
            count=found.dark.count,
        )
    if found.turned.count:
        add(
            "exif_orientation",
            f"training ignores the EXIF orientation of {counted(found.turned.count, 'image')}"
            f" ({found.turned.first}): their labels must be those of the stored pixels",
            "note",
            found.turned.count,
        )
    if found.num_labels and found.unlabeled.count:
        add(
            "unlabeled",
            f"{found.unlabeled.count} of {counted(found.num_images, 'image')} of {split}"
            f" {agree(found.unlabeled.count, 'has', 'have')} no label"
            f" ({found.unlabeled.first}), so evaluation refuses the split: label them, or leave"
            " them out",
            count=found.unlabeled.count,
        )
    if found.num_labels:
        _add_findings_of_classes(add, split, found, descriptor)
    return findings


def _add_findings_of_classes(
    add, split: str, found: SplitStatistics, descriptor: DatasetDescriptor
) -> None:
    seen = classes_seen(found, descriptor)
    names = {label: class_name(descriptor, label) for label in labels_that_count(descriptor)}
    if not seen:
        add("all_ignored", "every pixel is ignored: there is nothing to learn")
        return
    if len(seen) == 1:
        remedy = ""
        if found.pixels[descriptor.ignore_label]:
            value = descriptor.ignore_label
            remedy = (
                f"; if {value} marks the objects, convert the data again (build_custom_data"
                f" --label_map={value}:1)"
            )
        add("one_class", f"every pixel that counts is {names[seen[0]]}{remedy}")
        return
    if never := [names[label] for label in names if label not in seen]:
        add("never_seen", f"never seen: {', '.join(never)}", "note", len(never))
    if found.single.count:
        add(
            "single_value",
            f"{found.single.count} of {counted(found.num_labels, 'label')}"
            f" {agree(found.single.count, 'has', 'have')} one value everywhere"
            f" ({found.single.first}): if objects are in these images, label them again",
            "note" if found.single.count < found.num_labels / 2 else "warning",
            found.single.count,
        )
    tiny = [label for label in seen if found.pixels[label] / found.images[label] < _TINY_PIXELS]
    if tiny:
        add(
            "tiny_class",
            f"{_listed(names, tiny)} has fewer than {_TINY_PIXELS} pixels per image that contains"
            " it, a cell of the features: use larger images, --output_stride=8 or"
            " --decoder_output_stride=4",
            count=len(tiny),
        )
    few = [label for label in seen if found.images[label] < _FEW_IMAGES]
    if few and is_training(split) and found.num_labels >= 2 * _FEW_IMAGES:
        add(
            "few_images",
            f"{_listed(names, few)} is in fewer than {_FEW_IMAGES} images: label more of them, or"
            " merge classes (build_custom_data --class_map)",
            count=len(few),
        )


def _listed(names: dict[int, str], labels: Sequence[int]) -> str:
    return ", ".join(names[label] for label in labels)


def between(splits: Sequence[CheckedSplit], descriptor: DatasetDescriptor) -> list[Finding]:
    """Return the findings about pairs of splits, on which networks are trained and evaluated."""
    findings = []
    for own, other in itertools.permutations(splits, 2):
        is_trained = is_training(own.name) and "trainval" not in own.name.lower()
        if not is_trained or is_training(other.name):
            continue
        findings += _shared_images(own, other)
        findings += _missing_classes(own, other, descriptor)
        findings += _drift(own, other, descriptor)
    for first, second in itertools.combinations(splits, 2):
        if not (is_training(first.name) or is_training(second.name)):
            findings += _shared_images(first, second)
    return findings


def _shared_images(first: CheckedSplit, other: CheckedSplit) -> list[Finding]:
    """Return findings about images that are in two splits.

    If neither split is for training, one may be a part of the other.
    """
    findings = []
    level, result = "warning", "results will be too good"
    if not is_training(first.name):
        level, result = "note", "what is chosen with one looks too good with the other"
    digests = np.array(other.statistics.digests, np.uint64)
    copied = np.isin(digests, np.array(first.statistics.digests, np.uint64))
    if copied.any():
        # The first in the order of names.
        name = min(other.image_name(index) for index in np.flatnonzero(copied)[:_DRIFT_IMAGES])
        findings.append(
            Finding(
                "copies",
                other.name,
                f"{copied.sum()} images of {other.name} are also in {first.name} ({name})",
                level,
                first.name,
                int(copied.sum()),
            )
        )
    places, distances = perceptual_hash.nearest(other.statistics.hashes, first.statistics.hashes)
    near = np.flatnonzero((places >= 0) & ~copied)
    if len(near):
        index = near[np.argmin(distances[near])]
        findings.append(
            Finding(
                "near_duplicates",
                other.name,
                f"{counted(len(near), 'image')} of {other.name}"
                f" {agree(len(near), 'looks', 'look')} like images of {first.name}"
                f" ({other.image_name(index)} like {first.image_name(places[index])},"
                f" {distances[index]} of 64 bits differ), so {result}: keep copies and frames of a"
                " video in one split (build_custom_data --split_fractions --group_by)",
                level,
                first.name,
                len(near),
            )
        )
    return findings


def _missing_classes(
    train: CheckedSplit, other: CheckedSplit, descriptor: DatasetDescriptor
) -> list[Finding]:
    """Return the classes of another split that a training split lacks."""
    learned = classes_seen(train.statistics, descriptor)
    missing = [
        class_name(descriptor, label)
        for label in classes_seen(other.statistics, descriptor)
        if label not in learned
    ]
    if not missing or not learned:
        return []
    message = f"{other.name} has classes that {train.name} never has: {', '.join(missing)}"
    count = len(missing)
    return [Finding("missing_class", other.name, message, other=train.name, count=count)]


def _drift(
    train: CheckedSplit, other: CheckedSplit, descriptor: DatasetDescriptor
) -> list[Finding]:
    """Return in what another split differs from a training split."""
    ours, theirs = train.statistics, other.statistics
    drifting = []
    labels = labels_that_count(descriptor)
    for label, effect in zip(range(256), _effects(ours.shares, theirs.shares), strict=False):
        if effect and label in labels:
            here, there = 100 * theirs.shares.mean[label], 100 * ours.shares.mean[label]
            name = class_name(descriptor, label)
            drifting.append((effect, f"{name} ({here:.1f} % of an image, {there:.1f} %)"))
    looks = zip(_LOOKS, _effects(ours.looks, theirs.looks), strict=False)
    for index, ((name, unit, written), effect) in enumerate(looks):
        if effect:
            here, there = (written(each.looks.mean[index]) for each in (theirs, ours))
            drifting.append((effect, f"{name} ({here}{unit}, {there})"))
    if not drifting:
        return []
    drifting.sort(key=lambda each: -each[0])
    listed = "; ".join(text for _, text in drifting[:_LISTED])
    more = f" and {len(drifting) - _LISTED} more" if len(drifting) > _LISTED else ""
    message = (
        f"{other.name} differs from {train.name} in {listed}{more}: if the network will not meet"
        " such images, make the splits again (build_custom_data --split_fractions)"
    )
    count = len(drifting)
    return [Finding("drift", other.name, message, other=train.name, count=count)]


def _effects(ours: Moments, theirs: Moments) -> np.ndarray:
    """Return by how many deviations the means differ; 0 for quantities that do not drift."""
    if min(ours.count, theirs.count) < _DRIFT_IMAGES:
        return np.zeros(0)
    difference = np.abs(ours.mean - theirs.mean)
    # Where all images agree, rounding is all that is left.
    noise = 1e-6 * (np.abs(ours.mean) + np.abs(theirs.mean)) + 1e-9
    deviation = np.sqrt((ours.variance + theirs.variance) / 2) + noise
    error = np.sqrt(ours.variance / ours.count + theirs.variance / theirs.count) + noise
    drifts = (difference > _DRIFT_EFFECT * deviation) & (difference > _DRIFT_ERRORS * error)
    return np.where(drifts, difference / deviation, 0.0)
