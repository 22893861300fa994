"""The body of vis.py: draws the predictions of the checkpoints of a training."""

import functools
import os
from collections.abc import Iterator, Mapping

import tensorflow as tf

from deeplab.core.options import EvaluationOptions
from deeplab.datasets import data_generator, descriptors, image_files, shards
from deeplab.evaluation import checkpoints
from deeplab.evaluation.visualizer import Visualizer
from deeplab.sharing import cluster as clusters
from deeplab.sharing.teams import Share, Team
from deeplab.utils import files


def visualize(
    options: EvaluationOptions,
    asked: checkpoints.AskedOptions,
    images: str | None = None,
    *,
    exif_orientation: bool = True,
    colormap: str | None = None,
    also_save_raw_predictions: bool = False,
) -> None:
    """Save pictures of the predictions of each checkpoint.

    Args:
        options: Which checkpoints, on which images.
        asked: Gives the network's options.
        images: Plain images to use in place of TFRecords; see `image_files.find`.
        exif_orientation: Whether plain images are turned as their EXIF data say.
        colormap: see `Visualizer`.
        also_save_raw_predictions: see `Visualizer`.

    Raises:
        FileNotFoundError: There are no images, or no such checkpoint.
        ValueError: A flag contradicts what the network was trained with; a file is damaged; a
            picture would replace an image; another host has ended with an error; or, after all
            others are done, images could not be read.
        TimeoutError: Another host has given no sign of life.
    """
    cluster = clusters.from_environment(evaluator=True)
    descriptor = descriptors.load(options.dataset)
    # An error now is better than one after a long wait for a checkpoint.
    if images:
        paths = image_files.find(images)
        results = Visualizer.results(image_files.result_names(paths), options.logdir)
        image_files.refuse_overwriting("vis_logdir", paths, results)
    else:
        shards.find(options.dataset_dir, descriptor.split_names(options.split))
    predictor = checkpoints.wait_for_network(options, descriptor, asked)
    preprocessing = predictor.net.preprocessing()
    if images:
        source = image_files.ImageFiles(paths, preprocessing, exif_orientation)
        batches = source.evaluation
    else:
        source = data_generator.Dataset(
            descriptor, options.split, options.dataset_dir, preprocessing
        )
        batches = functools.partial(_batches, source)
    pictures = Visualizer(
        predictor,
        descriptor,
        options.logdir,
        colormap=colormap,
        also_save_raw_predictions=also_save_raw_predictions,
        name_by_image=bool(images),
    )
    files.make_folder("vis_logdir", options.logdir)
    failures = image_files.Failures()
    with Team(cluster, os.path.join(options.logdir, ".vis-hosts")) as team:
        numbers = team.share.numbers(len(source), options.batch_size)
        for _ in checkpoints.restore_each(predictor, options, team):
            predicted = pictures.run(batches(options.batch_size, share=team.share), numbers)
            failed = source.failures.messages if images else {}
            if parts := team.gather({"predicted": sorted(predicted), "failed": failed}):
                pictures.conclude(set().union(*(part["predicted"] for part in parts)), len(source))
                failures = image_files.Failures.merge(paths if images else (), parts)
    failures.raise_any(len(source))


def _batches(
    records: data_generator.Dataset, batch_size: int, share: Share
) -> Iterator[Mapping[str, tf.Tensor]]:
    """Yield batches of records, with labels or without; an error due to a record names it."""
    with records.named_errors(labels_required=False):
        yield from records.evaluation(batch_size, labels_required=False, share=share)
