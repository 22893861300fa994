"""CVAT's "Segmentation mask 1.1": a folder with a list of labels, masks in colors, and splits."""

import os
from collections.abc import Mapping

from deeplab.annotations import folders, lists
from deeplab.annotations.values import (
    BACKGROUND,
    AnnotatedImage,
    Annotations,
    ReaderInput,
    is_background,
)
from deeplab.core.options import fields

LABEL_MAP, MASKS, LISTS = "labelmap.txt", "SegmentationClass", "ImageSets/Segmentation"
_BLACK = (0, 0, 0)


def read(request: ReaderInput) -> Annotations:
    """Read a folder of this form.

    Images are those of the lists in `ImageSets/Segmentation`; without lists, those that have a
    mask. Those without a mask are not labeled.

    Raises:
        ValueError: A file is malformed; the message names file and line.
        FileNotFoundError: The list of labels or an image is missing.
    """
    colors = read_label_map(os.path.join(request.path, LABEL_MAP))
    folder = os.path.join(request.path, LISTS)
    by_path: dict[str, AnnotatedImage] = {}
    splits: dict[str, list[str]] = {}
    for path in folders.find(folder, (".txt",)) if os.path.isdir(folder) else ():
        split = os.path.splitext(os.path.relpath(path, folder))[0]
        if fault := lists.split_name_fault(split):
            raise ValueError(f"{path}: the split's name {fault}")
        for line in lists.read(path):
            image = _image(request, line.text, line.place)
            by_path.setdefault(image.image, image)
            splits.setdefault(split, []).append(image.image)
    masks = os.path.join(request.path, MASKS)
    if not splits:
        for path in folders.find(masks, (".png",)):
            image = _image(request, os.path.splitext(os.path.relpath(path, masks))[0], path)
            by_path.setdefault(image.image, image)
    return Annotations(
        tuple(by_path.values()),
        tuple(dict.fromkeys(colors.values())),
        splits=splits or None,
        label_files=True,
        mask_colors=colors,
    )


def _image(request: ReaderInput, name: str, place: str) -> AnnotatedImage:
    mask = os.path.join(request.path, MASKS, f"{name}.png")
    # The lists name images without a region, too, for which there is no mask.
    return AnnotatedImage(
        request.index().require(name, place), place, mask=mask if os.path.isfile(mask) else None
    )


def read_label_map(path: str) -> Mapping[tuple[int, int, int], str]:
    """Return the name of each color.

    A line is `name:red,green,blue:parts:actions`, the last two may be empty. Black is the
    background if no line has it.

    Raises:
        ValueError: A line is malformed, or a color or a name is there twice.
        FileNotFoundError: There is no such file.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path} not found; it has the colors of the classes")
    colors: dict[tuple[int, int, int], str] = {}
    for line in lists.read(path):
        if line.text.startswith("#"):
            continue
        # A name may contain colons.
        parts = line.text.rsplit(":", 3)
        color = tuple(int(part) for part in parts[1].split(",")) if _is_color(parts) else ()
        if not parts[0].strip() or len(color) != 3 or max(color) > 255:
            raise ValueError(
                f"{line.place} is {fields.quoted(line.text)}; it must be name:red,green,blue::"
            )
        name = parts[0].strip()
        if name in colors.values():
            raise ValueError(f"{line.place} has the name {name!r} again")
        if color in colors:
            raise ValueError(f"{line.place} has the color {list(color)} of {colors[color]!r}")
        colors[color] = name
    if not colors:
        raise ValueError(f"{path} has no labels")
    if _BLACK not in colors and not any(map(is_background, colors.values())):
        return {_BLACK: BACKGROUND, **colors}
    return colors


def _is_color(parts: list[str]) -> bool:
    return len(parts) == 4 and all(part.strip().isdecimal() for part in parts[1].split(","))
