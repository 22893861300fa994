"""Files of a kind in a folder."""

import os
from collections.abc import Sequence


def find(path: str, extensions: Sequence[str]) -> list[str]:
    """Return the files below a folder that have an extension, sorted; for a file, the file."""
    if not os.path.isdir(path):
        return [path]
    return sorted(
        os.path.join(folder, name)
        for folder, _, names in os.walk(path)
        for name in names
        if name.lower().endswith(tuple(extensions)) and not name.startswith(".")
    )
