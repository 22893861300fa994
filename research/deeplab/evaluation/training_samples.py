"""The body of vis.py with --augmented: shows what training sees."""

import os

import numpy as np
from absl import logging

from deeplab import common
from deeplab.core import feature_extractor
from deeplab.core.options import AugmentationOptions, RandomScale
from deeplab.datasets import data_generator, descriptors
from deeplab.evaluation.checkpoints import AskedOptions
from deeplab.input_preprocess import Preprocessing
from deeplab.utils import checkpoint, files, save_annotation
from deeplab.visualization import contact_sheet

# How many samples a contact sheet has.
_SAMPLES = 24


def save_contact_sheet(
    logdir: str,
    *,
    dataset: str,
    dataset_dir: str,
    split: str,
    crop_size: tuple[int, int],
    scales: RandomScale,
    augmentation: AugmentationOptions,
    seed: int,
    asked: AskedOptions,
    checkpoint_dir: str | None = None,
) -> str:
    """Save the first samples of a training with their labels, as `augmented.png`; return its path.

    Args:
        logdir: Folder of the picture.
        dataset: Name of the dataset, or its JSON description.
        dataset_dir: Folder of the TFRecords.
        split: The split.
        crop_size: (height, width) of the crops.
        scales: The random scales of the images.
        augmentation: What is done to the images besides.
        seed: Seed of the training.
        asked: Gives the network's options, which decide how images are resized and padded.
        checkpoint_dir: Where options that are not given are stored; None: nowhere.

    Raises:
        FileNotFoundError: There are no such records.
        ValueError: A flag or a record is wrong.
    """
    descriptor = descriptors.load(dataset)
    stored = checkpoint.load_options(checkpoint_dir) if checkpoint_dir else None
    options: common.ModelOptions = asked(
        stored=stored, num_classes=descriptor.num_classes, crop_size=crop_size
    )
    preprocessing = Preprocessing(
        crop_size=crop_size,
        mean_pixel=feature_extractor.get_backbone(options.model_variant).mean_pixel,
        min_resize_value=options.min_resize_value,
        max_resize_value=options.max_resize_value,
        resize_factor=options.resize_factor,
    )
    records = data_generator.Dataset(
        descriptor,
        split,
        dataset_dir,
        preprocessing,
        scales=scales,
        augmentation=augmentation,
        seed=seed,
    )
    with records.named_errors():
        batch = next(records.training(_SAMPLES).as_numpy_iterator())
    samples = [
        (image.astype(np.uint8), label[..., 0])
        for image, label in zip(batch["image"], batch["label"], strict=True)
    ]
    sheet = contact_sheet.draw(
        [(f"The first {_SAMPLES} samples of {split}, seed {seed}", samples)],
        descriptor.label_colors(),
        class_names=descriptor.class_names,
        ignore_label=descriptor.ignore_label,
    )
    files.make_folder("vis_logdir", logdir)
    path = os.path.join(logdir, "augmented.png")
    save_annotation.write_png(path, sheet)
    logging.info("the first %d samples of training are in %s", _SAMPLES, path)
    return path
