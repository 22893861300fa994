"""The body of vis.py: draws the predictions of the checkpoints of a training."""

import functools
import os
from collections.abc import Iterator, Mapping

import tensorflow as tf
from absl import logging

from deeplab.cli import writable
from deeplab.core.options import EvaluationOptions, PictureOptions
from deeplab.core.wording import counted
from deeplab.datasets import data_generator, descriptors, image_files, shards
from deeplab.evaluation import checkpoints
from deeplab.evaluation.prediction_sheet import PredictionSheet
from deeplab.evaluation.visualizer import Visualizer
from deeplab.sharing import cluster as clusters
from deeplab.sharing import parallel, teams
from deeplab.sharing.teams import Share


def visualize(
    options: EvaluationOptions, asked: checkpoints.AskedOptions, pictures: PictureOptions
) -> None:
    """Save pictures of the predictions of each checkpoint.

    Args:
        options: The checkpoints and the TFRecords.
        asked: Returns the network's options.
        pictures: Images to use instead of TFRecords, and what to draw.

    Raises:
        FileNotFoundError: There are no images, or no such checkpoint.
        ValueError: A flag contradicts what the network was trained with; a file is damaged; a
            picture would replace an image; another host has ended with an error; or, after all
            others are done, images could not be read.
        TimeoutError: Another host has given no sign of life.
    """
    images, sheet_path = pictures.images, pictures.contact_sheet
    cluster = clusters.from_environment(evaluator=True)
    descriptor = descriptors.load(options.dataset)
    # An error now is better than one after a long wait for a checkpoint.
    writable.check_folder("vis_logdir", options.logdir)
    if sheet_path:
        writable.check_file("contact_sheet", sheet_path, writable.PNG)
    if images:
        paths = image_files.find(images)
        results = Visualizer.results(image_files.result_names(paths), options.logdir)
        image_files.refuse_overwriting("vis_logdir", paths, results)
        image_files.refuse_overwriting("contact_sheet", paths, [sheet_path] if sheet_path else [])
    else:
        shards.find(options.dataset_dir, descriptor.split_names(options.split))
    predictor = checkpoints.wait_for_network(options, descriptor, asked)
    preprocessing = predictor.net.preprocessing()
    if images:
        source = image_files.ImageFiles(paths, preprocessing, pictures.exif_orientation)
        batches = functools.partial(_read_ahead, source)
    else:
        source = data_generator.Dataset(
            descriptor, options.split, options.dataset_dir, preprocessing
        )
        batches = functools.partial(_batches, source)
    visualizer = Visualizer(
        predictor,
        descriptor,
        options.logdir,
        colormap=pictures.colormap_type,
        also_save_raw_predictions=pictures.also_save_raw_predictions,
        name_by_image=bool(images),
    )
    writable.make_folder("vis_logdir", options.logdir)
    failures = image_files.Failures()
    seen = counted(len(source), "image")
    if images:
        seen = teams.fingerprint(image_files.result_names(paths))
    with teams.Team(cluster, os.path.join(options.logdir, ".vis-hosts")) as team:
        total = len(team.share.numbers(len(source), options.batch_size))
        for _, step in checkpoints.restore_each(predictor, options, team):
            sheet = None
            if sheet_path:
                sheet = PredictionSheet(visualizer.legend, len(source))
            predicted = visualizer.run(batches(options.batch_size, share=team.share), total, sheet)
            gathered = team.gather(
                {
                    "seen": seen,
                    "predicted": sorted(predicted),
                    "failed": source.failures.messages if images else {},
                    "tiles": sheet.as_json() if sheet and not team.is_chief else [],
                }
            )
            if not team.is_chief:
                continue
            everywhere = dict(enumerate(each["seen"] for each in gathered))
            teams.check_same_images("images" if images else "dataset_dir", everywhere)
            visualizer.conclude(set().union(*(each["predicted"] for each in gathered)), len(source))
            failures = image_files.Failures.merge(paths if images else (), gathered)
            if sheet:
                for each in gathered:
                    sheet.merge(each["tiles"])
                title = f"step {step}" if images else f"step {step} on {options.split}"
                sheet.write(sheet_path, title)
                logging.info("the contact sheet is %s", sheet_path)
    failures.raise_any(len(source))


def _batches(
    records: data_generator.Dataset, batch_size: int, share: Share
) -> Iterator[Mapping[str, tf.Tensor]]:
    """Yield batches of records, with labels or without; an error due to a record names it."""
    with records.named_errors(labels_required=False):
        yield from records.evaluation(batch_size, labels_required=False, share=share)


def _read_ahead(
    images: image_files.ImageFiles, batch_size: int, share: Share
) -> Iterator[Mapping[str, tf.Tensor]]:
    """Yield batches of images; the next one is read while one is used."""
    return parallel.read_ahead(images.evaluation(batch_size, share))
