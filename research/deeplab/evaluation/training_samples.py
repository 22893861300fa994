"""The body of vis.py with --augmented: shows what training sees."""

import os

from absl import logging

from deeplab import model
from deeplab.cli import writable
from deeplab.core.options import TrainingRun
from deeplab.datasets import data_generator, descriptors
from deeplab.evaluation.checkpoints import AskedOptions
from deeplab.utils import checkpoint, save_annotation
from deeplab.visualization import contact_sheet, tiles

# How many samples a contact sheet has.
_SAMPLES = 24


def save_contact_sheet(
    logdir: str, options: TrainingRun, asked: AskedOptions, checkpoint_dir: str | None = None
) -> str:
    """Save the first samples of a training with their labels, as `augmented.png`; return its path.

    Args:
        logdir: Folder of the picture.
        options: The training. Its batch size, optimizer and devices make no difference.
        asked: Returns the network's options, which decide how images are resized and padded.
        checkpoint_dir: Folder of the checkpoint with the options of flags that are not given.

    Raises:
        FileNotFoundError: There are no such records.
        ValueError: A flag or a record is wrong.
    """
    run, seed = options.files, options.training.seed
    descriptor = descriptors.load(run.dataset)
    stored = checkpoint.load_options(checkpoint_dir) if checkpoint_dir else None
    network = asked(
        stored=stored, num_classes=descriptor.num_classes, crop_size=run.train_crop_size
    )
    records = data_generator.Dataset(
        descriptor,
        run.train_split,
        run.dataset_dir,
        model.preprocessing(network),
        scales=options.scales,
        augmentation=options.augmentation,
        seed=seed,
    )
    with records.named_errors():
        batch = next(records.training(_SAMPLES).as_numpy_iterator())
    legend = descriptor.legend()
    samples = [
        tiles.draw(image, label[..., 0], None, legend)
        for image, label in zip(batch["image"], batch["label"], strict=True)
    ]
    caption = f"The first {_SAMPLES} samples of {run.train_split}, seed {seed}"
    sheet = contact_sheet.draw([(caption, samples)], legend)
    writable.make_folder("vis_logdir", logdir)
    path = os.path.join(logdir, "augmented.png")
    save_annotation.write_png(path, sheet)
    logging.info("the first %d samples of training are in %s", _SAMPLES, path)
    return path
