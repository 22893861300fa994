"""Fields of JSON and YAML that tools write, read with errors that say where they are."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from deeplab.core.options import fields
from deeplab.core.wording import counted

# Coordinates farther from the origin are a mistake, and would take long to draw.
_FARTHEST = 2**17
# Larger integers are mistakes; most of them do not fit into arrays.
_LARGEST = 2**53


class Entry:
    """An object of a file, and where it is.

    Args:
        value: The object as it was parsed.
        place: Where it is, such as "a.json: shapes[2]".
        nested: Whether it is part of a document rather than the whole document.

    Raises:
        ValueError: It is not an object. All methods raise one that names place and field.
    """

    def __init__(self, value: Any, place: str, nested: bool = False):
        if not isinstance(value, dict):
            raise ValueError(f"{place} is {fields.quoted(value)}; it must be an object")
        self._values = value
        self.place = place
        self._between = "." if nested else ": "

    def get(self, field: str) -> Any:
        """Return a field as it is; None if it is missing."""
        return self._values.get(field)

    def field_names(self) -> list[str]:
        """Return the names of the fields."""
        return [str(field) for field in self._values]

    def texts(self) -> list[str]:
        """Return the values that are strings."""
        return [value for value in self._values.values() if isinstance(value, str)]

    def at(self, field: str) -> str:
        """Return where a field is."""
        return f"{self.place}{self._between}{field}"

    def fault(self, field: str, wanted: str) -> ValueError:
        """Return the error about a field."""
        if self.get(field) is None:
            return ValueError(f"{self.place} has no {field}; it must be {wanted}")
        return ValueError(
            f"{self.at(field)} is {fields.quoted(self.get(field))}; it must be {wanted}"
        )

    def text(self, field: str) -> str:
        """Return a string that is not empty."""
        value = self.get(field)
        if not isinstance(value, str) or not value.strip():
            raise self.fault(field, "a string that is not empty")
        return value

    def name(self, field: str) -> str:
        """Return a name, without white space around it."""
        return self.text(field).strip()

    def integer(self, field: str, low: int = 0) -> int:
        """Return an integer; it may be written with a decimal point, as in 2.0."""
        value = self.get(field)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if type(value) is int and value > _LARGEST:
            raise self.fault(field, f"an integer from {low} to {_LARGEST}")
        if type(value) is not int or value < low:
            raise self.fault(field, f"an integer of at least {low}")
        return value

    def number(self, field: str) -> float:
        """Return a number."""
        value = self.get(field)
        if type(value) not in (int, float) or not abs(value) <= _FARTHEST:
            raise self.fault(field, f"a number from {-_FARTHEST} to {_FARTHEST}")
        return float(value)

    def items(self, field: str) -> list[Any]:
        """Return a list."""
        value = self.get(field)
        if not isinstance(value, list):
            raise self.fault(field, "a list")
        return value

    def entries(self, field: str) -> list["Entry"]:
        """Return a list of objects."""
        place = self.at(field)
        return [Entry(item, f"{place}[{i}]", True) for i, item in enumerate(self.items(field))]

    def entry(self, field: str) -> "Entry":
        """Return an object."""
        return Entry(self.get(field), self.at(field), True)

    def identity(self, field: str) -> int | str:
        """Return an identifier: an integer or a string.

        Tables with missing values write all integers with a decimal point.
        """
        value = self.get(field)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if type(value) not in (int, str):
            raise self.fault(field, "an integer or a string")
        return value


def points(value: Any, place: str, least: int) -> np.ndarray:
    """Return points as float64 [count, 2], in the order x, y.

    Args:
        value: A list of pairs.
        place: Where they are.
        least: How many there must be.

    Raises:
        ValueError: There are fewer, or one is not a pair of finite numbers.
    """
    if not isinstance(value, list) or not all(
        isinstance(point, list) and len(point) == 2 for point in value
    ):
        raise ValueError(f"{place} is {fields.quoted(value)}; it must be a list of points [x, y]")
    return coordinates([number for point in value for number in point], place, least)


def coordinates(values: Sequence[Any], place: str, least: int) -> np.ndarray:
    """Return points as float64 [count, 2], from a list x1, y1, x2, y2, ...; see `points`."""
    for index, value in enumerate(values):
        if type(value) not in (int, float) or not abs(value) <= _FARTHEST:
            raise ValueError(
                f"{place} has the coordinate {fields.quoted(value)} at position {index}; it must be"
                f" a number from {-_FARTHEST} to {_FARTHEST}"
            )
    if len(values) % 2:
        raise ValueError(f"{place} has {counted(len(values), 'number')}; a point has two, x and y")
    if len(values) < 2 * least:
        raise ValueError(
            f"{place} has {counted(len(values) // 2, 'point')}; it takes at least {least}"
        )
    return np.array(values, np.float64).reshape(-1, 2)
