"""A contact sheet of predictions: images spread over a split, on one picture."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from deeplab.utils import save_annotation
from deeplab.visualization import contact_sheet, tiles
from deeplab.visualization.colors import Legend

# How many images a sheet shows.
_IMAGES = 48


class PredictionSheet:
    """Collects small pictures of some images, and writes them as one picture.

    It may be used by several threads.

    Args:
        legend: The classes.
        total: Number of all images; those that are shown are spread evenly over them.

    Example:
        sheet = PredictionSheet(descriptor.legend(), total=len(images))
        for number, (name, image, prediction) in enumerate(predicted):
            sheet.add(number, name, image, None, prediction)
        sheet.write("sheet.png", "step 7 on val")
    """

    def __init__(self, legend: Legend, total: int):
        self._legend = legend
        self._total = total
        self._shown = {int(number) for number in np.linspace(0, total - 1, _IMAGES)}
        self._tiles: dict[int, tiles.Tile] = {}

    def add(
        self,
        number: int,
        name: str,
        image: np.ndarray,
        label: np.ndarray | None,
        prediction: np.ndarray,
    ) -> None:
        """Add an image if the sheet shows it.

        Args:
            number: Its place among all images.
            name: The text below it.
            image: RGB [height, width, 3], 0..255.
            label: Integers [height, width]; None: there is none.
            prediction: Integers [height, width].
        """
        if number in self._shown:
            self._tiles[number] = tiles.draw(image, label, prediction, self._legend, name=name)

    def as_json(self) -> list[dict[str, Any]]:
        """Return the added images as JSON values; see `merge`."""
        return [{"number": number, **tile.as_json()} for number, tile in self._tiles.items()]

    def merge(self, other: Iterable[Mapping[str, Any]]) -> None:
        """Add the images of another sheet, from its `as_json`."""
        for each in other:
            self._tiles[each["number"]] = tiles.Tile.of_json(each)

    def write(self, path: str, title: str) -> None:
        """Write the picture atomically.

        Args:
            path: The PNG file.
            title: Beginning of the caption.

        Raises:
            OSError: The file cannot be written.
        """
        shown = [self._tiles[number] for number in sorted(self._tiles)]
        parts = max((tile.parts for tile in shown), key=len, default=())
        caption = f"{title}, {len(shown)} of {self._total} images: {', '.join(parts)}"
        sheet = contact_sheet.draw([(caption, shown)], self._legend)
        save_annotation.write_png(path, sheet)
