"""Chooses images, confusions and labels that may be wrong for the report of an evaluation."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import cv2
import numpy as np

from deeplab.datasets.descriptors import DatasetDescriptor
from deeplab.evaluation import boundary
from deeplab.evaluation.evaluator import EvaluatedImage
from deeplab.evaluation.lowest import Lowest
from deeplab.evaluation.segmentation import SegmentationResult
from deeplab.visualization import thumbnails

# Pairs of classes, and labels that may be wrong, that a report shows.
NUM_CONFUSIONS = NUM_SUSPECTS = 12
# A label may be wrong where the network is at least so sure of another class, away from borders.
SUSPECT_CONFIDENCE = 0.9
SUSPECT_DISTANCE = 5
# Pairs of classes whose examples are kept while it is not known which are confused most.
_KEPT_CONFUSIONS = 64
# Bytes of all images of a report, of one image, and of the text beside it.
_ALL_BYTES, _IMAGE_BYTES, _TEXT_BYTES = 4_000_000, 60_000, 2_200


@dataclasses.dataclass(frozen=True, eq=False)
class ChosenImage:
    """An image that a report shows.

    Args:
        number: Its place among the records.
        name: Its name.
        layers: Its pictures.
        result: Its metrics.
    """

    number: int
    name: str
    layers: thumbnails.Layers
    result: SegmentationResult


@dataclasses.dataclass(frozen=True)
class Disagreement:
    """A part of an image where prediction and label differ.

    Args:
        image: Name of the image.
        number: The place of the image among the records.
        label: The class in the label.
        prediction: The predicted class.
        pixels: Its size.
        confidence: Mean probability of the predicted class.
        picture: A `data:` URI of it and what surrounds it.
    """

    image: str
    number: int
    label: int
    prediction: int
    pixels: int
    confidence: float
    picture: str


class ChosenImages:
    """Chooses examples while images are evaluated, and keeps no more than a report needs.

    Args:
        descriptor: The dataset.
        num_images: How many images to keep: half of them the worst, half the best by mIoU; and in
            addition the worst and the best one of each class. 0: none.
        total: Number of images that are evaluated, on all hosts.
        numbers: The places of the images among the records, in the order in which they are added.
            None: 0, 1, ...

    Example:
        chosen = ChosenImages(descriptor, 24, total=len(records))
        result = evaluator.evaluate(observers=[chosen.add], confidence=True)
        for image in chosen.images()["worst"]: ...
    """

    def __init__(
        self,
        descriptor: DatasetDescriptor,
        num_images: int,
        total: int,
        numbers: Iterable[int] | None = None,
    ):
        self._legend = descriptor.legend()
        classes = descriptor.num_classes
        num_images = min(num_images, total)
        self._worst: Lowest[ChosenImage] = Lowest(-(-num_images // 2))
        self._best: Lowest[ChosenImage] = Lowest(num_images // 2)
        per_class = int(num_images > 0)
        self._of_class: list[tuple[Lowest[ChosenImage], Lowest[ChosenImage]]] = [
            (Lowest(per_class), Lowest(per_class)) for _ in range(classes)
        ]
        most = max(1, min(total, num_images + 2 * classes))
        self._image_bytes = min(_IMAGE_BYTES, _ALL_BYTES // most - _TEXT_BYTES)
        self._confused = np.zeros((classes, classes), np.int64)
        self._regions: dict[tuple[int, int], Disagreement] = {}
        self._suspects: Lowest[Disagreement] = Lowest(NUM_SUSPECTS)
        self._numbers = iter(itertools.count() if numbers is None else numbers)

    def add(self, image: EvaluatedImage) -> None:
        """Look at an image, which knows its confidence."""
        number = next(self._numbers)
        # An image whose pixels are all ignored tells nothing.
        if image.result.label_pixels.any():
            self._add_example(image, number)
            self._add_confusions(image, number)
            self._add_suspect(image, number)

    def as_lists(self) -> dict[str, Any]:
        """Return the chosen images as JSON values; see `merge`."""
        keys = [[key for key, _ in each.items()] for each in self._lists()]
        chosen = {example.number: example for each in self._lists() for example in each}
        return {
            "keys": keys,
            "examples": [
                {**dataclasses.asdict(each.layers), "number": each.number, "name": each.name}
                | each.result.as_lists()
                for each in chosen.values()
            ],
            "confused": self._confused.tolist(),
            "regions": [dataclasses.asdict(each) for each in self._regions.values()],
            "suspects": [dataclasses.asdict(each) for each in self._suspects],
        }

    def merge(self, lists: Mapping[str, Any]) -> None:
        """Add the choice of another object among other images, from its `as_lists`."""
        examples = {}
        for each in lists["examples"]:
            layers = thumbnails.Layers(tuple(each["uris"]), each["width"], each["height"])
            result = SegmentationResult.of_lists(each)
            examples[each["number"]] = ChosenImage(each["number"], each["name"], layers, result)
        for own, keys in zip(self._lists(), lists["keys"], strict=True):
            for key in map(tuple, keys):
                if own.admits(key):
                    own.add(key, examples[key[-1]])
        self._confused += np.array(lists["confused"], np.int64)
        for region in (Disagreement(**each) for each in lists["regions"]):
            self._add_region(region)
        for region in (Disagreement(**each) for each in lists["suspects"]):
            self._suspects.add((-region.pixels, region.number), region)

    def _lists(self) -> list[Lowest[ChosenImage]]:
        return [self._worst, self._best, *itertools.chain(*self._of_class)]

    def images(self) -> dict[str, list[ChosenImage]]:
        """Return the chosen images by list: `worst`, `best`, and `class-<i>`: worst and best."""
        lists = {"worst": list(self._worst), "best": list(self._best)}
        for index, (worst, best) in enumerate(self._of_class):
            lists[f"class-{index}"] = list(
                {example.number: example for example in itertools.chain(worst, best)}.values()
            )
        return lists

    def confusions(self) -> list[tuple[int, int, int, Disagreement | None]]:
        """Return the largest confusions: label, prediction, pixels, and an example of it."""
        pairs = _largest(self._confused, NUM_CONFUSIONS)
        return [(*pair, int(self._confused[pair]), self._regions.get(pair)) for pair in pairs]

    def suspects(self) -> list[Disagreement]:
        """Return the largest regions whose label may be wrong, at most one of an image."""
        return list(self._suspects)

    def _add_example(self, image: EvaluatedImage, number: int) -> None:
        result, wanted = image.result, []
        wanted.append((self._worst, (result.mean_iou, number)))
        wanted.append((self._best, (-result.mean_iou, number)))
        pixels = result.label_pixels + result.predicted_pixels
        for index in np.flatnonzero(result.label_pixels):
            # If two images miss a class altogether, the one where the class is larger tells more.
            worst, best = self._of_class[index]
            iou, larger = float(result.class_iou[index]), -int(pixels[index])
            wanted.append((worst, (iou, larger, number)))
            wanted.append((best, (-iou, larger, number)))
        wanted = [(each, key) for each, key in wanted if each.admits(key)]
        if not wanted:
            return
        layers = thumbnails.layers(
            image.image,
            image.label,
            image.prediction,
            self._legend,
            self._image_bytes,
        )
        example = ChosenImage(number, image.name, layers, result)
        for each, key in wanted:
            each.add(key, example)

    def _add_confusions(self, image: EvaluatedImage, number: int) -> None:
        confused = image.result.confusion_matrix * ~np.eye(len(self._confused), dtype=bool)
        self._confused += confused
        kept = set(_largest(self._confused, _KEPT_CONFUSIONS))
        for pair in list(self._regions):
            if pair not in kept:
                del self._regions[pair]
        for pair in _largest(confused, _KEPT_CONFUSIONS):
            known = self._regions.get(pair)
            # No part of the image can be larger than all its confused pixels.
            if pair in kept and (known is None or confused[pair] > known.pixels):
                mask = (image.label == pair[0]) & (image.prediction == pair[1])
                part = _largest_part(mask)
                if known is None or int(part.sum()) > known.pixels:
                    self._add_region(_region(image, number, pair, part))

    def _add_region(self, region: Disagreement) -> None:
        """Keep the largest region of its pair of classes; of equal ones the first."""
        known = self._regions.get(pair := (region.label, region.prediction))
        if known is None or (-region.pixels, region.number) < (-known.pixels, known.number):
            self._regions[pair] = region

    def _add_suspect(self, image: EvaluatedImage, number: int) -> None:
        ignored = image.label == self._legend.ignore_label
        doubtful = (image.label != image.prediction) & ~ignored
        doubtful &= image.confidence >= SUSPECT_CONFIDENCE
        if not doubtful.any():
            return
        # Ignored pixels part objects as borders do.
        doubtful &= boundary.border_distance(image.label) > SUSPECT_DISTANCE
        if not doubtful.any() or not self._suspects.admits((-int(doubtful.sum()), number)):
            return
        part = _largest_part(doubtful)
        classes = len(self._confused)
        codes = image.label[part].astype(np.int64) * classes + image.prediction[part]
        pair = divmod(int(np.bincount(codes).argmax()), classes)
        part &= (image.label == pair[0]) & (image.prediction == pair[1])
        key = (-int(part.sum()), number)
        if self._suspects.admits(key):
            self._suspects.add(key, _region(image, number, pair, part))


def _region(
    image: EvaluatedImage, number: int, pair: tuple[int, int], mask: np.ndarray
) -> Disagreement:
    picture = thumbnails.outlined(image.image, mask)
    confidence = float(image.confidence[mask].mean(dtype=np.float64))
    return Disagreement(image.name, number, *pair, int(mask.sum()), confidence, picture)


def _largest(counts: np.ndarray, number: int) -> list[tuple[int, int]]:
    """Return the places of the largest counts above 0, the largest first, then by place."""
    flat = counts.ravel()
    order = np.argsort(-flat, kind="stable")[:number]
    return [divmod(int(index), counts.shape[1]) for index in order if flat[index] > 0]


def _largest_part(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected part of a mask that is not empty."""
    _, parts, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return parts == 1 + int(statistics[1:, cv2.CC_STAT_AREA].argmax())
