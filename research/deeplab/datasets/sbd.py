"""The Semantic Boundaries Dataset: more labels for the images of PASCAL VOC.

Reference: Hariharan, Arbelaez, Bourdev, Maji, Malik: Semantic contours from inverse detectors
(2011).
"""

import dataclasses
import os
from collections.abc import Collection, Sequence

import numpy as np

from deeplab.annotations import lists
from deeplab.datasets import mat_files, source_files
from deeplab.utils import files

_LISTS = ("train.txt", "val.txt")
_LABELS, _IMAGES = "cls", "img"


@dataclasses.dataclass(frozen=True)
class SbdLabel:
    """The label of an image: a MATLAB file.

    Args:
        path: The file.
    """

    path: str

    def __str__(self) -> str:
        return self.path

    def draw(self, size: tuple[int, int]) -> np.ndarray:
        """Return the label, uint8 [height, width]; it has its own size.

        Raises:
            ValueError: The file is missing or broken.
        """
        del size
        try:
            return mat_files.find_labels(files.read_bytes(self.path), "Segmentation")
        except FileNotFoundError:
            raise ValueError(f"label {self.path} not found") from None
        except ValueError as error:
            raise ValueError(f"label {self.path} {error}") from None


def augmented(
    folder: str,
    images: source_files.ImageFolder,
    train: Sequence[source_files.Source],
    val: Collection[str],
) -> list[source_files.Source]:
    """Return the images of the split `train_aug`, sorted by name, without those of VOC's `val`.

    Images of VOC's `train` have VOC's labels, all others of SBD have its own.

    Args:
        folder: The folder `dataset` of the archive, with `cls`, `img`, `train.txt` and `val.txt`.
        images: Finds VOC's images; those of SBD count if one is not there.
        train: The images of VOC's `train`.
        val: Names of those of VOC's `val`.

    Raises:
        FileNotFoundError: A list is missing.
        ValueError: A list is not a text file.
    """
    places: dict[str, str] = {}
    for name in _LISTS:
        path = os.path.join(folder, name)
        if not os.path.isfile(path):
            raise FileNotFoundError(
                f"{path} not found; --sbd_folder is the folder `dataset` of benchmark.tgz"
            )
        for line in lists.read(path):
            places.setdefault(line.text, line.place)
    known = {source.name for source in train} | set(val)
    more = []
    for name in places.keys() - known:
        image = (images.find(name)[1] or [os.path.join(folder, _IMAGES, f"{name}.jpg")])[0]
        label = SbdLabel(os.path.join(folder, _LABELS, f"{name}.mat"))
        more.append(source_files.Source(name, image, label, places[name]))
    return sorted([*train, *more], key=lambda source: source.name)
