"""Labels that are drawn from regions."""

import dataclasses

import numpy as np

from deeplab.annotations.shapes import Shape


@dataclasses.dataclass(frozen=True)
class LabeledShape:
    """A shape and its label.

    Args:
        label: The label of its pixels.
        shape: Its pixels.
        place: Where it is written, for messages.
    """

    label: int
    shape: Shape
    place: str


@dataclasses.dataclass(frozen=True)
class Drawing:
    """The label of an image as shapes, in place of a label file.

    Args:
        shapes: The shapes, the lowest first.
        fill: Label of the pixels that no shape covers.
        smaller_on_top: Whether smaller shapes lie on top of larger ones.
        size: Height and width for which it was made; None for any.
        place: Where it is written, for messages.
    """

    shapes: tuple[LabeledShape, ...]
    fill: int
    smaller_on_top: bool
    size: tuple[int, int] | None
    place: str

    def __str__(self) -> str:
        return self.place

    def draw(self, size: tuple[int, int]) -> np.ndarray:
        """Return the label, uint8 [height, width].

        Args:
            size: Height and width of the image.

        Raises:
            ValueError: It was made for another size, or a shape is broken; the message begins with
                the place.
        """
        # The image may be stored on its side.
        if self.size not in (None, size, size[::-1]):
            raise ValueError(
                f"{self.place} is for an image of {self.size[1]}x{self.size[0]} pixels (width x"
                f" height); its image has {size[1]}x{size[0]}"
            )
        height, width = self.size or size
        masks = []
        for shape in self.shapes:
            try:
                masks.append((shape.label, *_cropped(shape.shape.draw(height, width))))
            except ValueError as error:
                raise ValueError(f"{shape.place} {error}") from None
        if self.smaller_on_top:
            masks.sort(key=lambda item: -np.count_nonzero(item[2]))
        label = np.full((height, width), self.fill, np.uint8)
        for value, box, mask in masks:
            label[box][mask] = value
        return label


def _cropped(mask: np.ndarray) -> tuple[tuple[slice, slice], np.ndarray]:
    """Return the box around the pixels of a mask, and what is in it: many whole masks are large."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return (slice(0), slice(0)), mask[:0, :0]
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return box, mask[box].copy()
