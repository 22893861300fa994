"""The options that the converters of users' datasets share."""

import dataclasses
from typing import Annotated

from deeplab.core.options import fields
from deeplab.datasets import descriptors

# Label files have 8 or 16 bits.
_MAX_STORED = 65535
StoredValue = Annotated[int, fields.Range(at_least=0, at_most=_MAX_STORED)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConverterOptions:
    """The folder of the records, and the labels in them.

    Raises:
        ValueError: A value is out of range; the message names the flag.
    """

    output_dir: Annotated[str | None, "Folder of the TFRecords and of dataset.json."] = None
    num_classes: Annotated[
        descriptors.NumClasses | None,
        "Number of classes, including the background, not the ignore label. Default: that of their"
        " names.",
    ] = None
    class_names: Annotated[
        fields.Texts | None, "Names of the labels 0, 1, 2, ..., after --label_map."
    ] = None
    ignore_label: Annotated[
        descriptors.Label, "Label of pixels that are left out of training and evaluation."
    ] = 255
    label_map: Annotated[
        fields.Texts | None,
        "Label values to replace: <value>:<label>, separated by commas, such as 255:1,128:0.",
    ] = None
    num_shards: Annotated[
        int, fields.Range(at_least=1, at_most=999), "Number of files per split."
    ] = 4

    def __post_init__(self):
        fields.validate(self)

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of --class_names; None without them.

        Raises:
            ValueError: A name is there twice.
        """
        if not self.class_names:
            return None
        names = tuple(name.strip() for name in self.class_names)
        for place, name in enumerate(names):
            if name and name in names[:place]:
                raise ValueError(f"--class_names={','.join(self.class_names)} has {name!r} twice")
        return names

    @property
    def replacements(self) -> dict[int, int]:
        """The label for each value that --label_map replaces.

        Raises:
            ValueError: An entry is not <value>:<label>, or a value has two labels.
        """
        label_map = {}
        for entry in self.label_map or ():
            value, _, label = entry.partition(":")
            try:
                value = fields.convert(StoredValue, int(value))
                label = fields.convert(descriptors.Label, int(label))
            except ValueError:
                raise ValueError(
                    f"--label_map has {entry!r}; it takes <value>:<label>, such as 255:1, with"
                    f" values of 0 to {_MAX_STORED} and labels of 0 to {descriptors.MAX_LABEL}"
                ) from None
            if label_map.setdefault(value, label) != label:
                raise ValueError(
                    f"--label_map gives the value {value} two labels: {entry!r} is another"
                )
        return label_map
