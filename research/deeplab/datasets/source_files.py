"""The files that records are made of, and the lists that name them."""

import dataclasses
import glob
import os


@dataclasses.dataclass(frozen=True)
class Source:
    """The files of one record.

    Args:
        name: Name of the image in the record.
        image: Path of the image.
        label: Path of the label; None if the image has none.
    """

    name: str
    image: str
    label: str | None


def read_lists(folder: str) -> dict[str, list[str]]:
    """Return the names in each list of a folder.

    Args:
        folder: A folder with one list `<split>.txt` for each split.

    Returns:
        Split to names, in the order of the lines.

    Raises:
        ValueError: There is no list, or a line is not a name.
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
