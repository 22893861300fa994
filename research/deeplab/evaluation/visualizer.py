"""Saves pictures of a network's predictions."""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import tensorflow as tf
from absl import logging

from deeplab.core import utils
from deeplab.datasets.descriptors import DatasetDescriptor
from deeplab.evaluation import report
from deeplab.evaluation.predictor import Predictor
from deeplab.utils import get_dataset_colormap, save_annotation
from deeplab.utils.progress import Progress
from deeplab.visualization import panels

# Folders of the results, as official.
RESULTS = "segmentation_results"
RAW_RESULTS = "raw_segmentation_results"


@dataclasses.dataclass(frozen=True)
class _Sample:
    """An image and what belongs to it, all of the image's own size."""

    name: str
    # uint8 [height, width, 3].
    image: np.ndarray
    # int32 [height, width].
    prediction: np.ndarray
    # The same, or None where the image is not labelled.
    label: np.ndarray | None
    # The prediction before the dense CRF; None where there is none.
    unrefined: np.ndarray | None


class Visualizer:
    """Saves, for each image, the image, the coloured prediction, an overlay and a panel.

    The files are `segmentation_results/<stem>_image.png`, `_prediction.png`, `_overlay.png` (the
    prediction laid over the image) and `_panel.png` (image, label, prediction and overlay side by
    side, with a legend; with a dense CRF also the overlay before it), and, if asked for,
    `raw_segmentation_results/<image name>.png`, which holds the predicted labels themselves. The
    stem is the image's number, from 000000.

    Reference: official `vis.py`, for all but overlay and panel.
    """

    def __init__(
        self,
        predictor: Predictor,
        descriptor: DatasetDescriptor,
        vis_logdir: str,
        *,
        colormap: str | None = None,
        also_save_raw_predictions: bool = False,
        name_by_image: bool = False,
    ):
        """Chooses what to save.

        Args:
            predictor: the network.
            descriptor: names and colours of the classes, and the labels that an evaluation server
                wants in raw predictions.
            vis_logdir: where the folders of results are made.
            colormap: name of an official colour map. None: the data set's colours.
            also_save_raw_predictions: save the predicted labels, too.
            name_by_image: the stem is the image's name in place of its number.

        Raises:
            ValueError: the colour map is unknown or has too few colours.
        """
        self._predictor = predictor
        self._descriptor = descriptor
        self._results = os.path.join(vis_logdir, RESULTS)
        self._raw_results = os.path.join(vis_logdir, RAW_RESULTS)
        if colormap is None:
            self._colors = descriptor.label_colors()
        else:
            self._colors = get_dataset_colormap.create_label_colormap(colormap)
        if len(self._colors) < descriptor.num_classes:
            raise ValueError(
                f"--colormap_type={colormap} has {len(self._colors)} colours for the"
                f" {descriptor.num_classes} classes of {descriptor.name}; leave the flag out"
            )
        self._also_save_raw_predictions = also_save_raw_predictions
        self._name_by_image = name_by_image

    def run(self, batches: Iterable[Mapping[str, tf.Tensor]], total: int) -> None:
        """Predicts and saves.

        Args:
            batches: what `data_generator.Dataset.evaluation` gives; `label` may be missing.
            total: the number of images.

        Raises:
            ValueError: an image cannot be read, or a label has no colour; the message names it.
        """
        progress = Progress("visualised", total)
        names: set[str] = set()
        predicted: set[int] = set()
        for number, sample in enumerate(self._samples(batches)):
            stem = sample.name if self._name_by_image else f"{number:06d}"
            try:
                self._save(sample, stem)
            except ValueError as error:
                raise ValueError(f"image {sample.name}: {error}") from None
            if self._also_save_raw_predictions:
                self._save_raw(sample, names)
            predicted.update(np.unique(sample.prediction).tolist())
            progress.advance()
        if total > 1 and (
            remark := report.single_class_remark(predicted, self._descriptor.class_names)
        ):
            logging.warning(remark)
        logging.info("the pictures are in %s", self._results)

    def _samples(self, batches: Iterable[Mapping[str, tf.Tensor]]) -> Iterator[_Sample]:
        """Takes batches apart, and takes padding and resizing back."""
        resized = self._predictor.net.options.min_resize_value is not None
        for batch in batches:
            if self._predictor.inference.crf:
                unrefined, predictions = self._predictor.before_and_after_crf(
                    batch["image"], batch["original_size"]
                )
            else:
                predictions = self._predictor(batch["image"])
                unrefined = [None] * len(predictions)
            batch = {key: value.numpy() for key, value in batch.items()}
            labels = batch["label"][..., 0] if "label" in batch else [None] * len(predictions)
            for index, maps in enumerate(zip(predictions, labels, unrefined, strict=True)):
                height, width = batch["original_size"][index]
                image = batch["original_image"][index, :height, :width]
                maps = [None if each is None else each[:height, :width] for each in maps]
                if resized:
                    size = (int(batch["height"][index]), int(batch["width"][index]))
                    image = utils.resize_bilinear(tf.constant(image[np.newaxis]), size)[0].numpy()
                    maps = [None if each is None else _resize_label(each, size) for each in maps]
                prediction, label, before = maps
                if label is not None and (label == self._descriptor.ignore_label).all():
                    label = None
                name = os.path.basename(batch["image_name"][index].decode())
                yield _Sample(name, image.astype(np.uint8), prediction, label, before)

    def _save(self, sample: _Sample, stem: str) -> None:
        pictures = {
            "image": sample.image,
            **panels.pictures(
                sample.image,
                sample.prediction,
                self._colors,
                label=sample.label,
                unrefined=sample.unrefined,
                class_names=self._descriptor.class_names,
                ignore_label=self._descriptor.ignore_label,
            ),
        }
        save_annotation.write_pngs(
            {
                os.path.join(self._results, f"{stem}_{title}.png"): picture
                for title, picture in pictures.items()
            }
        )

    def _save_raw(self, sample: _Sample, names: set[str]) -> None:
        """Saves the labels, as an evaluation server wants them; `names` are those saved before."""
        if sample.name in names:
            logging.warning(
                "several images are called %s: only the last one's raw prediction is kept",
                sample.name,
            )
        names.add(sample.name)
        labels = sample.prediction
        if self._descriptor.train_id_to_eval_id is not None:
            # One for each class: a network predicts nothing else, the ignore label neither.
            labels = np.array(self._descriptor.train_id_to_eval_id)[labels]
        save_annotation.save_annotation(labels, self._raw_results, sample.name, add_colormap=False)


def _resize_label(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return utils.resize_nearest(label[np.newaxis, ..., np.newaxis], size)[0, ..., 0].numpy()
