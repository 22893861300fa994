r"""Compares the training pipeline with the official order of operations, on one core.

The official order is: decode, scale the whole image, pad, crop, flip. Ours decodes the image and
computes only the pixels of the crop. Both read the same records with the same random numbers, and
return the same samples, which the script checks. It prints the milliseconds of processor time per
sample, which other programs hardly affect: the median of rounds in which all forms take turns.

Example:
    PYTHONPATH=research python benchmarks/input_pipeline.py --rounds=7
    PYTHONPATH=research python benchmarks/input_pipeline.py --dataset_dir=camvid_tfrecord
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence

import numpy as np
import reading_rates
import tensorflow as tf
from absl import flags

from deeplab import input_preprocess
from deeplab.cli import script
from deeplab.core import preprocess_utils, utils
from deeplab.core.options import RandomScale
from deeplab.datasets import examples, shards
from deeplab.input_preprocess import Preprocessing
from deeplab.utils import reports

# Name to height, width and format of drawn images, their number, and the size of the crops.
_FORMS = {
    "480x360, JPEG": (360, 480, "jpg", 100, 321),
    "2048x1024, JPEG": (1024, 2048, "jpg", 12, 769),
    "2048x1024, PNG": (1024, 2048, "png", 12, 769),
}
_SCALES = RandomScale(min_scale_factor=0.5, max_scale_factor=2.0, scale_factor_step_size=0.25)
_MEAN_PIXEL = (127.5, 127.5, 127.5)
_IGNORED = 255
_CHECKED_SAMPLES, _MOST_SAMPLES = 20, 200


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the script's flags."""
    flags.DEFINE_integer(
        "rounds", 5, "How often each form is timed.", lower_bound=1, flag_values=flag_values
    )
    flags.DEFINE_string(
        "dataset_dir",
        None,
        "Folder of TFRecords to read in place of drawn images.",
        flag_values=flag_values,
    )
    flags.DEFINE_string("split", "train", "Their split.", flag_values=flag_values)
    flags.DEFINE_integer("crop", 321, "Height and width of their crops.", flag_values=flag_values)


def main(argv: Sequence[str]) -> None:
    """Print a table."""
    del argv
    values, rows = flags.FLAGS, []
    with tempfile.TemporaryDirectory() as root:
        if values.dataset_dir:
            rows.append(_compare("--dataset_dir", values.dataset_dir, values.split, values.crop))
        for form, (height, width, extension, images, crop) in _FORMS.items():
            if not values.dataset_dir:
                folder = os.path.join(root, form)
                os.mkdir(folder)
                reading_rates.write(folder, height, width, extension, 1.0, images)
                rows.append(_compare(form, folder, "train", crop))
    header = ("records", "official", "ours", "ratio", "range", *_STEPS)
    print("Milliseconds of processor time for a sample")
    print(reports.format_table(header, rows))


# The first steps of both orders, which are timed as well.
_STEPS = ("read", "decode label", "decode image and label")


def _compare(form: str, folder: str, split: str, crop: int) -> tuple[str, ...]:
    """Time all forms in turns; return the cells of the row."""
    files = shards.open_split(folder, [split])
    files.load()
    preprocessing = Preprocessing(crop_size=(crop, crop), mean_pixel=_MEAN_PIXEL)

    def decode(sample: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        _, image, label = examples.decode(files.read(sample % len(files)), absent_label=None)
        return image, label

    def official(sample: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return _official_order(*decode(sample), [0, sample], crop)

    def ours(sample: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return input_preprocess.preprocess_for_training(
            *decode(sample), [0, sample], preprocessing, _SCALES
        )

    _check_equal(official, ours)
    forms = {
        "official": official,
        "ours": ours,
        "read": lambda sample: files.read(sample % len(files)),
        "decode label": lambda sample: examples.decode_label(files.read(sample % len(files))),
        "decode image and label": decode,
    }
    samples = min(2 * len(files), _MOST_SAMPLES)
    datasets = {
        # One sample at a time: other threads would make the measurement less exact.
        name: tf.data.Dataset.range(samples).map(tf.autograph.experimental.do_not_convert(form))
        for name, form in forms.items()
    }
    times: dict[str, list[float]] = {name: [] for name in forms}
    for number in range(flags.FLAGS.rounds + 1):
        for name, dataset in datasets.items():
            start = time.process_time()
            for _ in dataset:
                pass
            # The first round builds graphs.
            if number:
                times[name].append(1000 * (time.process_time() - start) / samples)
    medians = {name: statistics.median(each) for name, each in times.items()}
    ratios = [a / b for a, b in zip(times["official"], times["ours"], strict=True)]
    return (
        *(form, f"{medians['official']:.1f}", f"{medians['ours']:.1f}"),
        *(f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}"),
        *(f"{medians[name]:.1f}" for name in _STEPS),
    )


def _official_order(
    image: tf.Tensor, label: tf.Tensor, seed: Sequence[tf.Tensor], crop: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return a crop by the official operations, with the random numbers of our pipeline."""
    uniform = tf.random.stateless_uniform([4], seed, alg="philox")
    scale = preprocess_utils.random_scale(_SCALES, uniform[0])
    size = tf.cast(tf.cast(tf.shape(image)[:2], tf.float32) * scale, tf.int32)
    image = utils.resize_bilinear(tf.cast(image, tf.float32)[tf.newaxis], size, tf.float32)[0]
    label = utils.resize_nearest(label[tf.newaxis], size)
    label = tf.cast(label[0], tf.int32)
    height, width = tf.unstack(tf.maximum(size, crop))
    image = preprocess_utils.pad_to_bounding_box(image, 0, 0, height, width, _MEAN_PIXEL)
    label = preprocess_utils.pad_to_bounding_box(label, 0, 0, height, width, _IGNORED)
    places = tf.cast(tf.stack([height, width]) - crop + 1, tf.float32)
    top, left = tf.unstack(tf.cast(uniform[1:3] * places, tf.int32))
    image, label = (each[top : top + crop, left : left + crop] for each in (image, label))
    flips = uniform[3] < 0.5
    return tuple(tf.where(flips, tf.reverse(each, [1]), each) for each in (image, label))


def _check_equal(official: Callable[..., tuple], ours: Callable[..., tuple]) -> None:
    """Reject samples whose labels differ, or whose images differ by more than rounding."""
    for sample in range(_CHECKED_SAMPLES):
        (image, label), (other, other_label) = (
            [each.numpy() for each in form(tf.constant(sample, tf.int64))]
            for form in (official, ours)
        )
        np.testing.assert_array_equal(other_label, label)
        np.testing.assert_allclose(other, image, atol=0.05)


if __name__ == "__main__":
    script.run(main, define_flags)
