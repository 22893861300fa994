"""Reports of results: tables to read, JSON files, and TensorBoard scalars."""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from deeplab.utils import files


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Aligns columns of text: the first to the left, the others to the right.

    Args:
        header: a title for each column.
        rows: one text for each column.

    Returns:
        A line for the header, a rule and a line for each row.
    """
    lines = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(header))]
    texts = []
    for line in lines:
        first = line[0].ljust(widths[0])
        others = (cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
        texts.append("  ".join([first, *others]).rstrip())
    texts.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(texts)


def percent(value: float, digits: int = 2) -> str:
    """A share as per cent; "-" where there is none (NaN)."""
    return "-" if math.isnan(value) else f"{100 * value:.{digits}f}"


def write_json(path: str | os.PathLike[str], facts: Mapping[str, Any]) -> None:
    """Writes an object as JSON, aside and renamed: a line for each field and each entry of a list.

    Args:
        path: of the file; its folder is made if it is not there.
        facts: plain values, lists and dicts; NaN and infinity become null.
    """
    fields = []
    for name, value in _without_nan(facts).items():
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        if isinstance(value, list) and value:
            entries = (json.dumps(item, ensure_ascii=False, allow_nan=False) for item in value)
            text = "[\n    " + ",\n    ".join(entries) + "\n  ]"
        fields.append(f"  {json.dumps(name, ensure_ascii=False)}: {text}")
    files.write_text(path, "{\n" + ",\n".join(fields) + "\n}\n")


def write_scalars(log_dir: str, scalars: Mapping[str, float], step: int) -> None:
    """Writes scalars to a TensorBoard event file of its own.

    Args:
        log_dir: the folder; made if it is not there.
        scalars: name to value.
        step: the training step that they belong to.
    """
    # Imported here, so that tables and JSON files need no TensorFlow.
    import tensorflow as tf

    writer = tf.summary.create_file_writer(log_dir)
    with writer.as_default(step=step):
        for name, value in scalars.items():
            tf.summary.scalar(name, value)
    writer.close()


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, np.generic):
        return _without_nan(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
