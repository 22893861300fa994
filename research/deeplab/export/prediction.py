"""The body of predict.py: pictures of what a SavedModel predicts."""

import functools
import os

import numpy as np
from absl import logging

from deeplab.core.options import DeviceOptions
from deeplab.datasets import descriptors, image_files
from deeplab.evaluation import report
from deeplab.export import saved_model
from deeplab.utils import devices, parallel, save_annotation
from deeplab.visualization import panels

# The pictures of an image.
_TITLES = ("labels", *panels.TITLES)
# A class with a smaller share of an image is not mentioned.
_MIN_SHARE = 0.005


def predict(
    export_path: str,
    images: str,
    output_dir: str,
    dataset: str | None = None,
    exif_orientation: bool = True,
    options: DeviceOptions | None = None,
) -> None:
    """Predict the classes of images, and write pictures of them.

    Args:
        export_path: folder of the SavedModel.
        images: see `image_files.find`.
        output_dir: folder for the pictures.
        dataset: name of the dataset, or its JSON description. None: what was exported with the
            network, if anything.
        exif_orientation: whether images are turned as their EXIF data say.
        options: the devices. None: a single one.

    Raises:
        FileNotFoundError: There is no such image or export.
        ValueError: The dataset has other classes than the network; a picture would replace an
            image; or, after all others are done, images could not be read.
    """
    found = devices.choose(options or DeviceOptions())
    descriptor = descriptors.load(dataset) if dataset else None
    paths = image_files.find(images)
    names = image_files.result_names(paths)
    results = [
        os.path.join(output_dir, f"{name}_{title}.png") for name in names for title in _TITLES
    ]
    image_files.refuse_overwriting("output_dir", paths, results)
    networks = [saved_model.ExportedNetwork(export_path, each) for each in found or [None]]
    network = networks[0]
    if descriptor and descriptor.num_classes != network.num_classes:
        raise ValueError(
            f"--dataset={dataset} has {descriptor.num_classes} classes, the network in"
            f" {export_path} {network.num_classes}"
        )
    descriptor = (
        descriptor
        or network.descriptor
        or descriptors.DatasetDescriptor("unknown", network.num_classes, ignore_label=255)
    )

    def draw(
        network: saved_model.ExportedNetwork, image: tuple[str, str]
    ) -> tuple[image_files.Failures, np.ndarray | None]:
        """Return the failure or the labels of an image, once its pictures are saved."""
        path, name = image
        failures = image_files.Failures()
        pixels = failures.try_to_read(path, exif_orientation)
        if pixels is None:
            return failures, None
        labels = network.predict(pixels)
        save_pictures(pixels, labels, descriptor, output_dir, name)
        return failures, labels

    predicted = set()
    failures = image_files.Failures()
    workers = [functools.partial(draw, each) for each in networks]
    results = parallel.map_in_order(workers, zip(paths, names, strict=True))
    for path, (failed, labels) in zip(paths, results, strict=True):
        failures.add(failed)
        if labels is not None:
            logging.info("%s: %s", path, summary(labels, descriptor))
            predicted.update(np.unique(labels).tolist())
    if remark := report.single_class_remark(predicted, descriptor.class_names):
        logging.warning(remark)
    logging.info("the pictures are in %s", output_dir)
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
        descriptor: names and colors of the classes.
        folder: where the files go; made if needed.
        name: start of the files' names; may have folders.
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
