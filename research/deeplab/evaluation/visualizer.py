"""Saves pictures of a network's predictions."""

import dataclasses
import functools
import os
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from deeplab.core import utils
from deeplab.datasets import images
from deeplab.datasets.descriptors import DatasetDescriptor
from deeplab.evaluation import report
from deeplab.evaluation.prediction_sheet import PredictionSheet
from deeplab.evaluation.predictor import NetworkPredictor
from deeplab.sharing import parallel
from deeplab.utils import get_dataset_colormap, save_annotation
from deeplab.utils.progress import Progress
from deeplab.visualization import panels

# Official names of the folders with results.
RESULTS = "segmentation_results"
RAW_RESULTS = "raw_segmentation_results"


@dataclasses.dataclass(frozen=True)
class _Sample:
    """An image and its labels, all of the size of the image."""

    # Its place among all images.
    number: int
    name: str
    # The beginning of the names of its pictures.
    stem: str
    # uint8 [height, width, 3].
    image: np.ndarray
    # int32 [height, width].
    prediction: np.ndarray
    # int32 [height, width]; None: the image has no label.
    label: np.ndarray | None
    # The prediction before the dense CRF; None: there is no CRF.
    unrefined: np.ndarray | None


class Visualizer:
    """Saves pictures of the predictions for each image (official `vis.py`).

    The files are `segmentation_results/<stem>_image.png`, `_prediction.png` (in colors),
    `_overlay.png` (prediction over image) and `_panel.png` (image, label, prediction and overlay
    side by side, with a legend; with a dense CRF also the overlay before it). The stem is the
    number of the image, from 000000. On request, `raw_segmentation_results/<image name>.png` holds
    the predicted labels themselves. Overlay and panel are not in the official code.

    Args:
        predictor: The network, on one device or several.
        descriptor: Names and colors of the classes, and the labels that an evaluation server
            expects in raw predictions.
        vis_logdir: Folder in which the folders of results are made.
        colormap: Name of an official color map. None: the colors of the dataset.
        also_save_raw_predictions: Also save the predicted labels.
        name_by_image: The stem is the name of the image instead of its number.

    Attributes:
        legend: The classes, with the colors of the pictures.

    Raises:
        ValueError: The color map is unknown or has too few colors.
    """

    def __init__(
        self,
        predictor: NetworkPredictor,
        descriptor: DatasetDescriptor,
        vis_logdir: str,
        *,
        colormap: str | None = None,
        also_save_raw_predictions: bool = False,
        name_by_image: bool = False,
    ):
        self._predictor = predictor
        self._descriptor = descriptor
        self._results = os.path.join(vis_logdir, RESULTS)
        self._raw_results = os.path.join(vis_logdir, RAW_RESULTS)
        self.legend = descriptor.legend()
        if colormap is not None:
            official = get_dataset_colormap.create_label_colormap(colormap)
            self.legend = dataclasses.replace(self.legend, colors=official)
        if len(self.legend.colors) < descriptor.num_classes:
            raise ValueError(
                f"--colormap_type={colormap} has {len(self.legend.colors)} colors for the"
                f" {descriptor.num_classes} classes of {descriptor.name}; leave the flag out"
            )
        self._also_save_raw_predictions = also_save_raw_predictions
        self._name_by_image = name_by_image
        # The number of the last image of each name whose raw prediction is saved.
        self._newest: dict[str, int] = {}
        self._lock = threading.Lock()

    @staticmethod
    def results(names: Iterable[str], vis_logdir: str) -> Iterator[str]:
        """Yield the paths of what may be saved for images, with `name_by_image`."""
        for name in names:
            for title in ("image", *panels.TITLES):
                yield os.path.join(vis_logdir, RESULTS, f"{name}_{title}.png")
            yield os.path.join(vis_logdir, RAW_RESULTS, f"{name}.png")

    def run(
        self,
        batches: Iterable[Mapping[str, tf.Tensor]],
        total: int,
        sheet: PredictionSheet | None = None,
    ) -> set[int]:
        """Predict images and save the pictures, in threads while the next images are predicted.

        Args:
            batches: Batches of `data_generator.Dataset.evaluation`; `label` may be missing.
            total: Number of images in them, for the progress.
            sheet: Gets all images. None: nothing does.

        Returns:
            The predicted classes, for `conclude`.

        Raises:
            ValueError: An image cannot be read, or a label has no color. The message names it.
            OSError: A picture cannot be written.
        """
        progress = Progress("visualized", total)
        self._newest.clear()
        predicted: set[int] = set()
        samples = self._predictor.map(self._predict, batches)
        draw = functools.partial(self._draw, sheet=sheet)
        for classes in parallel.finish_in_order(draw, samples):
            for each in classes:
                predicted.update(each)
                progress.advance()
        return predicted

    def conclude(self, predicted: Collection[int], total: int) -> None:
        """Log where the pictures are, and a warning if they all show a single class.

        Args:
            predicted: The classes in them.
            total: Number of images.
        """
        if total > 1 and (
            remark := report.single_class_remark(predicted, self._descriptor.class_names)
        ):
            logging.warning(remark)
        logging.info("the pictures are in %s", self._results)

    def _draw(self, samples: Sequence[_Sample], sheet: PredictionSheet | None) -> list[list[int]]:
        """Save the pictures of a batch, and return the predicted classes of each image."""
        classes = []
        for sample in samples:
            try:
                self._save(sample)
                if sheet is not None:
                    sheet.add(
                        *(sample.number, sample.stem),
                        *(sample.image, sample.label, sample.prediction),
                    )
            except ValueError as error:
                raise ValueError(f"image {sample.name}: {error}") from None
            classes.append(np.unique(sample.prediction).tolist())
        return classes

    def _predict(
        self, predictor: NetworkPredictor, batch: Mapping[str, tf.Tensor]
    ) -> list[_Sample]:
        """Predict a batch; return its images without padding and in their original size."""
        resized = predictor.net.options.min_resize_value is not None
        if predictor.inference.crf:
            unrefined, predictions = predictor.before_and_after_crf(
                batch["image"], batch["original_size"]
            )
        else:
            predictions = predictor(batch["image"], batch["original_size"])
            unrefined = [None] * len(predictions)
        batch = {key: value.numpy() for key, value in batch.items()}
        labels = batch["label"][..., 0] if "label" in batch else [None] * len(predictions)
        samples = []
        for index, maps in enumerate(zip(predictions, labels, unrefined, strict=True)):
            height, width = batch["original_size"][index]
            image = batch["original_image"][index, :height, :width]
            maps = [None if each is None else each[:height, :width] for each in maps]
            if resized:
                size = _stored_size(batch, index)
                image = utils.resize_bilinear(tf.constant(image[np.newaxis]), size)[0].numpy()
                maps = [None if each is None else _resize_label(each, size) for each in maps]
            prediction, label, before = maps
            if label is not None and (label == self._descriptor.ignore_label).all():
                label = None
            name = batch["image_name"][index].decode(errors="backslashreplace")
            if not self._name_by_image:  # Records may hold paths.
                name = os.path.basename(name)
            number = int(batch["number"][index])
            stem = name if self._name_by_image else f"{number:06d}"
            image = image.astype(np.uint8)
            samples.append(_Sample(number, name, stem, image, prediction, label, before))
        return samples

    def _save(self, sample: _Sample) -> None:
        """Save all pictures of an image."""
        pictures = {
            "image": sample.image,
            **panels.pictures(
                sample.image,
                sample.prediction,
                self.legend,
                label=sample.label,
                unrefined=sample.unrefined,
            ),
        }
        raw = (
            save_annotation.as_pixels(self._raw(sample))
            if self._also_save_raw_predictions
            else None
        )
        save_annotation.write_pngs(
            {
                os.path.join(self._results, f"{sample.stem}_{title}.png"): picture
                for title, picture in pictures.items()
            }
        )
        if raw is not None:
            # A record need not name its image.
            self._save_raw(raw, sample.name or sample.stem, sample.number)

    def _save_raw(self, raw: np.ndarray, name: str, number: int) -> None:
        """Save a raw prediction, unless a later image of that name has been saved."""
        with self._lock:
            newest = self._newest.get(name)
            if newest is not None:
                logging.warning(
                    "several images are called %s: only the last one's raw prediction is kept", name
                )
            if newest is None or newest < number:
                self._newest[name] = number
                save_annotation.write_png(os.path.join(self._raw_results, f"{name}.png"), raw)

    def _raw(self, sample: _Sample) -> np.ndarray:
        """Return the labels as an evaluation server expects them."""
        labels = sample.prediction
        if self._descriptor.train_id_to_eval_id is not None:
            # One entry per class: a network never predicts the ignore label.
            labels = np.array(self._descriptor.train_id_to_eval_id)[labels]
        return labels


def _stored_size(batch: Mapping[str, np.ndarray], index: int) -> tuple[int, int]:
    """Return the size of an image before it was resized, as its record states it.

    Raises:
        ValueError: The record does not state it, or no image has that size.
    """
    height, width = int(batch["height"][index]), int(batch["width"][index])
    if min(height, width) < 1 or 3 * height * width >= images.MAX_VALUES:
        name = batch["image_name"][index].decode(errors="backslashreplace")
        raise ValueError(
            f"image {name}: its record says that it has {width}x{height} pixels (image/width and"
            " image/height), but its picture is to have its size: leave --min_resize_value out, or"
            " convert the data again"
        )
    return height, width


def _resize_label(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return utils.resize_nearest(label[np.newaxis, ..., np.newaxis], size)[0, ..., 0].numpy()
