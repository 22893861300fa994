"""The parts of an evaluation that several hosts make, as JSON values, and the whole of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from deeplab.core.wording import counted
from deeplab.evaluation.chosen_images import ChosenImages
from deeplab.evaluation.segmentation import SegmentationResult
from deeplab.evaluation.worst_images import WorstImages
from deeplab.sharing.teams import Share, check_same_images


def describe(
    total: int,
    result: SegmentationResult | None,
    rows: Sequence[Sequence[str]],
    chosen: ChosenImages | None,
    worst: WorstImages | None = None,
) -> dict[str, Any]:
    """Return the part of one host.

    Args:
        total: Number of all images.
        result: The metrics of the part; None if it has no image.
        rows: The cells of each image in the table.
        chosen: Images for the report; None: there is no report.
        worst: Images for TensorBoard; None: it shows none.
    """
    return {
        "total": total,
        "result": None if result is None else result.as_lists(),
        "rows": [list(row) for row in rows],
        "chosen": None if chosen is None else chosen.as_lists(),
        "worst": None if worst is None else worst.as_json(),
    }


def merge(
    parts: Sequence[Mapping[str, Any]],
    batch_size: int,
    chosen: ChosenImages | None = None,
    worst: WorstImages | None = None,
) -> tuple[SegmentationResult, list[list[str]]]:
    """Return the metrics of all images, and their rows in the order of the records.

    Args:
        parts: The results of all hosts, in their order.
        batch_size: Images of a batch.
        chosen: The images that the first host chose; those of the others are added.
        worst: The worst images of the first host; those of the others are added.

    Raises:
        ValueError: The hosts do not have the same records.
    """
    totals = [part["total"] for part in parts]
    seen = {host: counted(total, "image") for host, total in enumerate(totals)}
    check_same_images("dataset_dir", seen)
    results = [SegmentationResult.of_lists(part["result"]) for part in parts if part["result"]]
    rows = {}
    for index, part in enumerate(parts):
        numbers = Share(index, len(parts)).numbers(totals[0], batch_size)
        rows |= zip(numbers, part["rows"], strict=True)
        if chosen is not None and index > 0:
            chosen.merge(part["chosen"])
        if worst is not None and index > 0:
            worst.merge(part["worst"])
    whole = results[0]
    for result in results[1:]:
        whole += result
    return whole, [rows[number] for number in sorted(rows)]
