"""The table of all images of an evaluation, with the metrics of each one, as a CSV file."""

import contextlib
import csv
import dataclasses
import io
import math
import os
from collections.abc import Callable, Iterator, Sequence

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


@contextlib.contextmanager
def writing(
    path: str | os.PathLike[str], class_names: Sequence[str]
) -> Iterator[Callable[[EvaluatedImage], None]]:
    """Yield a function that adds the row of an image to a file, which is there when all are added.

    The columns are `image`, `miou`, `accuracy`, `pixels` and `iou_<name>` for each class. A cell
    is empty where a metric is not defined.

    Args:
        path: The CSV file.
        class_names: A name for each class.
    """
    with (
        files.replacing(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*_COLUMNS, *(f"iou_{name}" for name in class_names)])

        def add(image: EvaluatedImage) -> None:
            result = image.result
            pixels = int(result.label_pixels.sum())
            shares = (result.mean_iou if pixels else math.nan, result.pixel_accuracy)
            cells = [*map(_cell, shares), str(pixels), *map(_cell, result.class_iou)]
            writer.writerow([image.name, *cells])

        yield add


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
            yield ImageRow(row[0], float(row[1] or "nan"))
    except (ValueError, IndexError, csv.Error) as error:
        raise ValueError(f"{path} is not a table of an evaluation's images: {error}") from None


def _cell(value: float) -> str:
    return "" if math.isnan(value) else repr(float(value))
