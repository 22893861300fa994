"""The body of predict.py: pictures of what a SavedModel predicts."""

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence

import numpy as np
from absl import logging

from deeplab.core.options import DeviceOptions, WindowOptions
from deeplab.datasets import descriptors, image_files
from deeplab.evaluation import report
from deeplab.export import saved_model
from deeplab.sharing import cluster as clusters
from deeplab.sharing import devices, parallel
from deeplab.sharing.teams import Team
from deeplab.utils import files, save_annotation
from deeplab.visualization import panels

# The pictures of an image.
_TITLES = ("labels", *panels.TITLES)
# A class with a smaller share of an image is not mentioned.
_MIN_SHARE = 0.005


@dataclasses.dataclass(frozen=True)
class _Drawn:
    """An image whose pictures are saved, or that could not be read.

    Args:
        path: The image.
        failed: The message of its error, by its path; empty if there is none.
        summary: The classes in its prediction, in words.
        classes: The predicted classes.
    """

    path: str
    failed: Mapping[str, str]
    summary: str = ""
    classes: Sequence[int] = ()


def predict(
    export_path: str,
    images: str,
    output_dir: str,
    dataset: str | None = None,
    exif_orientation: bool = True,
    options: DeviceOptions | None = None,
    window: WindowOptions | None = None,
) -> None:
    """Predict the classes of images, and write pictures of them.

    Args:
        export_path: Folder of the SavedModel.
        images: see `image_files.find`.
        output_dir: Folder for the pictures.
        dataset: Name of the dataset, or its JSON descriptor. None: what was exported with the
            network, if anything.
        exif_orientation: Whether images are turned as their EXIF data say.
        options: The devices. None: a single one.
        window: see `saved_model.ExportedNetwork`.

    Raises:
        FileNotFoundError: There is no such image or export.
        ValueError: The dataset has other classes than the network; the export cannot be used with
            windows; a picture would replace an image; another host has ended with an error; or,
            after all others are done, images could not be read.
        TimeoutError: Another host has given no sign of life.
    """
    cluster = clusters.from_environment(evaluator=True)
    found = devices.choose(options or DeviceOptions())
    descriptor = descriptors.load(dataset) if dataset else None
    paths = image_files.find(images)
    names = image_files.result_names(paths)
    results = [
        os.path.join(output_dir, f"{name}_{title}.png") for name in names for title in _TITLES
    ]
    image_files.refuse_overwriting("output_dir", paths, results)
    networks = [saved_model.ExportedNetwork(export_path, each, window) for each in found or [None]]
    network = networks[0]
    if descriptor and descriptor.num_classes != network.num_classes:
        raise ValueError(
            f"--dataset={dataset} has {descriptor.num_classes} classes, the network in"
            f" {export_path} {network.num_classes}"
        )
    files.make_folder("output_dir", output_dir)
    descriptor = (
        descriptor
        or network.descriptor
        or descriptors.DatasetDescriptor("unknown", network.num_classes, ignore_label=255)
    )

    def draw(network: saved_model.ExportedNetwork, number: int) -> _Drawn:
        """Save the pictures of an image."""
        path, failures = paths[number], image_files.Failures()
        image = failures.try_to_read(path, exif_orientation)
        if image is None:
            return _Drawn(path, failures.messages)
        labels = network.predict(image)
        save_pictures(image, labels, descriptor, output_dir, names[number])
        text = summary(labels, descriptor)
        return _Drawn(path, {}, text, np.unique(labels).tolist())

    workers = [functools.partial(draw, each) for each in networks]
    failures = image_files.Failures()
    with Team(cluster, os.path.join(output_dir, ".predict-hosts")) as team:
        for _ in team.tasks([{}]):
            predicted, failed = set(), {}
            for drawn in parallel.map_in_order(workers, team.share.numbers(len(paths))):
                failed |= drawn.failed
                predicted.update(drawn.classes)
                if not drawn.failed:
                    logging.info("%s: %s", drawn.path, drawn.summary)
            parts = team.gather({"predicted": sorted(predicted), "failed": failed})
            if not parts:
                continue
            predicted = set().union(*(part["predicted"] for part in parts))
            if remark := report.single_class_remark(predicted, descriptor.class_names):
                logging.warning(remark)
            logging.info("the pictures are in %s", output_dir)
            failures = image_files.Failures.merge(paths, parts)
    failures.raise_any(len(paths))


def save_pictures(
    image: np.ndarray,
    labels: np.ndarray,
    descriptor: descriptors.DatasetDescriptor,
    folder: str,
    name: str,
) -> None:
    """Write the four pictures of one image.

    Args:
        image: uint8 [height, width, 3], RGB.
        labels: integers [height, width].
        descriptor: Names and colors of the classes.
        folder: Where the files go; made if needed.
        name: Start of the files' names; may have folders.
    """
    pictures = {
        "labels": save_annotation.as_pixels(labels),
        **panels.pictures(
            image, labels, descriptor.label_colors(), class_names=descriptor.class_names
        ),
    }
    save_annotation.write_pngs(
        {
            os.path.join(folder, f"{name}_{title}.png"): picture
            for title, picture in pictures.items()
        }
    )


def summary(labels: np.ndarray, descriptor: descriptors.DatasetDescriptor) -> str:
    """Return the classes in a prediction with their shares, the largest first."""
    shares = np.bincount(labels.ravel(), minlength=descriptor.num_classes) / labels.size
    names = descriptor.class_names or range(descriptor.num_classes)
    return ", ".join(
        f"{names[label]} {shares[label]:.1%}"
        for label in np.argsort(-shares)
        if shares[label] >= _MIN_SHARE
    )
