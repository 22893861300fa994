"""The files that records are made of, and the lists that name them."""

import dataclasses
import glob
import os


@dataclasses.dataclass(frozen=True)
class Source:
    """The files of one record.

    Attributes:
        name: what the record calls the image.
        image: path of the image.
        label: path of the label; None where the image has none.
    """

    name: str
    image: str
    label: str | None


def read_lists(folder: str) -> dict[str, list[str]]:
    """The names in each list of a folder, by the name of the list.

    Raises:
        ValueError: there is no list, or a line is no name.
    """
    lists = {}
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), "*.txt"))):
        with open(path, encoding="utf-8") as file:
            names = [line.strip() for line in file]
        names = [name for name in names if name]
        if wrong := [name for name in names if len(name.split()) > 1]:
            raise ValueError(
                f"{path} has the line {wrong[0]!r}; a line is the name of one image, without"
                " folder and extension"
            )
        lists[os.path.basename(path).removesuffix(".txt")] = names
    if not lists:
        raise ValueError(f"there is no list (*.txt) in {folder} (--list_folder)")
    return lists
