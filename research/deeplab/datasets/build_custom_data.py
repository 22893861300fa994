"""Convert images and labels of any dataset to TFRecords, and write its descriptor.

Splits are given by lists (--list_folder: <split>.txt, an image name per line, without extension) or
by patterns of image files (--split=train='train/*' --split=val='val/*'). The label of the image
a/b.jpg is a/b.png in --label_folder. Classes are given by --class_names, --num_classes or
--colormap. Pass the descriptor to the other scripts with --dataset.

  python -m deeplab.datasets.build_custom_data --image_folder=images --label_folder=labels \\
      --list_folder=lists --class_names=background,roof,road --output_dir=tfrecord
  python -m deeplab.datasets.check_data --dataset=tfrecord/dataset.json --dataset_dir=tfrecord
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from absl import flags, logging

from deeplab import common
from deeplab.cli import converter_flags, script
from deeplab.core.options import fields
from deeplab.datasets import descriptors, patterns, source_files
from deeplab.utils import files

_IGNORE = "ignore"
# Label files have 8 or 16 bits.
_MAX_STORED = 65535
_StoredValue = Annotated[int, fields.Range(at_least=0, at_most=_MAX_STORED)]


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags of this script."""

    define = common.definer("deeplab.datasets.build_custom_data", flag_values)
    define("string", "image_folder", None, "Folder of the images, in any format that OpenCV reads.")
    define("string", "image_format", None, "Extension of the images, such as jpg. Default: any.")
    define(
        "string",
        "label_folder",
        None,
        "Folder of the labels (PNG). Default: images without labels.",
    )
    define(
        "string",
        "label_suffix",
        "",
        "Suffix of a label's name after the image's name, such as _mask.",
    )
    define(
        "string",
        "list_folder",
        None,
        "Folder of the lists of image names: a file <split>.txt for each split.",
    )
    define(
        "multi_string",
        "split",
        None,
        "<split>=<pattern of image files in --image_folder>, in place of lists; repeat it for each"
        " split.",
    )
    define("string", "output_dir", None, "Folder of the TFRecords.")
    define(
        "string",
        "descriptor",
        None,
        "File of the descriptor. Default: dataset.json in --output_dir.",
    )
    define(
        "integer",
        "num_classes",
        None,
        "Number of classes, including the background, not the ignore label.",
        within=descriptors.NumClasses,
    )
    define("list", "class_names", None, "Names of the labels 0, 1, 2, ...")
    define(
        "integer",
        "ignore_label",
        255,
        "Label of pixels that are left out of training and evaluation.",
        within=descriptors.Label,
    )
    define(
        "string",
        "colormap",
        None,
        "JSON file of colors, for labels that are color images: {name: [red, green, blue], ...}"
        " in the order of the classes, or a list of colors. A class may have a list of colors;"
        f' the name "{_IGNORE}" is the ignore label.',
    )
    define(
        "list",
        "label_map",
        [],
        "Label values to replace: <value>:<label>, separated by commas, such as 255:1,128:0.",
    )
    define(
        "integer",
        "num_shards",
        4,
        "Number of files per split.",
        within=Annotated[int, fields.Range(at_least=1, at_most=999)],
    )
    converter_flags.define_num_processes(flag_values)


@dataclasses.dataclass(frozen=True)
class Colors:
    """The colors of a dataset's label images.

    Args:
        labels: Label of each color (red, green, blue).
        colormap: First color of each class.
        names: Name of each class; None if the file has no names.
    """

    labels: dict[tuple[int, int, int], int]
    colormap: tuple[tuple[int, int, int], ...]
    names: tuple[str, ...] | None


def read_colors(path: str, ignore_label: int) -> Colors:
    """Read a file of colors (flag `--colormap`).

    Raises:
        ValueError: The file is malformed, or two classes have the same color.
        OSError: The file cannot be read.
    """
    entries = files.read_json(path)
    named = isinstance(entries, dict)
    if not named and not isinstance(entries, list):
        raise ValueError(
            f"{path} holds {fields.quoted(entries)}; it must be an object or a list of colors"
        )
    items = list(entries.items()) if named else [(str(i), color) for i, color in enumerate(entries)]
    labels: dict[tuple[int, int, int], int] = {}
    colormap, names = [], []
    for name, value in items:
        colors = _colors(value, f"{path}: the color of {name}")
        label = ignore_label if name == _IGNORE else len(names)
        for color in colors:
            if labels.setdefault(color, label) != label:
                raise ValueError(f"{path}: the color {list(color)} of {name} is also another's")
        if name != _IGNORE:
            names.append(name)
            colormap.append(colors[0])
    return Colors(labels, tuple(colormap), tuple(names) if named else None)


def _colors(value: Any, what: str) -> list[tuple[int, int, int]]:
    """Return the colors of a class, which has one or a list of several."""
    several = isinstance(value, list) and value and all(isinstance(c, list) for c in value)
    colors = [tuple(c) if isinstance(c, list) else () for c in (value if several else [value])]
    for color in colors:
        if len(color) != 3 or not all(type(v) is int and 0 <= v <= 255 for v in color):
            raise ValueError(
                f"{what} is {fields.quoted(value)}; it must be [red, green, blue], 0 to 255"
            )
    return colors


def parse_label_map(entries: Sequence[str]) -> dict[int, int]:
    """Return the replacements of `--label_map`.

    Raises:
        ValueError: An entry is not <value>:<label>.
    """
    label_map = {}
    for entry in entries:
        value, _, label = entry.partition(":")
        try:
            label_map[fields.convert(_StoredValue, int(value))] = fields.convert(
                descriptors.Label, int(label)
            )
        except ValueError:
            raise ValueError(
                f"--label_map has {entry!r}; it takes <value>:<label>, such as 255:1, with values"
                f" of 0 to {_MAX_STORED} and labels of 0 to {descriptors.MAX_LABEL}"
            ) from None
    return label_map


def _describe(
    values: flags.FlagValues, path: str, sizes: dict[str, int], colors: Colors | None
) -> descriptors.DatasetDescriptor:
    """Return the descriptor that the flags describe."""
    names = values.class_names or (colors.names if colors else None)
    known = {
        "--num_classes": values.num_classes,
        "--class_names": len(values.class_names) if values.class_names else None,
        "--colormap": len(colors.colormap) if colors else None,
    }
    known = {flag: number for flag, number in known.items() if number is not None}
    if not known:
        raise ValueError("the classes are unknown: set --class_names, --num_classes or --colormap")
    if len(set(known.values())) > 1:
        numbers = ", ".join(f"{flag} has {number}" for flag, number in known.items())
        raise ValueError(f"the flags disagree on the number of classes: {numbers}")
    return descriptors.DatasetDescriptor(
        name=os.path.splitext(os.path.basename(path))[0],
        num_classes=next(iter(known.values())),
        ignore_label=values.ignore_label,
        splits_to_sizes=sizes,
        class_names=tuple(name.strip() for name in names) if names else None,
        colormap=colors.colormap if colors else None,
    )


class _Image(NamedTuple):
    """An image of a split: its name, the files that have it, and where it is listed."""

    name: str
    paths: Sequence[str]
    place: str = ""


def _extensions(values: flags.FlagValues) -> tuple[str, ...]:
    if values.image_format:
        return (f".{values.image_format.lower().removeprefix('.')}",)
    return source_files.IMAGE_EXTENSIONS


def _by_list(values: flags.FlagValues) -> dict[str, list[_Image]]:
    """Return the images of each list."""
    folder = source_files.ImageFolder(values.image_folder, _extensions(values))
    splits: dict[str, list[_Image]] = {}
    for split, lines in source_files.read_lists(values.list_folder).items():
        splits[split] = [_Image(*folder.find(line.text), line.place) for line in lines]
        missing = [image for image in splits[split] if not image.paths]
        if missing:
            name, _, place = missing[0]
            raise FileNotFoundError(
                f"{len(missing)} of the {len(lines)} images of {split} are not in"
                f" {values.image_folder}, the first is {name} ({place})"
                + (_other_format(values, name) or folder.hint(name))
            )
    return splits


def _other_format(values: flags.FlagValues, name: str) -> str:
    """Return the end of a message about an image in another format than --image_format; or ""."""
    if not values.image_format:
        return ""
    every = source_files.ImageFolder(values.image_folder, source_files.IMAGE_EXTENSIONS)
    paths = every.find(name)[1]
    if not paths:
        return ""
    extension = os.path.splitext(paths[0])[1].removeprefix(".")
    return f"; there is {paths[0]}: set --image_format={extension.lower()}"


def _by_pattern(values: flags.FlagValues) -> dict[str, list[_Image]]:
    """Return the images that each `--split` names."""
    splits: dict[str, dict[str, list[str]]] = {}
    for entry in values.split:
        split, equals, pattern = entry.partition("=")
        if not (split and equals and pattern):
            raise ValueError(f"--split is {entry!r}; it takes <split>=<pattern>, such as val=val/*")
        if fault := source_files.split_name_fault(split):
            raise ValueError(f"--split={entry}: the split's name {fault}")
        images: dict[str, list[str]] = {}
        for path in patterns.expand(os.path.join(values.image_folder, pattern)):
            if path.lower().endswith(_extensions(values)):
                name = os.path.relpath(os.path.splitext(path)[0], values.image_folder)
                images.setdefault(name, []).append(path)
        if not images:
            raise ValueError(f"--split={entry}: no image {pattern} in {values.image_folder}")
        splits.setdefault(split, {}).update(images)
    return {
        split: [_Image(name, paths) for name, paths in images.items()]
        for split, images in splits.items()
    }


def _source(values: flags.FlagValues, image: _Image) -> source_files.Source:
    """Return the files of an image; reject one that has several."""
    if len(image.paths) > 1:
        raise ValueError(
            f"{image.paths[0]} and {image.paths[1]} have the same name; choose one format, such as"
            " --image_format=jpg"
        )
    label = None
    if values.label_folder:
        label = os.path.join(values.label_folder, f"{image.name}{values.label_suffix}.png")
    return source_files.Source(image.name, image.paths[0], label, image.place)


def main(argv: Sequence[str]) -> None:
    """Convert the splits and write the descriptor."""
    del argv
    # Imports TensorFlow, which takes seconds: not for --help.
    from deeplab.datasets import build_data, label_files

    values = flags.FLAGS
    if bool(values.list_folder) == bool(values.split):
        raise ValueError("splits come from --list_folder or from --split: set one of the two")
    images = _by_list(values) if values.list_folder else _by_pattern(values)
    splits = {split: [_source(values, image) for image in found] for split, found in images.items()}
    path = values.descriptor or os.path.join(values.output_dir, "dataset.json")
    if not path.endswith(".json"):
        raise ValueError(f"--descriptor is {path}; the file's name must end in .json")
    colors = read_colors(values.colormap, values.ignore_label) if values.colormap else None
    sizes = {split: len(sources) for split, sources in splits.items()}
    descriptor = _describe(values, path, sizes, colors)
    labels = label_files.LabelReader(
        descriptor,
        parse_label_map(values.label_map),
        colors.labels if colors else None,
        remedy="correct the file, or change --num_classes, --ignore_label or --label_map",
    )
    if os.path.isdir(path):
        raise ValueError(f"--descriptor is {path}, which is a folder; it must be a file")
    files.make_folder(
        "descriptor" if values.descriptor else "output_dir", os.path.dirname(path) or "."
    )
    for split, sources in splits.items():
        build_data.convert(
            split, sources, labels, values.output_dir, values.num_shards, values.num_processes
        )
    descriptor.save(path)
    logging.info(
        "wrote %s; use it with --dataset=%s --dataset_dir=%s", path, path, values.output_dir
    )


def run() -> None:
    """Run the script."""
    script.run(
        main,
        define_flags,
        required=("image_folder", "output_dir"),
        local=("image_folder", "label_folder", "list_folder", "split"),
        cpu_only=True,
    )


if __name__ == "__main__":
    run()
