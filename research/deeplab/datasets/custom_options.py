"""The options of build_custom_data."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Annotated

from deeplab.annotations import class_table
from deeplab.core.options import fields
from deeplab.datasets import descriptors, source_files
from deeplab.datasets.split_fractions import Division, parse_fractions

# Label files have 8 or 16 bits.
_MAX_STORED = 65535
StoredValue = Annotated[int, fields.Range(at_least=0, at_most=_MAX_STORED)]


@dataclasses.dataclass(frozen=True)
class CustomOptions:
    """The flags of build_custom_data of the same names, which say what they mean."""

    output_dir: str
    image_folder: str | None = None
    image_format: str | None = None
    annotations: str | None = None
    annotation_format: str | None = None
    label_folder: str | None = None
    label_suffix: str = ""
    list_folder: str | None = None
    split: Sequence[str] = ()
    split_fractions: Sequence[str] = ()
    seed: int = 0
    group_by: str | None = None
    descriptor: str | None = None
    num_classes: int | None = None
    class_names: Sequence[str] | None = None
    class_map: Sequence[str] = ()
    background: bool = True
    ignore_label: int = 255
    colormap: str | None = None
    nearest_color: float | None = None
    label_map: Sequence[str] = ()
    threshold: int | None = None
    write_label_images: str | None = None
    num_shards: int = 4
    num_processes: int | None = None

    @property
    def descriptor_path(self) -> str:
        """The file of the descriptor.

        Raises:
            ValueError: Its name does not end in .json.
        """
        path = self.descriptor or os.path.join(self.output_dir, "dataset.json")
        if not path.endswith(".json"):
            raise ValueError(f"--descriptor is {path}; the file's name must end in .json")
        return path

    @property
    def extensions(self) -> tuple[str, ...]:
        """Extensions of the images."""
        if self.image_format:
            return (f".{self.image_format.lower().removeprefix('.')}",)
        return source_files.IMAGE_EXTENSIONS

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of --class_names; None without them."""
        return tuple(name.strip() for name in self.class_names) if self.class_names else None

    @property
    def rules(self) -> class_table.ClassRules:
        """How names become classes."""
        class_map = class_table.parse_class_map(self.class_map)
        return class_table.ClassRules(self.names, class_map, self.background, self.ignore_label)

    @property
    def division(self) -> Division | None:
        """How images are divided at random; None: they are not."""
        if not self.split_fractions:
            if self.group_by:
                raise ValueError("--group_by needs --split_fractions")
            return None
        fractions = parse_fractions(self.split_fractions)
        return Division(fractions, self.seed, self.group_by)


def parse_label_map(entries: Sequence[str]) -> dict[int, int]:
    """Return the replacements of `--label_map`.

    Raises:
        ValueError: An entry is not <value>:<label>.
    """
    label_map = {}
    for entry in entries:
        value, _, label = entry.partition(":")
        try:
            label_map[fields.convert(StoredValue, int(value))] = fields.convert(
                descriptors.Label, int(label)
            )
        except ValueError:
            raise ValueError(
                f"--label_map has {entry!r}; it takes <value>:<label>, such as 255:1, with values"
                f" of 0 to {_MAX_STORED} and labels of 0 to {descriptors.MAX_LABEL}"
            ) from None
    return label_map
