"""The common representation of all annotations."""

import dataclasses
from collections.abc import Mapping, Sequence

from deeplab.annotations.image_index import ImageIndex
from deeplab.annotations.shapes import Shape

# Names of regions that are not a class.
BACKGROUND = "background"
IGNORE = "ignore"
# How tools write the name of the background.
_BACKGROUNDS = (BACKGROUND, "_background_")


def is_background(name: str) -> bool:
    """Return whether a class name is that of the background."""
    return name.strip().lower() in _BACKGROUNDS


@dataclasses.dataclass(frozen=True)
class Region:
    """A region of an image.

    Args:
        name: Name of its class; `BACKGROUND` or `IGNORE` for pixels without one.
        shape: Its pixels.
        place: Where it is written, such as "a.json: shapes[2]".
    """

    name: str
    shape: Shape
    place: str


@dataclasses.dataclass(frozen=True)
class AnnotatedImage:
    """An image and its annotation: regions, or a file with the label of each pixel.

    Args:
        image: Path of the image file.
        place: Where it is annotated, such as "instances.json: images[3]".
        regions: The regions, the lowest first.
        size: Height and width for which the regions were drawn; None if these are relative.
        mask: Path of the label file; None if there are regions.
    """

    image: str
    place: str
    regions: tuple[Region, ...] = ()
    size: tuple[int, int] | None = None
    mask: str | None = None


@dataclasses.dataclass(frozen=True)
class Annotations:
    """All that a file or folder of annotations says.

    Args:
        images: The images, each once.
        class_names: Names of the classes in the order of the format's own list; None if it has no
            list.
        smaller_on_top: Whether the smaller of two regions lies on top; else the later does.
        others_are_background: Whether an image that is not annotated is all background.
        splits: Paths of the images of each split; None if the format does not divide them.
        label_files: Whether labels are files and not regions; an image without one is unlabeled.
        mask_colors: Class of each color in label files that hold colors.
        mask_values: Class of each value in label files that hold values. If both are None, label
            files are like those in --label_folder.
    """

    images: tuple[AnnotatedImage, ...]
    class_names: tuple[str, ...] | None = None
    smaller_on_top: bool = False
    others_are_background: bool = False
    splits: Mapping[str, Sequence[str]] | None = None
    label_files: bool = False
    mask_colors: Mapping[tuple[int, int, int], str] | None = None
    mask_values: Mapping[int, str] | None = None

    def names(self) -> tuple[str, ...]:
        """Return the names of the classes: in the format's own order, or else sorted."""
        if self.class_names is not None:
            return self.class_names
        found = {region.name for image in self.images for region in image.regions}
        return tuple(sorted(name for name in found - {IGNORE} if not is_background(name)))


@dataclasses.dataclass(frozen=True)
class ReaderInput:
    """Input of a reader of annotations.

    Args:
        path: The file or folder (--annotations).
        extensions: Extensions of images, such as ".jpg".
        images: Finds the images; None without --image_folder.
        class_names: Names that the user gives (--class_names), for formats that only have numbers.
        label_folder: Folder of label files that a table names (--label_folder).
    """

    path: str
    extensions: tuple[str, ...]
    images: ImageIndex | None = None
    class_names: tuple[str, ...] | None = None
    label_folder: str | None = None

    def index(self) -> ImageIndex:
        """Return the index of the images.

        Raises:
            ValueError: There is no --image_folder.
        """
        if self.images is None:
            raise ValueError(f"{self.path} names images without their folder: set --image_folder")
        return self.images
