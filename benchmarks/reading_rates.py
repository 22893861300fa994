"""Measures how many training samples one core prepares: read, decode, scale, crop and flip.

The images are drawn: smooth colors with noise, in the sizes of two datasets, with files of about
the same size. The script prints the samples per second of processor time, which other programs
hardly affect: the median of rounds in which all forms take turns.

Example:
    PYTHONPATH=research python benchmarks/reading_rates.py
"""

import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import tensorflow as tf
from absl import flags

from deeplab.cli import script
from deeplab.core.options import RandomScale
from deeplab.datasets import build_data
from deeplab.datasets.data_generator import Dataset
from deeplab.datasets.descriptors import DatasetDescriptor
from deeplab.input_preprocess import Preprocessing
from deeplab.utils import reports

# Name to height, width, format and strength of the noise.
_FORMS = {
    "Cityscapes, PNG": (1024, 2048, "png", 1.0),
    "Cityscapes, JPEG": (1024, 2048, "jpg", 1.0),
    "Mapillary, JPEG": (2448, 3264, "jpg", 3.0),
}
_CLASSES = 19
_PAUSE_SECS = 3.0


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the script's flags."""
    for name, default, help_text in (
        ("rounds", 5, "How often each form is timed."),
        ("images", 12, "Images of each form."),
        ("crop", 769, "Height and width of the crops."),
    ):
        flags.DEFINE_integer(name, default, help_text, lower_bound=1, flag_values=flag_values)


def _draw(height: int, width: int, noise: float, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    image = random.normal(128, noise, (height, width, 3))
    for size, strength in ((256, 40), (64, 25), (16, 12), (4, 5)):
        coarse = random.normal(0, strength, (height // size + 2, width // size + 2, 3))
        image += cv2.resize(coarse, (width, height))
    return np.clip(image, 0, 255).astype(np.uint8)


def write(folder: str, height: int, width: int, extension: str, noise: float, images: int) -> float:
    """Write records of drawn images; return the mean size of an image's file.

    Args:
        folder: Folder of the records, which are the split `train`.
        height: Height of an image.
        width: Width of an image.
        extension: Format of the images, "jpg" or "png".
        noise: Strength of their noise.
        images: Number of images.
    """
    sizes = []
    with tf.io.TFRecordWriter(os.path.join(folder, "train-00000-of-00001.tfrecord")) as writer:
        for number in range(images):
            image = cv2.imencode(f".{extension}", _draw(height, width, noise, number))[1].tobytes()
            blocks = np.random.default_rng(number).integers(
                0, _CLASSES, (height // 99, width // 99)
            )
            label = cv2.resize(
                blocks.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST
            )
            encoded = cv2.imencode(".png", label)[1].tobytes()
            example = build_data.image_seg_to_tfexample(
                image, f"{number}.{extension}", height, width, encoded
            )
            writer.write(example.SerializeToString())
            sizes.append(len(image))
    return statistics.mean(sizes)


def _sampler(folder: str) -> Callable[[], float]:
    """Return a function that returns the samples per second of processor time of a round."""
    crop = flags.FLAGS.crop
    records = Dataset(
        DatasetDescriptor(name="drawn", num_classes=_CLASSES, ignore_label=255),
        "train",
        folder,
        Preprocessing(crop_size=(crop, crop), mean_pixel=(127.5, 127.5, 127.5)),
        scales=RandomScale(min_scale_factor=0.5, max_scale_factor=2.0, scale_factor_step_size=0.25),
    )

    batches = iter(records.training(1))

    def measure() -> float:
        before = _processor_secs()
        for _ in range(3 * len(records)):
            next(batches)
        # Wait until as many samples are prefetched as at the beginning.
        time.sleep(_PAUSE_SECS)
        return 3 * len(records) / (_processor_secs() - before)

    return measure


def _processor_secs() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main(argv: Sequence[str]) -> None:
    """Print a table."""
    del argv
    samplers, sizes = {}, {}
    with tempfile.TemporaryDirectory() as root:
        for form in _FORMS:
            folder = os.path.join(root, form)
            os.mkdir(folder)
            sizes[form] = write(folder, *_FORMS[form], flags.FLAGS.images)
            samplers[form] = _sampler(folder)
            samplers[form]()
        rounds = [
            {form: sampler() for form, sampler in samplers.items()}
            for _ in range(flags.FLAGS.rounds)
        ]
    rows = []
    for form, (height, width, *_) in _FORMS.items():
        rates = [each[form] for each in rounds]
        rows.append(
            (
                form,
                f"{height}x{width}",
                f"{sizes[form] / 1e6:.2f}",
                f"{statistics.median(rates):.1f}",
                f"{min(rates):.1f} to {max(rates):.1f}",
            )
        )
    header = ("images", "size", "MB each", "samples per core second", "range")
    print(reports.format_table(header, rows))


if __name__ == "__main__":
    script.run(main, define_flags)
