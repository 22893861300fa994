"""The windows in which large images are predicted."""

import dataclasses
from typing import Annotated

from deeplab.core.options.fields import Range, Size, validate


@dataclasses.dataclass(frozen=True, kw_only=True)
class WindowOptions:
    """A grid of windows over an image; see `core.windows`.

    Example:
        windows = WindowOptions(size=(513, 513), overlap=0.25)

    Raises:
        ValueError: A value is out of range; the message names the flag.
    """

    size: Annotated[Size, "Predict images in windows of this height,width that overlap."] = (
        513,
        513,
    )
    overlap: Annotated[
        float, Range(at_least=0, below=1), "Share of a window that the next one overlaps."
    ] = 0.5

    def __post_init__(self):
        validate(self, flags={"size": "--window", "overlap": "--window_overlap"})

    @property
    def strides(self) -> tuple[int, int]:
        """Steps from window to window, down and to the right, in pixels."""
        down, right = (max(1, round(side * (1 - self.overlap))) for side in self.size)
        return down, right
