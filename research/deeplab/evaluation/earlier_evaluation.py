"""Compares an evaluation with an earlier one: overall, by class and by image."""

import dataclasses
import math
import os
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from deeplab.evaluation import image_table
from deeplab.utils import file_systems, files

# Differences of the mIoU that are too small to count as better or worse.
_EQUAL = 5e-4


@dataclasses.dataclass(frozen=True)
class ImageChange:
    """The change of the mIoU of an image.

    Args:
        name: The image.
        before: The mIoU in the other evaluation.
        after: The mIoU in this one.
    """

    name: str
    before: float
    after: float


class EarlierEvaluation:
    """The result of another evaluation, and what has changed since then.

    Args:
        path: The other evaluation's `eval.json` or `eval-<step>.json`. Its table of images is
            beside it; without one, images are not compared.
        class_names: The name of each class.
        num_changes: Number of images to keep that got better, and of those that got worse.

    Attributes:
        path: The path of its file, as given.
        facts: The content of the file.
        better: Number of images whose mIoU is higher now, in one decimal of a percent.
        worse: Number of images whose mIoU is lower now.
        equal: Number of the others that are in both evaluations.
        unmatched: Number of images of this evaluation that are not in the other one.
        has_images: Whether images are compared.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not a result of an evaluation, or one with other classes.
    """

    def __init__(self, path: str, class_names: Sequence[str], num_changes: int = 50):
        self.path = path
        self.facts = _read(path, class_names)
        self.better = self.worse = self.equal = self.unmatched = 0
        self._num_changes = num_changes
        self._changes: list[ImageChange] = []
        table = image_table.path(os.path.dirname(path), self.facts["step"])
        self.has_images = file_systems.exists(table)
        # Images may have the same name; then they are compared in their order.
        self._before: dict[str, deque[float]] = {}
        for row in image_table.read(table) if self.has_images else ():
            self._before.setdefault(row.name, deque()).append(row.miou)

    def add(self, image: image_table.ImageRow) -> None:
        """Compare an image with its earlier result."""
        if not self.has_images:
            return
        before = self._before.get(image.name)
        if not before:
            self.unmatched += 1
            return
        change = ImageChange(image.name, before.popleft(), image.miou)
        difference = change.after - change.before
        if not abs(difference) >= _EQUAL:
            self.equal += 1
            return
        if difference > 0:
            self.better += 1
        else:
            self.worse += 1
        self._changes.append(change)
        # Sorting now and then keeps few changes at little cost.
        if len(self._changes) > 8 * self._num_changes:
            self._changes = self.changes()

    def changes(self) -> list[ImageChange]:
        """Return the images that lost most and gained most, from loss to gain."""
        ordered = sorted(self._changes, key=lambda change: change.after - change.before)
        losses = [change for change in ordered if change.after < change.before]
        gains = [change for change in ordered if change.after > change.before]
        return losses[: self._num_changes] + gains[-self._num_changes :]

    def class_iou(self) -> list[float]:
        """Return the other evaluation's IoU of each class."""
        return [_number(each["iou"]) for each in self.facts["classes"]]

    def metric(self, key: str) -> float:
        """Return one of the other evaluation's numbers; NaN if it has none of that name."""
        return _number(self.facts.get(key))


def _number(value: Any) -> float:
    """Return a share of a JSON file, where null is NaN."""
    return float(value) if _is_share(value) else math.nan


def _is_share(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value <= 1


def _read(path: str, class_names: Sequence[str]) -> Mapping[str, Any]:
    flag = f"--compare_with={path}"
    try:
        facts = files.read_json(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{flag} does not exist") from None
    except IsADirectoryError:
        raise ValueError(f"{flag} is a folder: give the eval.json in it") from None
    try:
        known = isinstance(facts["step"], int) and "miou" in facts
        others = [str(each.get("name", each["id"])) for each in facts["classes"]]
        ious = [each["iou"] for each in facts["classes"]]
        known = known and all(iou is None or _is_share(iou) for iou in ious)
    except (TypeError, KeyError, AttributeError):
        known = False
    if not known:
        raise ValueError(f"{flag} is not a result of an evaluation: give its eval.json")
    if others != list(class_names):
        raise ValueError(
            f"{flag} has other classes ({len(others)}: {', '.join(others[:4])}, ...) than the"
            f" dataset ({len(class_names)}: {', '.join(class_names[:4])}, ...)"
        )
    return facts
