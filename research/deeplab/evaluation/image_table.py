"""The table of all images of an evaluation, with the metrics of each one, as a CSV file."""

import csv
import dataclasses
import io
import math
import os
from collections.abc import Iterable, Iterator, Sequence

from deeplab.evaluation.evaluator import EvaluatedImage
from deeplab.utils import files

_COLUMNS = ("image", "miou", "accuracy", "pixels")


@dataclasses.dataclass(frozen=True)
class ImageRow:
    """The metrics of an image.

    Args:
        name: Name of the image.
        miou: Its mean IoU; NaN if no pixel is counted.
    """

    name: str
    miou: float


def path(eval_logdir: str, step: int) -> str:
    """Return the path of the table of the evaluation of a step."""
    return os.path.join(eval_logdir, f"eval-{step}-images.csv")


def row(image: EvaluatedImage) -> list[str]:
    """Return the cells of an image, for `write`."""
    result = image.result
    pixels = int(result.label_pixels.sum())
    shares = (result.mean_iou if pixels else math.nan, result.pixel_accuracy)
    return [image.name, *map(_cell, shares), str(pixels), *map(_cell, result.class_iou)]


def parse(row: Sequence[str]) -> ImageRow:
    """Return the metrics in the cells of an image.

    Raises:
        ValueError, IndexError: They are not those of `row`.
    """
    return ImageRow(row[0], float(row[1] or "nan"))


def write(
    path: str | os.PathLike[str], class_names: Sequence[str], rows: Iterable[Sequence[str]]
) -> None:
    """Write a table atomically.

    The columns are `image`, `miou`, `accuracy`, `pixels` and `iou_<name>` for each class. A cell
    is empty where a metric is not defined.

    Args:
        path: The CSV file.
        class_names: A name for each class.
        rows: The row of each image, made by `row`.
    """
    with (
        files.replacing(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*_COLUMNS, *(f"iou_{name}" for name in class_names)])
        writer.writerows(rows)


def read(path: str | os.PathLike[str]) -> Iterator[ImageRow]:
    """Yield the rows of a table.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not a table of images.
    """
    data = files.read_bytes(path)
    try:
        rows = csv.reader(io.StringIO(data.decode(), newline=""))
        if tuple(next(rows, ()))[: len(_COLUMNS)] != _COLUMNS:
            raise ValueError(f"its first columns are not {', '.join(_COLUMNS)}")
        for row in rows:
            yield parse(row)
    except (ValueError, IndexError, csv.Error) as error:
        raise ValueError(f"{path} is not a table of an evaluation's images: {error}") from None


def _cell(value: float) -> str:
    return "" if math.isnan(value) else repr(float(value))
