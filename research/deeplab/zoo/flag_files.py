"""Flag files of the recipes, and the shell commands that they stand for."""

import os
import pathlib
import shlex
from collections.abc import Iterable, Mapping

RECIPES = pathlib.Path(__file__).resolve().parents[1] / "recipes"

_INDENT = " \\\n    "


def read(path: str | os.PathLike[str]) -> list[str]:
    """Return the flags of a flag file in order, such as "--output_stride=16"."""
    lines = (line.strip() for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def value(path: str | os.PathLike[str], flag: str) -> str:
    """Return the value of a flag in a flag file.

    Raises:
        KeyError: The file does not set the flag.
    """
    return dict(line.split("=", 1) for line in read(path) if "=" in line)[f"--{flag}"]


def command(module: str, arguments: Iterable[str], paths: Mapping[str, str]) -> str:
    """Return a shell command with one flag per line.

    Args:
        module: Module of the script, such as "deeplab.eval".
        arguments: Flags with their values.
        paths: Flag to path, or to a shell variable "${NAME}".
    """
    words = [shlex.quote(argument) for argument in arguments]
    for flag, path in paths.items():
        # The shell expands a variable inside double quotes.
        value = f'"{path}"' if path.startswith("${") else shlex.quote(path)
        words.append(f"--{flag}={value}")
    return f"python -m {module}" + "".join(_INDENT + word for word in words)
