"""The worst images of an evaluation, as pictures for TensorBoard."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from deeplab.datasets.descriptors import DatasetDescriptor
from deeplab.evaluation.evaluator import EvaluatedImage
from deeplab.evaluation.lowest import Lowest
from deeplab.utils import reports
from deeplab.visualization import contact_sheet, tiles

# Pixels of the longer side of an image.
_SIZE = 320


class WorstImages:
    """Keeps the images with the lowest mIoU while images are evaluated.

    Images whose pixels are all ignored do not count.

    Args:
        descriptor: The dataset.
        count: Number of images to keep.
        numbers: The places of the images among the records, in the order in which they are added.

    Example:
        worst = WorstImages(descriptor, 4, range(len(records)))
        result = evaluator.evaluate(observers=[worst.add])
        pictures = worst.pictures()
    """

    def __init__(self, descriptor: DatasetDescriptor, count: int, numbers: Iterable[int]):
        self._legend = descriptor.legend()
        self._lowest: Lowest[tiles.Tile] = Lowest(count)
        self._numbers = iter(numbers)

    def add(self, image: EvaluatedImage) -> None:
        """Look at an image."""
        key = (image.result.mean_iou, next(self._numbers))
        if not image.result.label_pixels.any() or not self._lowest.admits(key):
            return
        name = f"{image.name}: mIoU {reports.percent(image.result.mean_iou)} %"
        tile = tiles.draw(
            *(image.image, image.label, image.prediction, self._legend),
            size=_SIZE,
            name=name,
        )
        self._lowest.add(key, tile)

    def as_json(self) -> list[dict[str, Any]]:
        """Return the kept images as JSON values; see `merge`."""
        return [{"key": list(key), **tile.as_json()} for key, tile in self._lowest.items()]

    def merge(self, other: Iterable[Mapping[str, Any]]) -> None:
        """Add images that another object has kept, from its `as_json`."""
        for each in other:
            if self._lowest.admits(key := tuple(each["key"])):
                self._lowest.add(key, tiles.Tile.of_json(each))

    def pictures(self) -> list[np.ndarray]:
        """Return a picture of each image, uint8 [height, width, 3], RGB, the worst first.

        It shows image, label, prediction and errors, with a legend.
        """
        return [
            contact_sheet.draw([(", ".join(tile.parts), [tile])], self._legend)
            for tile in self._lowest
        ]
