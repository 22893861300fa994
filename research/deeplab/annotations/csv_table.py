"""A table of images and label files: CSV with the columns `image`, `label` and perhaps `split`."""

import csv
import io
import os
from collections.abc import Iterator

from deeplab.annotations import lists
from deeplab.annotations.values import AnnotatedImage, Annotations, ReaderInput
from deeplab.core.wording import counted
from deeplab.utils import files

COLUMNS = ("image", "label")
_SPLIT = "split"


def header(first_line: str) -> list[str]:
    """Return the names of the columns; none of a line that is not CSV."""
    try:
        row = next(csv.reader([first_line.removeprefix("\ufeff")]), [])
    except csv.Error:
        return []
    return [name.strip().lower() for name in row]


def read(request: ReaderInput) -> Annotations:
    """Read a table.

    Images are relative to --image_folder, labels to --label_folder, or to the folder of the table.
    A label may be left out: such an image can only be in a test split.

    Raises:
        ValueError: A row is malformed, or an image is there twice; the message names the row.
        FileNotFoundError: An image is missing.
    """
    path = request.path
    # Refuses other encodings.
    lists.read(path)
    text = files.read_bytes(path).decode("utf-8-sig")
    columns = header(next(iter(text.splitlines()), ""))
    if not set(COLUMNS) <= set(columns):
        raise ValueError(f"{path}, line 1: the columns are {columns}; it needs image and label")
    for name in (*COLUMNS, _SPLIT):
        if columns.count(name) > 1:
            raise ValueError(f"{path}, line 1: there are {columns.count(name)} columns {name}")
    label_folder = request.label_folder or os.path.dirname(path)
    by_path: dict[str, AnnotatedImage] = {}
    splits: dict[str, list[str]] = {}
    for place, row in _rows(text, path):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(columns):
            raise ValueError(
                f"{place} has {counted(len(row), 'column')}; the first line has {len(columns)}"
            )
        values = dict(zip(columns, (cell.strip() for cell in row), strict=True))
        if not values["image"]:
            raise ValueError(f"{place} names no image")
        found = _image(request, values["image"], place)
        mask = _mask(label_folder, values["label"]) if values["label"] else None
        image = AnnotatedImage(found, place, mask=mask)
        if (other := by_path.setdefault(found, image)) is not image:
            raise ValueError(f"{place} names the image {values['image']} of {other.place} again")
        if _SPLIT in columns:
            split = values[_SPLIT]
            if not split or lists.split_name_fault(split):
                fault = lists.split_name_fault(split) if split else "is missing"
                raise ValueError(f"{place}: the split's name {fault}")
            splits.setdefault(split, []).append(found)
    if not by_path:
        raise ValueError(f"{path} has no images")
    return Annotations(tuple(by_path.values()), splits=splits or None, label_files=True)


def _rows(text: str, path: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the place and the cells of each row after the first."""
    rows = csv.reader(io.StringIO(text, newline=""))
    last = 0
    try:
        next(rows, None)
        last = rows.line_num
        for row in rows:
            last = rows.line_num
            yield f"{path}, line {last}", row
    except csv.Error as error:  # Such as a quotation mark that is never closed.
        raise ValueError(f"{path}, line {last + 1} is not CSV: {error}") from None


def _mask(folder: str, name: str) -> str:
    """Return the label file of a row, whose path may be one of Windows."""
    path = os.path.join(folder, name)
    return path if os.path.isfile(path) else os.path.join(folder, name.replace("\\", "/"))


def _image(request: ReaderInput, name: str, place: str) -> str:
    """Return the image of a row, which is a path in the folder of the images."""
    path = os.path.normpath(os.path.join(request.index().folder, name))
    return path if os.path.isfile(path) else request.index().require(name, place)
