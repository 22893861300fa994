"""Evaluates a network on a dataset and reports the result."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from deeplab.core.wording import counted
from deeplab.datasets.data_generator import Dataset
from deeplab.evaluation import report, segmentation
from deeplab.evaluation.predictor import NetworkPredictor
from deeplab.evaluation.segmentation import SegmentationResult
from deeplab.sharing import parallel
from deeplab.sharing.teams import Share
from deeplab.utils import reports
from deeplab.utils.progress import Progress

# Name of the file with the newest result.
NEWEST_RESULT = "eval.json"


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluatedImage:
    """An image, its label and its prediction, all without padding.

    Args:
        name: The feature `image/filename`.
        image: RGB [height, width, 3], 0..255: as the network sees it, float32 if it was resized,
            else uint8.
        label: Integers [height, width].
        prediction: int32 [height, width].
        result: The metrics of this image alone.
        confidence: The probability of each predicted label, float32 [height, width]; None: it
            was not asked for.
    """

    name: str
    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    result: SegmentationResult
    confidence: np.ndarray | None = None


class _Batch(NamedTuple):
    """A batch that is predicted; images have padding of any value.

    Attributes:
        names: The names of the images.
        sizes: Integers [B, 2], heights and widths without padding.
        images: RGB [B, H, W, 3].
        labels: Integers [B, H, W].
        predictions: int32 [B, H, W].
        confidences: float32 [B, H, W]; see `EvaluatedImage`.
    """

    names: list[str]
    sizes: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    predictions: np.ndarray
    confidences: np.ndarray | None


class Evaluator:
    """Compares predictions with the labels of a dataset (official `eval.py`).

    Images are padded to the crop size; predictions in the padding are not counted.

    Args:
        predictor: The network, on one device or several.
        records: The images with their labels.
        batch_size: Number of images per batch.

    Raises:
        ValueError: The batch size is below 1.

    Example:
        evaluator = Evaluator(predictor, records, batch_size=1)
        for path in checkpoint_waiter.new_checkpoints("train_log"):
            step = predictor.restore(path)
            evaluator.report(evaluator.evaluate(), path, step, "eval_log")
    """

    def __init__(self, predictor: NetworkPredictor, records: Dataset, batch_size: int = 1):
        if batch_size < 1:
            raise ValueError(f"--eval_batch_size is {batch_size}; it must be at least 1")
        self._predictor = predictor
        self._records = records
        self._batch_size = batch_size
        self._logged_larger = False

    def evaluate(
        self,
        should_stop: Callable[[], bool] | None = None,
        observers: Sequence[Callable[[EvaluatedImage], None]] = (),
        confidence: bool = False,
        share: Share | None = None,
    ) -> SegmentationResult | None:
        """Predict all images and count.

        Args:
            should_stop: Called before each batch; evaluation stops if it returns True.
            observers: Each is called with each image, in the order of the records.
            confidence: Whether images tell how sure the network is of each pixel.
            share: The batches to evaluate. None: all.

        Returns:
            The metrics; None if evaluation was stopped, or there is no image in the share.

        Raises:
            ValueError: A record cannot be read, or a label is not a class. The message names it.
        """
        total: SegmentationResult | None = None
        share = share or Share()
        numbers = share.numbers(len(self._records), self._batch_size)
        progress = Progress("evaluated", len(numbers))
        stopped = False

        def batches() -> Iterator[Mapping[str, tf.Tensor]]:
            nonlocal stopped
            for batch in self._records.evaluation(self._batch_size, share=share):
                stopped = should_stop is not None and should_stop()
                if stopped:
                    return
                yield batch

        with self._records.named_errors():
            predict = functools.partial(self._predict, confidence=confidence)
            predicted = self._predictor.map(predict, batches())
            for images in parallel.finish_in_order(self._measure, predicted):
                for image in images:
                    total = image.result if total is None else total + image.result
                    for observe in observers:
                        observe(image)
                progress.advance(len(images))
        return None if stopped else total

    def report(
        self,
        result: SegmentationResult,
        path: str,
        step: int,
        eval_logdir: str,
        worst: Sequence[np.ndarray] = (),
    ) -> None:
        """Print the result as a table, and write it for TensorBoard and as JSON.

        Args:
            result: The result of `evaluate`.
            path: The evaluated checkpoint.
            step: Step of the checkpoint.
            eval_logdir: Folder of the event file, of `eval-<step>.json`, and of `eval.json`, which
                holds the newest result.
            worst: Pictures of the worst images, uint8 [height, width, 3], RGB, for TensorBoard.
        """
        names = self._records.descriptor.class_names
        facts = self.facts(result, path, step)
        print(
            f"{path} (step {step}) on {counted(facts['images'], 'image')} of"
            f" {facts['dataset']}/{facts['split']}:\n\n{report.segmentation_table(result, names)}"
        )
        for remark in report.segmentation_remarks(result, names):
            print(f"Note: {remark}")
        inference = self._predictor.inference
        tag = report.metric_tag(inference.eval_scales, inference.add_flipped_images)
        if inference.window:
            tag += "_windows"
        if inference.crf:
            tag += "_crf"
        pictures = {f"eval/worst_image_{rank}": picture for rank, picture in enumerate(worst, 1)}
        confusions = report.confusion_picture(result, names)
        if confusions is not None:
            pictures["eval/confusion_matrix"] = confusions
        scalars = report.segmentation_scalars(result, tag)
        report.write_summaries(eval_logdir, scalars, step, pictures)
        for file in (f"eval-{step}.json", NEWEST_RESULT):
            reports.write_json(os.path.join(eval_logdir, file), facts)
        logging.info("wrote %s", os.path.join(eval_logdir, f"eval-{step}.json"))

    def facts(self, result: SegmentationResult, path: str, step: int) -> dict[str, Any]:
        """Return what was evaluated, how, and the result as plain values; see `report`."""
        options, inference = self._predictor.options, self._predictor.inference
        names = self._records.descriptor.class_names
        return {
            "checkpoint": path,
            "step": step,
            "dataset": self._records.descriptor.name,
            "split": self._records.split_name,
            "images": len(self._records),
            "model_variant": options.model_variant,
            "output_stride": options.output_stride,
            "crop_size": options.crop_size,
            **dataclasses.asdict(inference),
            **report.segmentation_facts(result, names, self._records.descriptor.categories),
        }

    def _predict(
        self, predictor: NetworkPredictor, batch: Mapping[str, tf.Tensor], confidence: bool
    ) -> _Batch:
        """Predict a batch."""
        names = [name.decode(errors="backslashreplace") for name in batch["image_name"].numpy()]
        sizes = batch["original_size"].numpy()
        self._log_if_larger(sizes, names)
        if confidence:
            predictions, sure = predictor.with_confidence(batch["image"], sizes)
        else:
            predictions, sure = predictor(batch["image"], sizes), None
        labels = batch["label"].numpy()[..., 0]
        return _Batch(names, sizes, batch["original_image"].numpy(), labels, predictions, sure)

    def _measure(self, batch: _Batch) -> list[EvaluatedImage]:
        """Return the images of a batch without padding, with their metrics."""
        descriptor = self._records.descriptor
        found = []
        for index, (name, (height, width)) in enumerate(zip(batch.names, batch.sizes, strict=True)):
            shown = (index, slice(height), slice(width))
            label, prediction = batch.labels[shown], batch.predictions[shown]
            result = segmentation.measure(
                label, prediction, descriptor.num_classes, descriptor.ignore_label, name
            )
            sure = None if batch.confidences is None else batch.confidences[shown]
            image = batch.images[shown]
            found.append(EvaluatedImage(name, image, label, prediction, result, sure))
        return found

    def _log_if_larger(self, sizes: np.ndarray, names: list[str]) -> None:
        """Log once that an image is larger than the crop size, where the official eval fails."""
        crop_size = self._predictor.options.crop_size
        if self._logged_larger or crop_size is None or self._predictor.inference.window:
            return
        for name, (height, width) in zip(names, sizes, strict=True):
            if height > crop_size[0] or width > crop_size[1]:
                self._logged_larger = True
                logging.info(
                    "%s is %dx%d pixels (height x width), larger than --eval_crop_size=%d,%d: such"
                    " images are evaluated whole (with --window, in windows)",
                    *(name, height, width, *crop_size),
                )
                return
