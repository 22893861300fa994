"""Facts about a network that an export which is a single file states: its classes, its input.

The formats have no field for these facts. They are JSON: in a frozen graph an attribute of the
input, in a TensorFlow Lite model an appended file, and in an ONNX model a metadata property.
"""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from deeplab import model
from deeplab.core import json_text
from deeplab.core.options.fields import NumClasses, validate
from deeplab.datasets import descriptors

# Name of the attribute, the file and the property.
NAME = "deeplab"

Color = tuple[float, float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkFacts:
    """Facts that a client needs besides the graph of a network.

    Args:
        num_classes: The number of classes.
        mean_pixel: Color of the padding, 0..255.
        descriptor: The dataset that it was trained on, if it is known.
        pixel_scale: Factor of each color of a pixel, 0..255, for an input that is preprocessed
            pixels. None: the input is pixels.
        pixel_offset: Offset of each color, which is added to the product.

    Raises:
        ValueError: A value has another type or is out of range.
    """

    num_classes: NumClasses
    mean_pixel: Color = (127.5, 127.5, 127.5)
    descriptor: descriptors.DatasetDescriptor | None = None
    pixel_scale: Color | None = None
    pixel_offset: Color | None = None

    def __post_init__(self):
        validate(self, flags={field.name: field.name for field in dataclasses.fields(self)})
        if (self.pixel_scale is None) != (self.pixel_offset is None):
            raise ValueError("pixel_scale and pixel_offset are given together")

    def replace(self, **changes: Any) -> "NetworkFacts":
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_json(self) -> str:
        """Return the facts as a JSON object, without the fields that are None."""
        values = {name: value for name, value in vars(self).items() if value is not None}
        if self.descriptor:
            values["descriptor"] = json.loads(self.descriptor.to_json())
        return json.dumps(values)


def of_network(
    net: model.DeepLab, descriptor: descriptors.DatasetDescriptor | None
) -> NetworkFacts:
    """Return the facts of a network whose graph takes pixels.

    Args:
        net: The network.
        descriptor: The dataset that it was trained on.
    """
    return NetworkFacts(
        num_classes=net.options.num_classes,
        mean_pixel=net.preprocessing().mean_pixel,
        descriptor=descriptor,
    )


def parse(text: str | bytes, source: str) -> NetworkFacts:
    """Return the facts that `to_json` wrote.

    Args:
        text: The text.
        source: Its file and place, for messages.

    Raises:
        ValueError: The text is damaged.
    """
    values = json_text.parse(text, source)
    try:
        if described := values.get("descriptor"):
            values["descriptor"] = descriptors.from_values(described, source)
        return NetworkFacts(**values)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{source} is damaged: {error}") from None


def of_shapes(scores: Sequence[int | None] | None, path: str) -> NetworkFacts:
    """Return the facts about a file that states none, from the shape of its scores.

    Args:
        scores: Shape of the logits or probabilities, the classes last. None: unknown.
        path: The file, for messages.

    Raises:
        ValueError: The number of classes is unknown.
    """
    count = scores[-1] if scores else None
    if not isinstance(count, int) or count < 2:
        raise ValueError(
            f"--export_path={path} does not say how many classes there are: make it again, with"
            " deeplab-export-model or deeplab-convert-to-tflite"
        )
    return NetworkFacts(num_classes=count)
