"""Searches for the parameters of a dense CRF on a part of a dataset.

Weight and standard deviations of the bilateral kernel depend on the network and the data. DeepLab
v1 (arXiv 1412.7062, section 5.1) and v2 cross-validate them on 100 images, coarse to fine.
"""

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from deeplab.core import dense_crf
from deeplab.core.options import CrfOptions
from deeplab.core.options.crf_options import SEARCHED
from deeplab.core.wording import counted
from deeplab.datasets.data_generator import Dataset
from deeplab.evaluation.predictor import NetworkPredictor
from deeplab.evaluation.segmentation import SegmentationMetrics
from deeplab.utils import reports
from deeplab.utils.progress import Progress

# Name of the file with the newest result.
NEWEST_SEARCH = "crf_search.json"

# A place in the grid: an index of each parameter.
_Place = tuple[int, ...]


class CrfSearch:
    """Searches a grid of parameters.

    The search starts with the ends and the middle of each list of values, continues around the
    best place with smaller and smaller steps, and ends when no neighbor in the grid is better.

    Args:
        predictor: The network, with a CRF that has all other parameters.
        records: The images with their labels.
        grid: The values of each of `SEARCHED`.
        num_images: Number of images to try them on, evenly spread over the records.

    Raises:
        ValueError: A list of values is empty, or has a value that is out of range.

    Example:
        search = CrfSearch(predictor, records, {"bi_w": [5, 10], ...}, num_images=100)
        search.report(search.run(), path, step, "eval_log")
    """

    def __init__(
        self,
        predictor: NetworkPredictor,
        records: Dataset,
        grid: Mapping[str, Sequence[float]],
        num_images: int,
    ):
        if num_images < 1:
            raise ValueError(f"--crf_search_images is {num_images}; it must be at least 1")
        self._predictor = predictor
        self._records = records
        self._num_images = min(num_images, len(records))
        self._grid = {name: sorted(set(grid[name])) for name in SEARCHED}
        for name, values in self._grid.items():
            if not values:
                raise ValueError(f"--crf_search_{name} is empty")
            for value in values:
                try:
                    dataclasses.replace(predictor.inference.crf, **{name: value})
                except ValueError as error:
                    message = str(error).replace("--crf_", "--crf_search_", 1)
                    raise ValueError(message) from None

    def run(self) -> "CrfSearchResult":
        """Search the grid.

        Raises:
            ValueError: A record cannot be read, or a label is not a class. The message names it.
        """
        unrefined = SegmentationMetrics(*self._classes())
        sizes = [len(values) for values in self._grid.values()]

        def score(places: Sequence[_Place]) -> list[float]:
            unrefined.reset()
            return self._score([self._options(place) for place in places], unrefined)

        scores = search(sizes, score)
        return CrfSearchResult(
            [(self._options(place), value) for place, value in scores.items()],
            unrefined.result().mean_iou,
            self._num_images,
        )

    def report(self, result: "CrfSearchResult", path: str, step: int, eval_logdir: str) -> None:
        """Print the tried parameters, the best first, and flags for the best; write them as JSON.

        Args:
            result: The result of `run`.
            path: The checkpoint.
            step: Step of the checkpoint.
            eval_logdir: Folder of `crf_search-<step>.json`, and of `crf_search.json`, which holds
                the newest result.
        """
        print(
            f"{path} (step {step}), {counted(result.num_images, 'image')}, mIoU without a CRF"
            f" {reports.percent(result.unrefined)} %:\n\n{result.table()}\n\n"
            f"The best: {result.flags()}"
        )
        facts = {
            "checkpoint": path,
            "step": step,
            "dataset": self._records.descriptor.name,
            "split": self._records.split_name,
            "images": result.num_images,
            "miou_without_crf": result.unrefined,
            "best": dataclasses.asdict(result.ranking()[0][0]),
            "tried": [
                {name: getattr(options, name) for name in SEARCHED} | {"miou": miou}
                for options, miou in result.ranking()
            ],
        }
        for file in (f"crf_search-{step}.json", NEWEST_SEARCH):
            reports.write_json(os.path.join(eval_logdir, file), facts)
        logging.info("wrote %s", os.path.join(eval_logdir, f"crf_search-{step}.json"))

    def _options(self, place: _Place) -> CrfOptions:
        values = {
            name: values[index]
            for (name, values), index in zip(self._grid.items(), place, strict=True)
        }
        return dataclasses.replace(self._predictor.inference.crf, **values)

    def _classes(self) -> tuple[int, int]:
        return self._records.descriptor.num_classes, self._records.descriptor.ignore_label

    def _score(
        self, candidates: Sequence[CrfOptions], unrefined: SegmentationMetrics
    ) -> list[float]:
        """Return the mIoU of each CRF; the network is applied once to each image."""
        metrics = [SegmentationMetrics(*self._classes()) for _ in candidates]
        progress = Progress(f"tried {len(candidates)} CRFs on", self._num_images)
        with self._records.named_errors():
            for image, label, size, name in self._samples():
                probabilities = self._predictor.probabilities(image, size)
                unrefined.update(label, tf.argmax(probabilities, axis=-1).numpy(), name)
                for options, metric in zip(candidates, metrics, strict=True):
                    refined = dense_crf.refine(image, probabilities, options, size)
                    metric.update(label, tf.argmax(refined, axis=-1).numpy(), name)
                progress.advance()
        return [metric.result().mean_iou for metric in metrics]

    def _samples(self) -> Iterator[tuple[tf.Tensor, np.ndarray, tf.Tensor, list[str]]]:
        """Yield image, label, size and name, each in a batch of one."""
        step = len(self._records) // self._num_images
        for batch in self._records.evaluation(1).shard(step, 0).take(self._num_images):
            names = [name.decode(errors="backslashreplace") for name in batch["image_name"].numpy()]
            yield batch["image"], batch["label"][..., 0].numpy(), batch["original_size"], names


@dataclasses.dataclass(frozen=True)
class CrfSearchResult:
    """Result of a search.

    Attributes:
        scores: The tried parameters with their mIoU, in the order of the search.
        unrefined: The mIoU without a CRF.
        num_images: Number of images.
    """

    scores: Sequence[tuple[CrfOptions, float]]
    unrefined: float
    num_images: int

    def ranking(self) -> list[tuple[CrfOptions, float]]:
        """Return the tried parameters with their mIoU, the best first."""
        return sorted(self.scores, key=lambda each: -each[1])

    def flags(self) -> str:
        """Return the best parameters as flags."""
        best = self.ranking()[0][0]
        return " ".join(["--crf", *(f"--crf_{name}={getattr(best, name):g}" for name in SEARCHED)])

    def table(self) -> str:
        """Return a table of the tried parameters, the best first."""
        rows = [
            (*(f"{getattr(options, name):g}" for name in SEARCHED), reports.percent(miou))
            for options, miou in self.ranking()
        ]
        return reports.format_table((*SEARCHED, "mIoU"), rows)


def search(
    sizes: Sequence[int], score: Callable[[Sequence[_Place]], Sequence[float]]
) -> dict[_Place, float]:
    """Search for the best place in a grid, coarse to fine.

    Args:
        sizes: Sizes of the grid.
        score: Returns the scores of places; a place has an index for each axis.

    Returns:
        The scores of all places that were tried. These include all neighbors of the best.
    """
    scores: dict[_Place, float] = {}
    places = set(itertools.product(*({0, (size - 1) // 2, size - 1} for size in sizes)))
    steps = [-(-size // 4) for size in sizes]

    def around(center: _Place) -> set[_Place]:
        axes = zip(center, steps, sizes, strict=True)
        return set(
            itertools.product(
                *({max(0, index - s), index, min(size - 1, index + s)} for index, s, size in axes)
            )
        )

    while True:
        new = sorted(places - set(scores))
        scores.update(zip(new, score(new), strict=True))
        best = max(scores, key=scores.get)
        logging.info("the best of %d so far: %.2f %%", len(scores), 100 * scores[best])
        while (places := around(best)) <= set(scores):
            if max(steps) == 1:
                return scores
            steps = [-(-step // 2) for step in steps]
