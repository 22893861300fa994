"""The labels of a custom dataset: label files beside images, or annotations."""

import dataclasses
import functools
import os
from collections.abc import Callable, Collection, Mapping, Sequence

from deeplab.annotations import class_table, formats, ultralytics
from deeplab.annotations.class_table import ClassTable
from deeplab.annotations.drawn_labels import Drawing, LabeledShape
from deeplab.annotations.image_index import ImageIndex
from deeplab.annotations.values import (
    AnnotatedImage,
    Annotations,
    ReaderInput,
)
from deeplab.core.wording import agree, counted
from deeplab.datasets import label_colors, source_files
from deeplab.datasets.custom_options import CustomOptions
from deeplab.datasets.custom_splits import Image, from_paths, record_name
from deeplab.datasets.descriptors import MAX_LABEL, DatasetDescriptor
from deeplab.datasets.label_files import EXTENSIONS, LabelReader
from deeplab.utils import file_systems

_REMEDY = "correct the file, or change --num_classes, --ignore_label or --label_map"
# How many names an error message lists.
_LISTED = 10
# The value that Ultralytics ignores in masks.
_IGNORED_VALUE = 255


@dataclasses.dataclass(frozen=True)
class Labels:
    """The classes of a dataset, and how its labels are found and read.

    Args:
        descriptor: The dataset, without its splits.
        reader: Reads and checks labels.
        annotations: All annotations; None without.
        table: Labels of the names in the annotations; None if labels are files.
        options: Options of the conversion.
        folder: The folder to which names of images are relative.
    """

    descriptor: DatasetDescriptor
    reader: LabelReader
    annotations: Annotations | None
    table: ClassTable | None
    options: CustomOptions
    folder: str

    def own_splits(self) -> dict[str, list[Image]] | None:
        """Return the splits that the annotations name; None if they do not."""
        if self.annotations is None or self.annotations.splits is None:
            return None
        return from_paths(self.annotations.splits, self.folder)

    def annotated_images(self) -> list[Image]:
        """Return the images that are annotated, sorted by name."""
        images = self.annotations.images
        named = [Image(record_name(each.image, self.folder), each.image) for each in images]
        return sorted(named)

    def sources(self, split: str, images: Sequence[Image]) -> list[source_files.Source]:
        """Return the files of the records of a split.

        Raises:
            ValueError: Images are not annotated, and are not background for this; or two images
                have one name.
        """
        if self.annotations is None:
            names_in = functools.cache(lambda folder: frozenset(file_systems.names_in(folder)))
            return [
                source_files.Source(
                    image.name, image.path, self._file(image.name, names_in), image.place
                )
                for image in images
            ]
        _check_names(images)
        by_path = {os.path.realpath(each.image): each for each in self.annotations.images}
        found = [by_path.get(os.path.realpath(image.path)) for image in images]
        labels = [self._label(each) for each in found]
        missing = [image.name for image, label in zip(images, labels, strict=True) if label is None]
        if missing and split.lower().partition("_")[0] != "test":
            more = ", ..." if len(missing) > _LISTED else ""
            raise ValueError(
                f"{len(missing)} of the {len(images)} images of {split}"
                f" {agree(len(missing), 'has', 'have')} no label in"
                f" {self.options.annotations}: {', '.join(missing[:_LISTED])}{more}"
            )
        return [
            source_files.Source(image.name, image.path, label, image.place)
            for image, label in zip(images, labels, strict=True)
        ]

    def _file(self, name: str, names_in: Callable[[str], Collection[str]]) -> str | None:
        """Return the label file of an image; the most likely path if there is none.

        Args:
            name: Name of the image.
            names_in: Returns the names in a folder.
        """
        if not self.options.label_folder:
            return None
        stem = os.path.join(self.options.label_folder, name + self.options.label_suffix)
        paths = [stem + extension for extension in EXTENSIONS]
        there = names_in(os.path.dirname(stem))
        return next((path for path in paths if os.path.basename(path) in there), paths[0])

    def _label(self, found: AnnotatedImage | None) -> str | Drawing | None:
        if self.annotations.label_files:
            return found.mask if found else None
        if found is None:
            if not self.annotations.others_are_background:
                return None
            return Drawing((), self.table.fill, False, None, "an image without annotations")
        shapes = tuple(
            LabeledShape(label, region.shape, region.place)
            for region in found.regions
            if (label := self.table.label(region.name)) is not None
        )
        return Drawing(
            shapes, self.table.fill, self.annotations.smaller_on_top, found.size, found.place
        )


def _check_names(images: Sequence[Image]) -> None:
    paths: dict[str, str] = {}
    for image in images:
        if (other := paths.setdefault(image.name, image.path)) != image.path:
            raise ValueError(
                f"{other} and {image.path} have the same name; choose one format, such as"
                " --image_format=jpg, or another --image_folder"
            )


def read(options: CustomOptions) -> Labels:
    """Read the annotations, if there are some, and decide on the classes.

    Raises:
        ValueError: Annotations or flags are malformed, or contradict each other.
        OSError: A file is missing or cannot be read.
    """
    if not options.annotations:
        if options.annotation_format:
            raise ValueError("--annotation_format needs --annotations")
        if not options.image_folder:
            raise ValueError("--image_folder must be given")
        return _from_label_files(options, None, options.image_folder)
    name = options.annotation_format or formats.detect(options.annotations)
    folder = options.image_folder
    if name == "ultralytics" and not folder:
        folder = ultralytics.root(options.annotations)
    if options.label_folder and name != "csv":
        raise ValueError(
            f"--annotations={options.annotations} (format {name}) stands in place of"
            " --label_folder: leave one of the two out"
        )
    index = ImageIndex(folder, options.extensions) if folder and name != "ultralytics" else None
    request = ReaderInput(
        options.annotations, options.extensions, index, options.names, options.label_folder
    )
    annotations = formats.read(request, name)
    if annotations.label_files and not (annotations.mask_colors or annotations.mask_values):
        return _from_label_files(options, annotations, folder)
    return _from_annotations(options, annotations, folder)


def _from_annotations(options: CustomOptions, annotations: Annotations, folder: str) -> Labels:
    """Return the labels for annotations that name their classes."""
    for flag in ("num_classes", "colormap", "label_map"):
        if getattr(options, flag):
            raise ValueError(
                f"--{flag} is for label files without names; {options.annotations} names its"
                " classes: use --class_names or --class_map"
            )
    if options.threshold is not None:
        raise ValueError(f"--threshold: {options.annotations} has no masks of gray values")
    if options.nearest_color is not None and not annotations.mask_colors:
        raise ValueError(f"--nearest_color: {options.annotations} has no masks of colors")
    try:
        table = class_table.make(
            annotations.names(),
            annotations.class_names is not None,
            options.rules,
            add_background=annotations.mask_values is None,
        )
    except ValueError as error:
        raise ValueError(f"{options.annotations}: {error}") from None
    colormap = _colormap(annotations, table)
    descriptor = _descriptor(options, len(table.names), table.names, colormap)
    colors = _labels_of(annotations.mask_colors, table)
    values = _labels_of(annotations.mask_values, table) or {}
    if values:
        values.setdefault(_IGNORED_VALUE, options.ignore_label)
    reader = LabelReader(
        descriptor,
        values,
        colors,
        options.nearest_color,
        remedy="correct the file, or the names of the classes in the annotations",
    )
    return Labels(descriptor, reader, annotations, table, options, folder)


def _labels_of(names: Mapping | None, table: ClassTable) -> dict | None:
    """Return the labels of colors or values whose names are known, with omitted ones filled in."""
    if names is None:
        return None
    labels = {key: table.labels[name] for key, name in names.items()}
    return {key: table.fill if label is None else label for key, label in labels.items()}


def _colormap(
    annotations: Annotations, table: ClassTable
) -> tuple[tuple[int, int, int], ...] | None:
    """Return the color of each class, if the annotations have one for each."""
    colors: dict[int | None, tuple[int, int, int]] = {}
    for color, name in (annotations.mask_colors or {}).items():
        if name in table.names:
            colors[table.labels[name]] = color
        else:
            colors.setdefault(table.labels[name], color)
    labels = range(len(table.names))
    return tuple(colors[label] for label in labels) if set(labels) <= set(colors) else None


def _from_label_files(
    options: CustomOptions, annotations: Annotations | None, folder: str
) -> Labels:
    """Return the labels for files whose classes only flags name."""
    if not options.background:
        raise ValueError(
            "--background=false is for annotations with names; in label files, map the background's"
            " value to the ignore label with --label_map or --class_map"
        )
    colors = None
    if options.colormap:
        colors = label_colors.read_colors(options.colormap, options.ignore_label)
    elif options.nearest_color is not None:
        raise ValueError("--nearest_color is for labels that are color images: set --colormap")
    if colors and options.threshold is not None:
        raise ValueError("--threshold is for gray labels, --colormap for colors: leave one out")
    number = _number_of_classes(options, colors)
    names = options.names or (colors.names if colors else None)
    colormap = colors.colormap if colors else None
    label_map = options.replacements
    color_labels = colors.labels if colors else None
    if options.class_map:
        names, relabel = _merged(options, names)
        number = len(names)
        if colormap:
            kept = {label: colormap[old] for old, label in reversed(list(relabel.items()))}
            colormap = tuple(kept[label] for label in range(number))
        if color_labels is not None:
            color_labels = {color: relabel.get(old, old) for color, old in color_labels.items()}
        else:
            label_map = {**relabel, **{v: relabel.get(old, old) for v, old in label_map.items()}}
    descriptor = _descriptor(options, number, names, colormap)
    reader = LabelReader(
        descriptor,
        label_map,
        color_labels,
        options.nearest_color,
        options.threshold,
        remedy=_REMEDY,
    )
    return Labels(descriptor, reader, annotations, None, options, folder)


def _merged(
    options: CustomOptions, names: tuple[str, ...] | None
) -> tuple[tuple[str, ...], dict[int, int]]:
    """Return the names that --class_map leaves, and the new label of each old one."""
    if names is None:
        raise ValueError("--class_map needs the names of the classes: set --class_names")
    rules = dataclasses.replace(options.rules, class_names=None)
    # The order is that of the labels, wherever the background is.
    table = class_table.make(names, True, rules, add_background=False)
    relabel = {}
    for old, name in enumerate(names):
        label = table.labels[name]
        relabel[old] = table.fill if label is None else label
    return table.names, relabel


def _number_of_classes(options: CustomOptions, colors: label_colors.Colors | None) -> int:
    known = {
        "--num_classes": options.num_classes,
        "--class_names": len(options.class_names) if options.class_names else None,
        "--colormap": len(colors.colormap) if colors else None,
    }
    known = {flag: number for flag, number in known.items() if number is not None}
    if not known:
        raise ValueError("the classes are unknown: set --class_names, --num_classes or --colormap")
    if len(set(known.values())) > 1:
        numbers = ", ".join(f"{flag} has {number}" for flag, number in known.items())
        raise ValueError(f"the flags disagree on the number of classes: {numbers}")
    flag, number = next(iter(known.items()))
    if not 2 <= number <= MAX_LABEL + 1:
        raise ValueError(
            f"{flag} has {counted(number, 'class')}; there must be 2 to {MAX_LABEL + 1}"
        )
    if "" in (options.names or ()):
        raise ValueError(f"--class_names={','.join(options.class_names)} has an empty name")
    return number


def _descriptor(
    options: CustomOptions,
    num_classes: int,
    names: tuple[str, ...] | None,
    colormap: tuple[tuple[int, int, int], ...] | None,
) -> DatasetDescriptor:
    if not 2 <= num_classes <= MAX_LABEL + 1:
        listed = ", ".join((names or ())[:_LISTED])
        more = ", ..." if num_classes > _LISTED else ""
        raise ValueError(
            f"there {agree(num_classes, 'is', 'are')} {counted(num_classes, 'class')}"
            f" ({listed}{more}); there must be 2 to"
            f" {MAX_LABEL + 1}: change --background or --class_map"
        )
    return DatasetDescriptor(
        name=os.path.splitext(os.path.basename(options.descriptor_path))[0],
        num_classes=num_classes,
        ignore_label=options.ignore_label,
        class_names=names,
        colormap=colormap,
    )


def classes_in(source: source_files.Source, labels: Labels) -> frozenset[int]:
    """Return the labels of classes in an image, of its shapes or of the pixels of its file."""
    if source.label is None or (isinstance(source.label, str) and not os.path.exists(source.label)):
        return frozenset()
    if isinstance(source.label, Drawing):
        found = {shape.label for shape in source.label.shapes}
    else:
        found = labels.reader.labels_in(source.label)
    return frozenset(label for label in found if label < labels.descriptor.num_classes)
