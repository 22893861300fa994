"""The few items of many that have the lowest keys."""

import bisect
from collections.abc import Iterator
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


class Lowest(Generic[_Item]):
    """The items with the lowest keys, in order, whatever the order in which they are added."""

    def __init__(self, size: int):
        self._size = size
        self._entries: list[tuple[tuple[float, ...], _Item]] = []

    def admits(self, key: tuple[float, ...]) -> bool:
        """Return whether an item with this key would be kept now."""
        full = len(self._entries) >= self._size
        return self._size > 0 and not (full and key >= self._entries[-1][0])

    def add(self, key: tuple[float, ...], item: _Item) -> None:
        """Add an item that is admitted."""
        place = bisect.bisect_right(self._entries, key, key=lambda entry: entry[0])
        self._entries.insert(place, (key, item))
        del self._entries[self._size :]

    def items(self) -> list[tuple[tuple[float, ...], _Item]]:
        """Return the keys and items."""
        return list(self._entries)

    def __iter__(self) -> Iterator[_Item]:
        return (item for _, item in self._entries)
