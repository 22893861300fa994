"""The report on the splits of a dataset: as text, as JSON, and as a picture."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from deeplab.core.wording import counted
from deeplab.datasets import examples, images, label_files
from deeplab.datasets.descriptors import DatasetDescriptor
from deeplab.datasets.split_findings import Finding
from deeplab.datasets.split_statistics import (
    CheckedSplit,
    SplitStatistics,
    class_name,
    class_weights,
    is_training,
    labels_that_count,
)
from deeplab.utils import reports
from deeplab.visualization import contact_sheet, tiles

# How many image sizes a report lists.
_LISTED_SIZES = 5
# How many images of a split the contact sheet has.
_SHOWN_IMAGES = 24


def text(checked: CheckedSplit, findings: Iterable[Finding], descriptor: DatasetDescriptor) -> str:
    """Return a report about a split: images, sizes, channels, classes and findings."""
    split, found = checked.name, checked.statistics
    sizes = found.sizes.most_common(_LISTED_SIZES)
    listed = ", ".join(f"{width}x{height} ({count})" for (height, width), count in sizes)
    others = len(found.sizes) - len(sizes)
    means, deviations = found.channels.mean, np.sqrt(found.channels.variance)
    channels = (
        f"{name} {mean:.1f} ({deviation:.1f})"
        for name, mean, deviation in zip(("red", "green", "blue"), means, deviations, strict=True)
    )
    lines = [
        f"{split}: {counted(found.num_images, 'image')}, {found.num_labels} with a label",
        f"width x height: {listed}" + (f" and {counted(others, 'other size')}" if others else ""),
        f"mean (standard deviation): {', '.join(channels)}",
    ]
    if found.num_labels:
        lines += ["", _class_table(found, descriptor)]
    lines += map(str, findings)
    weights = class_weights(found, descriptor)
    if is_training(split) and weights is not None:
        lines += [
            "\nclass weights (median frequency balancing), for training with rare classes:",
            " ".join(f"--label_weights={weight:.4g}" for weight in weights),
        ]
    return "\n".join(lines) + "\n"


def _class_table(found: SplitStatistics, descriptor: DatasetDescriptor) -> str:
    total = found.pixels.sum()
    rows = [
        (name, reports.percent(found.pixels[label] / total), str(found.images[label]))
        for label, name in [
            *((label, class_name(descriptor, label)) for label in labels_that_count(descriptor)),
            (descriptor.ignore_label, f"{descriptor.ignore_label} (ignored)"),
        ]
    ]
    return reports.format_table(("label", "pixels %", "images"), rows)


def facts(
    splits: Iterable[CheckedSplit], findings: Iterable[Finding], descriptor: DatasetDescriptor
) -> dict[str, Any]:
    """Return the report as plain values; g3doc/check_data.md describes the keys."""
    return {
        "dataset": descriptor.name,
        "num_classes": descriptor.num_classes,
        "ignore_label": descriptor.ignore_label,
        "splits": [_split_facts(split, descriptor) for split in splits],
        "findings": [
            {
                "kind": finding.kind,
                "level": finding.level,
                "split": finding.split,
                "other_split": finding.other,
                "count": finding.count,
                "message": finding.message,
            }
            for finding in findings
        ],
    }


def _split_facts(checked: CheckedSplit, descriptor: DatasetDescriptor) -> dict[str, Any]:
    found = checked.statistics
    total = max(1, int(found.pixels.sum()))
    weights = class_weights(found, descriptor)
    names = descriptor.class_names
    return {
        "split": checked.name,
        "images": found.num_images,
        "labels": found.num_labels,
        "sizes": [
            {"height": height, "width": width, "images": count}
            for (height, width), count in sorted(found.sizes.items())
        ],
        "channel_mean": found.channels.mean.tolist(),
        "channel_std": np.sqrt(found.channels.variance).tolist(),
        "brightness_mean": float(found.looks.mean[2]),
        "brightness_std": float(np.sqrt(found.looks.variance[2])),
        "ignored_share": float(found.pixels[descriptor.ignore_label] / total),
        "classes": [
            {
                "label": label,
                "name": names[label] if names else None,
                "pixels": int(found.pixels[label]),
                "share": float(found.pixels[label] / total),
                "images": int(found.images[label]),
                "weight": None if weights is None else float(weights[label]),
            }
            for label in labels_that_count(descriptor)
        ],
    }


def picture(splits: Sequence[CheckedSplit], descriptor: DatasetDescriptor) -> np.ndarray:
    """Return a contact sheet with images and labels of every split, spread over its records.

    Returns:
        uint8 [height, width, 3], RGB.
    """
    legend = descriptor.legend()
    rows = []
    for split in splits:
        last = len(split.records) - 1
        samples = []
        for index in np.unique(np.linspace(0, last, _SHOWN_IMAGES).astype(int)):
            features = examples.parse(split.records[int(index)])
            encoded, label = (
                b"".join(features[name].bytes_list.value)
                for name in (examples.IMAGE, examples.LABEL)
            )
            indices = label_files.read_indices(label) if label else None
            image = images.decode(encoded).pixels
            samples.append(tiles.draw(image, indices, None, legend))
        rows.append((split.name, samples))
    return contact_sheet.draw(rows, legend)
