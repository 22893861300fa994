"""Results of predictions: pictures, and facts about each image."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from deeplab.datasets import descriptors
from deeplab.utils import reports, save_annotation
from deeplab.visualization import panels

# The output with the facts about all images, which is one file, and the name of the file.
JSON = "json"
JSON_FILE = "predictions.json"
# The output that is TFRecords.
RECORDS = "records"

_LABELS = "labels"
_OVERLAY = "overlay"
# A class with a smaller share of an image is not mentioned.
_MIN_SHARE = 0.005


@dataclasses.dataclass(frozen=True)
class Outputs:
    """Writes the requested outputs of each image.

    Example:
        outputs = Outputs("predictions", ("overlay", "json"), descriptor)
        outputs.save_pictures(image, labels, "photo")

    Args:
        folder: Folder of the files; it is made if needed.
        kinds: The outputs; see `PredictOptions.outputs`.
        descriptor: Names and colors of the classes.
    """

    folder: str
    kinds: Sequence[str]
    descriptor: descriptors.DatasetDescriptor

    def save_pictures(self, image: np.ndarray, labels: np.ndarray, name: str) -> None:
        """Write the pictures of one image.

        Args:
            image: uint8 [height, width, 3], RGB.
            labels: Integers [height, width].
            name: Start of the file names; it may contain folders.
        """
        pictures = {_LABELS: save_annotation.as_pixels(labels)} if _LABELS in self.kinds else {}
        pictures |= panels.pictures(
            image,
            labels,
            self.descriptor.legend(),
            [title for title in panels.TITLES if title in self.kinds],
        )
        save_annotation.write_pngs(
            {
                os.path.join(self.folder, f"{name}_{title}.png"): picture
                for title, picture in pictures.items()
            }
        )

    def overlay(self, image: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the colors of the labels over the image, uint8 [height, width, 3], RGB."""
        return panels.overlay(image, labels, self.descriptor.label_colors())

    @property
    def has_overlays(self) -> bool:
        """Whether overlays are requested."""
        return _OVERLAY in self.kinds

    def facts(
        self, path: str, size: Sequence[int], shares: np.ndarray, **more: Any
    ) -> dict[str, Any]:
        """Return the facts about an image as JSON values.

        Args:
            path: Path of the image.
            size: Its height and width.
            shares: Result of `class_shares`.
            **more: More facts.
        """
        return {
            "path": shown(path),
            "width": size[1],
            "height": size[0],
            **more,
            "classes": self.classes(shares),
        }

    def classes(self, shares: np.ndarray) -> list[dict[str, Any]]:
        """Return the classes that occur in an image as JSON values, the largest share first.

        Args:
            shares: Result of `class_shares`.
        """
        names = self.descriptor.class_names
        return [
            {
                "label": int(label),
                **({"name": names[label]} if names else {}),
                "share": round(float(shares[label]), 6),
            }
            for label in np.argsort(-shares, kind="stable")
            if shares[label] > 0
        ]

    def write_json(self, network: str, images: Iterable[Mapping[str, Any]]) -> None:
        """Write the facts about all images, one image per line.

        Args:
            network: Path or address of the network that predicted them.
            images: Facts about each image; see `facts`.
        """
        facts = {"network": network, "dataset": self.descriptor.name, "images": list(images)}
        reports.write_json(os.path.join(self.folder, JSON_FILE), facts)


def paths(folder: str, kinds: Sequence[str], names: Iterable[str]) -> list[str]:
    """Return the files that are written for images.

    Args:
        folder: Folder of the files.
        kinds: See `Outputs`.
        names: Start of the file names, for each image.
    """
    titles = [kind for kind in kinds if kind not in (JSON, RECORDS)]
    found = [os.path.join(folder, f"{name}_{title}.png") for name in names for title in titles]
    return [*found, os.path.join(folder, JSON_FILE)] if JSON in kinds else found


def shown(text: str) -> str:
    """Return a path, or text that contains one, as JSON can hold it.

    File names may have bytes that are not UTF-8.
    """
    return os.fsencode(text).decode(errors="backslashreplace")


def class_shares(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the share of each class in labels of any shape, float64 [classes].

    Raises:
        ValueError: A label is not the label of a class.
    """
    if (smallest := labels.min(initial=0)) < 0:
        raise ValueError(f"the network predicts class {smallest}: it is damaged")
    if (largest := labels.max(initial=0)) >= num_classes:
        raise ValueError(
            f"the network predicts class {largest}, but the dataset has {num_classes} classes: give"
            " the one that it was trained on as --dataset"
        )
    return np.bincount(labels.ravel(), minlength=num_classes) / labels.size


def summary(shares: np.ndarray, descriptor: descriptors.DatasetDescriptor) -> str:
    """Return the classes with their shares as text, the largest first.

    Args:
        shares: Result of `class_shares`.
        descriptor: Names of the classes.
    """
    names = descriptor.class_names or range(len(shares))
    return ", ".join(
        f"{names[label]} {shares[label]:.1%}"
        for label in np.argsort(-shares)
        if shares[label] >= _MIN_SHARE
    )
