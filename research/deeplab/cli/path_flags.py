"""Flags whose values are paths in other file systems than this machine's."""

import re
from collections.abc import Collection, Iterator

from absl import flags

from deeplab.utils import file_systems

# Values of these may have such paths, but name hosts and files to download, or are for others.
_ADDRESSES = ("master", "server", "url", "beam_options")
# A path may follow a comma, or "train=".
_REMOTE_PATH = re.compile(r"(?:^|[,=])\s*([A-Za-z][A-Za-z0-9+.-]*)://")


def check_file_systems(values: flags.FlagValues, local: Collection[str] = ()) -> None:
    """Reject paths that no script can reach, before anything is read or written.

    Args:
        values: The parsed flags.
        local: Names of the flags whose files must be on this machine.

    Raises:
        ValueError: A path is in a file system that TensorFlow does not know, or in any other
            than this machine's where that is not possible. The message names flag and file system.
    """
    for name, value, scheme in _remote_paths(values):
        if scheme not in (known := file_systems.known_schemes()):
            raise ValueError(
                f"--{name}={value}: TensorFlow knows no file system '{scheme}' (only"
                f" {', '.join(f'{other}://' for other in known)} and paths of this machine)"
            )
        if name in local:
            raise ValueError(
                f"--{name}={value}: this script needs these files on this machine; copy them, and"
                " give a path without ://"
            )


def _remote_paths(values: flags.FlagValues) -> Iterator[tuple[str, str, str]]:
    """Yield flag, value and file system of the paths that name one."""
    for name in values:
        value = values[name].value
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and name not in _ADDRESSES:
                for match in _REMOTE_PATH.finditer(text):
                    yield name, text, match[1]
