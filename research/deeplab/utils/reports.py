"""Tables and JSON files."""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from deeplab.utils import files


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Align columns of text.

    Args:
        header: A title for each column.
        rows: A text for each column.
        left: Number of columns, from the first on, that are aligned to the left; the others are
            aligned to the right.

    Returns:
        A line for the header, a rule and a line for each row.
    """
    lines = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(header))]
    texts = []
    for line in lines:
        cells = (
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        texts.append("  ".join(cells).rstrip())
    texts.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(texts)


def percent(value: float, digits: int = 2) -> str:
    """Return a share in percent, or "-" for NaN."""
    return "-" if math.isnan(value) else f"{100 * value:.{digits}f}"


def write_json(path: str | os.PathLike[str], facts: Mapping[str, Any]) -> None:
    """Write a JSON file atomically, with a line for each field and each list entry.

    Args:
        path: Path of the file; its folder is made if needed.
        facts: Plain values, lists and dicts. NaN and infinity become null.
    """
    fields = []
    for name, value in _without_nan(facts).items():
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        if isinstance(value, list) and value:
            entries = (json.dumps(item, ensure_ascii=False, allow_nan=False) for item in value)
            text = "[\n    " + ",\n    ".join(entries) + "\n  ]"
        fields.append(f"  {json.dumps(name, ensure_ascii=False)}: {text}")
    files.write_text(path, "{\n" + ",\n".join(fields) + "\n}\n")


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
