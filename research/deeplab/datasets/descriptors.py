"""Descriptors of datasets: classes, ignore label and splits; built in or from a JSON file."""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np

from deeplab.core.options.fields import Range, quoted
from deeplab.core.wording import counted, with_article
from deeplab.utils import file_systems, files, get_dataset_colormap
from deeplab.visualization import colors

# Labels are stored as 8-bit PNG files.
MAX_LABEL = 255
Label = Annotated[int, Range(at_least=0, at_most=MAX_LABEL)]
NumClasses = Annotated[int, Range(at_least=2, at_most=MAX_LABEL + 1)]
_MOST_IMAGES = 10**12

_FINE = "_fine"

# Color of pixels without a class in pictures of labels.
_NO_CLASS = (224, 224, 192)

# The official color map of a built-in dataset, by the dataset's name.
_COLORMAPS = {"ade20k": "ade20k", "cityscapes": "cityscapes", "pascal_voc_seg": "pascal"}


@dataclasses.dataclass(frozen=True)
class DatasetDescriptor:
    """Describes a dataset. Its tuples may be given as lists.

    Args:
        name: Name of the dataset.
        num_classes: Number of classes, with the background, without the ignore label (unless that
            is the label of a class, as in ADE20K).
        ignore_label: Label of the pixels that are left out of the loss and of the metrics.
        splits_to_sizes: Number of images of each split, as far as it is known. Splits that are
            not listed can be used too.
        class_names: A name for each label 0, 1, ..., or None.
        colormap: A color (red, green, blue), 0..255, for each label, or None.
        train_id_to_eval_id: For each label the one that an evaluation server expects, or None.
        categories: For each label the name of the category that its class belongs to, or None if
            it belongs to none; or None.

    Raises:
        ValueError: A field has a wrong type or value; the message names the field.

    Example:
        roofs = DatasetDescriptor("roofs", num_classes=3, ignore_label=255)
        roofs.save("roofs.json")  # --dataset=roofs.json

    Reference: official `data_generator.DatasetDescriptor`.
    """

    name: str
    num_classes: int
    ignore_label: int
    splits_to_sizes: dict[str, int] = dataclasses.field(default_factory=dict, hash=False)
    class_names: tuple[str, ...] | None = None
    colormap: tuple[tuple[int, int, int], ...] | None = None
    train_id_to_eval_id: tuple[int, ...] | None = None
    categories: tuple[str | None, ...] | None = None

    def __post_init__(self):
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"name is {quoted(self.name)}; it must be a non-empty string")
        _check_integer("num_classes", self.num_classes, 2, MAX_LABEL + 1)
        _check_integer("ignore_label", self.ignore_label, 0, MAX_LABEL)
        self._check_splits()
        self._set_tuple("class_names", _class_name, exact=True)
        self._set_tuple("colormap", _color, exact=False)
        self._set_tuple("train_id_to_eval_id", _eval_id, exact=True)
        self._set_tuple("categories", _category, exact=True)

    def _check_splits(self) -> None:
        if not isinstance(self.splits_to_sizes, Mapping):
            raise ValueError(
                f"splits_to_sizes is {quoted(self.splits_to_sizes)}; it must map names of splits to"
                " numbers of images"
            )
        for split, size in self.splits_to_sizes.items():
            _check_integer(f"splits_to_sizes[{split!r}]", size, 0, _MOST_IMAGES)

    def _set_tuple(self, field: str, convert: Callable[[str, Any], Any], *, exact: bool) -> None:
        """Check a field that has one entry per class, and make a tuple of it."""
        values = getattr(self, field)
        if values is None:
            return
        if isinstance(values, str) or not isinstance(values, Sequence):
            raise ValueError(
                f"{field} is {quoted(values)}; it must be a list with one entry per class"
            )
        if len(values) < self.num_classes or (exact and len(values) > self.num_classes):
            raise ValueError(
                f"{field} has {counted(len(values), 'entry')} for {self.num_classes} classes"
                " (num_classes)"
            )
        converted = tuple(convert(f"{field}[{i}]", value) for i, value in enumerate(values))
        object.__setattr__(self, field, converted)

    def is_label(self, value: int) -> bool:
        """Return whether `value` is the label of a class or the ignore label."""
        return 0 <= value < self.num_classes or value == self.ignore_label

    def labels(self) -> tuple[str, ...]:
        """Return the name of each class; its number if the classes have no names."""
        return self.class_names or tuple(map(str, range(self.num_classes)))

    def split_names(self, split: str) -> tuple[str, ...]:
        """Return the names that the files of a split may begin with, the most likely first.

        There are two in a dataset with fine and coarse labels, such as Cityscapes: the split
        `train_fine` is also called `train`, in flags and in file names.
        """
        if not any(name.endswith(_FINE) for name in self.splits_to_sizes):
            return (split,)
        fine = split if split.endswith(_FINE) else split + _FINE
        short = fine.removesuffix(_FINE)
        if fine not in self.splits_to_sizes or short in self.splits_to_sizes:
            return (split,)
        return (split, short if split == fine else fine)

    def split_size(self, split: str) -> int | None:
        """Return the number of images of a split, by any of its names; None if it is unknown."""
        for name in self.split_names(split):
            if name in self.splits_to_sizes:
                return self.splits_to_sizes[name]
        return None

    def label_colors(self) -> np.ndarray:
        """Return the color of each label.

        These are the descriptor's own colors if it has some, else the official map of a built-in
        dataset, else generated colors, where a class 0 that is named "background" is black.

        Returns:
            uint8 [entries, 3], RGB, at least one entry for each class.
        """
        if self.colormap is not None:
            return np.array(self.colormap, np.uint8)
        if self.name in _COLORMAPS:
            return get_dataset_colormap.create_label_colormap(_COLORMAPS[self.name])
        names = self.class_names
        background = bool(names) and names[0].strip().lower() == "background"
        return colors.distinct_colors(self.num_classes, background=background)

    def legend(self) -> colors.Legend:
        """Return how pictures show the labels."""
        return colors.Legend(self.label_colors(), self.class_names, self.ignore_label)

    def palette(self) -> np.ndarray:
        """Return the colors of a picture of labels: those of the classes, and a light one.

        The light color is that of all other values, the ignore label among them.

        Returns:
            uint8 [256, 3], RGB.
        """
        palette = np.full((MAX_LABEL + 1, 3), _NO_CLASS, np.uint8)
        classes = self.label_colors()[: self.num_classes]
        palette[: len(classes)] = classes
        return palette

    def to_json(self) -> str:
        """Return the descriptor as a JSON object, without the fields that are None."""
        fields = dataclasses.asdict(self)
        lines = [
            f"  {json.dumps(field)}: {json.dumps(value)}"
            for field, value in fields.items()
            if value is not None
        ]
        return "{\n" + ",\n".join(lines) + "\n}\n"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the JSON file that `load` reads."""
        files.write_text(path, self.to_json())


def _check_integer(field: str, value: Any, low: int, high: int) -> None:
    # JSON's true is a bool, which Python takes for an integer.
    right_type = isinstance(value, int) and not isinstance(value, bool)
    if not right_type or not low <= value <= high:
        raise ValueError(f"{field} is {quoted(value)}; it must be an integer from {low} to {high}")


def _class_name(field: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{field} is {quoted(value)}; it must be a non-empty string")
    if len(value.splitlines()) > 1 or value[-1] in "\r\n":
        raise ValueError(f"{field} is {quoted(value)}; it must be one line")
    return value


def _category(field: str, value: Any) -> str | None:
    return None if value is None else _class_name(field, value)


def _color(field: str, value: Any) -> tuple[int, int, int]:
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 3:
        raise ValueError(f"{field} is {quoted(value)}; it must be a color [red, green, blue]")
    for channel in value:
        _check_integer(field, channel, 0, 255)
    red, green, blue = value
    return red, green, blue


def _eval_id(field: str, value: Any) -> int:
    _check_integer(field, value, 0, MAX_LABEL)
    return value


def _names(text: str) -> tuple[str, ...]:
    """Return the class names of a list that is separated by commas."""
    return tuple(name.strip() for name in text.split(","))


# Sizes, classes and ignore labels are those of the official `data_generator`.
_BUILT_IN = {
    "pascal_voc_seg": DatasetDescriptor(
        name="pascal_voc_seg",
        num_classes=21,
        ignore_label=255,
        splits_to_sizes={"train": 1464, "train_aug": 10582, "trainval": 2913, "val": 1449},
        class_names=_names(
            "background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow,"
            " diningtable, dog, horse, motorbike, person, pottedplant, sheep, sofa, train,"
            " tvmonitor"
        ),
    ),
    "cityscapes": DatasetDescriptor(
        name="cityscapes",
        num_classes=19,
        ignore_label=255,
        splits_to_sizes={
            "train_fine": 2975,
            "train_coarse": 22973,
            "trainval_fine": 3475,
            "trainval_coarse": 23473,
            "val_fine": 500,
            "test_fine": 1525,
        },
        class_names=_names(
            "road, sidewalk, building, wall, fence, pole, traffic light, traffic sign,"
            " vegetation, terrain, sky, person, rider, car, truck, bus, train, motorcycle,"
            " bicycle"
        ),
        train_id_to_eval_id=(
            *(7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33),
        ),
        categories=(
            *("flat", "flat", "construction", "construction", "construction"),
            *("object", "object", "object", "nature", "nature", "sky", "human", "human"),
            *("vehicle", "vehicle", "vehicle", "vehicle", "vehicle", "vehicle"),
        ),
    ),
    # Label 0 is everything without a class; the official code counts it as a class and ignores it.
    "ade20k": DatasetDescriptor(
        name="ade20k",
        num_classes=151,
        ignore_label=0,
        splits_to_sizes={"train": 20210, "val": 2000},
    ),
}
NAMES = tuple(_BUILT_IN)


def load(name_or_path: str) -> DatasetDescriptor:
    """Return a built-in descriptor by its name, or read one from a JSON file.

    Args:
        name_or_path: One of `NAMES`, or the path of a file whose name ends in `.json`.

    Returns:
        The descriptor.

    Raises:
        ValueError: The name is unknown, or the file is malformed.
        FileNotFoundError: There is no such file.
    """
    if name_or_path.endswith(".json"):
        return _read(name_or_path)
    if name_or_path not in _BUILT_IN:
        raise ValueError(
            f"unknown dataset {name_or_path!r}; known are {', '.join(NAMES)}; any other is given"
            " by the path of its descriptor, which ends in .json (build_custom_data writes one)"
        )
    return _BUILT_IN[name_or_path]


def _read(path: str) -> DatasetDescriptor:
    if not file_systems.exists(path):
        raise FileNotFoundError(
            f"dataset descriptor {path} not found (working directory: {os.getcwd()})"
        )
    values = files.read_json(path)
    if isinstance(values, dict):
        values.setdefault("name", os.path.splitext(os.path.basename(path))[0])
    return from_values(values, path)


def from_values(values: Any, source: str) -> DatasetDescriptor:
    """Return the descriptor that a JSON object describes.

    Args:
        values: The content of the file of a descriptor.
        source: Its source, such as the path of the file, for messages.

    Raises:
        ValueError: It is malformed.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{source} holds {with_article(type(values).__name__)}, not a JSON object")
    known = [field.name for field in dataclasses.fields(DatasetDescriptor)]
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"{source} has an unknown field {unknown[0]!r}; known are {known}")
    for field in ("name", "num_classes", "ignore_label"):
        if field not in values:
            raise ValueError(f"{source} has no field {field!r}")
    try:
        return DatasetDescriptor(**values)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
