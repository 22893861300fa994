"""The recipes' flag files: where they are, what they hold, the command that they stand for."""

import os
import pathlib
import shlex
from collections.abc import Iterable, Mapping

RECIPES = pathlib.Path(__file__).resolve().parents[1] / "recipes"

_INDENT = " \\\n    "


def read(path: str | os.PathLike[str]) -> list[str]:
    """The flags of a file that `--flagfile` takes, such as "--output_stride=16", in order."""
    lines = (line.strip() for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def value(path: str | os.PathLike[str], flag: str) -> str:
    """What a flag file sets a flag to.

    Raises:
        KeyError: it does not set it.
    """
    return dict(line.split("=", 1) for line in read(path) if "=" in line)[f"--{flag}"]


def command(module: str, arguments: Iterable[str], paths: Mapping[str, str]) -> str:
    """A shell command, one flag a line.

    Args:
        module: of the script, such as "deeplab.eval".
        arguments: flags with their values.
        paths: flag to path, or to a shell variable, "${NAME}".
    """
    words = [shlex.quote(argument) for argument in arguments]
    for flag, path in paths.items():
        # A variable is left to the shell.
        value = f'"{path}"' if path.startswith("${") else shlex.quote(path)
        words.append(f"--{flag}={value}")
    return f"python -m {module}" + "".join(_INDENT + word for word in words)
