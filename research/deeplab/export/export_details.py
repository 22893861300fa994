"""The details of an export besides the network and its inference."""

import dataclasses
from collections.abc import Callable, Sequence

from deeplab.datasets.descriptors import DatasetDescriptor
from deeplab.export.photographs import Photograph


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportDetails:
    """The details of an export besides the network and its inference.

    Args:
        descriptor: The dataset that the network was trained on. None: unknown.
        photos: Photographs on which the labels of the export are compared with those of the
            network. None: an ONNX model is compared on drawn images, other exports on noise.
        card: Returns the text of the model card, see `model_card.text`. None: write no card.
    """

    descriptor: DatasetDescriptor | None = None
    photos: Sequence[Photograph] | None = None
    card: Callable[..., str] | None = None
