"""Converts images with labels or annotations of any dataset; the body of build_custom_data."""

import dataclasses
import itertools
import os
from collections.abc import Sequence

from absl import logging

from deeplab.annotations import folders
from deeplab.cli import writable
from deeplab.core.options import RunnerOptions
from deeplab.core.wording import agree
from deeplab.datasets import (
    conversion,
    custom_labels,
    custom_splits,
    image_files,
    samples,
    split_fractions,
)
from deeplab.datasets.custom_labels import Labels
from deeplab.datasets.custom_options import CustomOptions
from deeplab.datasets.custom_splits import Image
from deeplab.datasets.source_files import Source
from deeplab.utils import file_systems


def convert(options: CustomOptions, runner: RunnerOptions | None = None) -> None:
    """Write the records of all splits, and the descriptor.

    Args:
        options: Options of the conversion.
        runner: This machine or a pipeline. None: this machine.

    Raises:
        ValueError: Flags, annotations, images or labels are bad; the message names what and where.
        OSError: A file is missing or cannot be read.
    """
    _check_local(options)
    path = options.descriptor_path
    division = options.division
    images = custom_splits.by_flags(options)
    labels = custom_labels.read(options)
    images = _splits(options, labels, division, images)
    splits = {
        split: samples.FileSamples(labels.sources(split, found), labels.reader)
        for split, found in images.items()
    }
    sizes = {split: len(found) for split, found in splits.items()}
    descriptor = dataclasses.replace(labels.descriptor, splits_to_sizes=sizes)
    conversion.check_splits(splits)
    if options.descriptor or file_systems.exists(path):
        writable.check_file("descriptor", path, writable.DESCRIPTOR)
    if options.write_label_images:
        sources = itertools.chain.from_iterable(found.sources for found in splits.values())
        _check_label_images(options.write_label_images, list(sources))
    writable.make_folder("output_dir", options.output_dir)
    conversion.convert(
        splits,
        options.output_dir,
        options.num_shards,
        options.num_processes,
        options.write_label_images,
        runner,
    )
    descriptor.save(path)
    if descriptor.class_names:
        names = [f"{label} {name}" for label, name in enumerate(descriptor.class_names)]
        logging.info("classes: %s", ", ".join(names))
    logging.info(
        "wrote %s; use it with --dataset=%s --dataset_dir=%s", path, path, options.output_dir
    )


def _check_local(options: CustomOptions) -> None:
    """Reject paths in other file systems where all files of a folder are read before."""
    if not (options.annotations or options.split_fractions):
        return
    for flag in ("image_folder", "label_folder"):
        path = getattr(options, flag)
        if path and file_systems.is_remote(path):
            way = "annotations" if options.annotations else "split_fractions"
            raise ValueError(
                f"--{flag}={path}: --{way} needs these files on this machine, or on a disk that it"
                " mounts"
            )


def _check_label_images(folder: str, sources: Sequence[Source]) -> None:
    """Reject a folder in which the pictures of labels cannot be written, or would replace a source.

    Raises:
        ValueError: It cannot be written, a picture would replace an image or a label, or one would
            lie elsewhere.
    """
    flag = "write_label_images"
    for source in sources:
        if os.path.isabs(source.name) or os.path.normpath(source.name).split("/")[0] == "..":
            raise ValueError(
                f"--{flag}: the label of {source.image} would lie outside of {folder}, as the name"
                f" of the image is {source.name}: choose an --image_folder that holds all images"
            )
    read = [
        path for source in sources for path in (source.image, source.label) if isinstance(path, str)
    ]
    image_files.refuse_overwriting(
        flag, read, (samples.label_image(folder, source.name) for source in sources)
    )
    writable.make_folder(flag, folder)


def _splits(
    options: CustomOptions,
    labels: Labels,
    division: split_fractions.Division | None,
    by_flags: dict[str, list[Image]] | None,
) -> dict[str, list[Image]]:
    """Return the images of each split, by the way that the flags choose."""
    own = labels.own_splits()
    given = by_flags is not None or division is not None
    if given and own is not None and labels.table is None:
        raise ValueError(
            f"{options.annotations} has a column of splits, which stands in place of --split,"
            " --list_folder and --split_fractions: leave these out, or the column"
        )
    if by_flags is not None:
        return by_flags
    if division is not None:
        return _divide(labels, division, options)
    if own is None:
        raise ValueError(custom_splits.CHOOSE_SPLITS)
    return own


def _divide(
    labels: Labels, division: split_fractions.Division, options: CustomOptions
) -> dict[str, list[Image]]:
    """Return the images that --split_fractions gives each split."""
    annotations = labels.annotations
    # Images that nobody annotated count where they are background.
    if annotations is None or (annotations.others_are_background and not annotations.splits):
        images = custom_splits.all_images(options)
    else:
        images = labels.annotated_images()
        # Formats with label files, or splits of their own, say which images they are about.
        if not (annotations.label_files or annotations.splits):
            _log_others(images, options)
    # The name of a test split, in which labels may be missing: their classes are unknown then.
    sources = labels.sources("test", images)
    classes = [custom_labels.classes_in(source, labels) for source in sources]
    divided = split_fractions.divide([image.name for image in images], classes, division)
    return {split: [images[index] for index in found] for split, found in divided.items()}


def _log_others(images: Sequence[Image], options: CustomOptions) -> None:
    """Log the images that are not annotated: people annotate a part of a folder first."""
    annotated = {os.path.realpath(image.path) for image in images}
    paths = folders.find(options.image_folder, options.extensions)
    others = [path for path in paths if os.path.realpath(path) not in annotated]
    if others:
        logging.warning(
            "%d of the %d images in %s %s not annotated and left out, the first is %s",
            *(len(others), len(paths), options.image_folder),
            *(agree(len(others), "is", "are"), others[0]),
        )
