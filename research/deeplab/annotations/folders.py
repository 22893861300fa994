"""Files of a kind in a folder."""

import os
from collections.abc import Sequence


def find(path: str, extensions: Sequence[str]) -> list[str]:
    """Return the files below a folder that have an extension, sorted; for a file, the file.

    Links to folders are followed. Hidden files and folders are left out.

    Args:
        path: The folder.
        extensions: Extensions in lower case; upper case counts as lower case.
    """
    if not os.path.isdir(path):
        return [path]
    found, seen = [], set()
    for folder, below, names in os.walk(path, followlinks=True):
        # A link may lead back to a folder above.
        if (real := os.path.realpath(folder)) in seen:
            below.clear()
            continue
        seen.add(real)
        below[:] = [name for name in below if not name.startswith(".")]
        found += [
            os.path.join(folder, name)
            for name in names
            if name.lower().endswith(tuple(extensions)) and not name.startswith(".")
        ]
    return sorted(found)
