"""Sources of flags: the command line and the flag files that it names.

A flag that may be repeated keeps the values of one source only, so that those of a flag file can be
replaced. This happens before the flags are parsed.
"""

import dataclasses
import io
import itertools
import os
import re
import sys
from collections.abc import Iterator, Sequence

from absl import flags

from deeplab.utils import files

_FILE = re.compile(r"--?flagfile(=(?P<path>.*))?", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class _Source:
    """The command line, or a flag file.

    Attributes:
        depth: 0 for the command line, 1 for a file that it names, 2 for a file named there ...
        number: How many files were opened before.
    """

    depth: int
    number: int

    def rank(self) -> tuple[int, int]:
        """Return what is largest for the source whose values count."""
        return -self.depth, self.number


@dataclasses.dataclass(frozen=True)
class _Given:
    """A flag as it is written: one word, or two.

    Attributes:
        words: The words.
        source: Where they are written.
        name: Name of the flag; None if it is not defined, or written as `--noname`.
        value: The value as text.
    """

    words: tuple[str, ...]
    source: _Source
    name: str | None
    value: str


def merge(words: Sequence[str], flag_values: flags.FlagValues) -> list[str]:
    """Return command line arguments in which each flag has the values of one source.

    - The content of a flag file stands in the place of its `--flagfile`, also of a nested one.
    - A flag that may be repeated has the values of the command line. If there are none, it has
      the values of the flag file that the command line names last; a file has priority over the
      files that it names. Within one source values add up.
    - Single numbers of a list, one flag each in one source, are one list, as the flags of crop
      sizes were given once: `--train_crop_size=65 --train_crop_size=97` is `65,97`.
    - For all others the last value counts, as the parser does it.

    Args:
        words: The arguments, without the name of the program.
        flag_values: The defined flags.

    Raises:
        flags.Error: A flag file cannot be opened.
        ValueError: A flag file is not text.
    """
    given, rest = _split(list(_words(words, _Source(0, 0), (), [])), flag_values)
    for name in {each.name for each in given if each.name}:
        own = [each for each in given if each.name == name]
        if isinstance(flag_values[name], flags.MultiFlag):
            kept = max((each.source for each in own), key=_Source.rank)
            given = [each for each in given if each.name != name or each.source == kept]
        elif isinstance(flag_values[name].parser, flags.ListParser):
            for source in {each.source for each in own}:
                given = _joined(given, [each for each in own if each.source == source])
    return [word for each in given for word in each.words] + rest


def _joined(given: list[_Given], parts: list[_Given]) -> list[_Given]:
    """Make one list of single numbers after any whole list, in the place of the last one."""
    from_last = itertools.takewhile(
        lambda part: re.fullmatch(r"\s*[+-]?\d+\s*", part.value), reversed(parts)
    )
    parts = list(from_last)[::-1]
    if len(parts) < 2:
        return given
    last, values = parts[-1], [part.value for part in parts]
    whole = dataclasses.replace(last, words=(f"--{last.name}={','.join(values)}",))
    return [whole if each is last else each for each in given if each is last or each not in parts]


def _split(
    words: Sequence[tuple[str, _Source]], flag_values: flags.FlagValues
) -> tuple[list[_Given], list[str]]:
    """Return the flags among words, and the words from the first one on that is not a flag."""
    given: list[_Given] = []
    index = 0
    while index < len(words):
        word, source = words[index]
        name, has_value, value = word.removeprefix("-").removeprefix("-").partition("=")
        if not word.startswith("-") or not name:
            break
        count = 1
        if name not in flag_values:
            # The parser says if it is unknown; `--noname` is a flag that may not be repeated.
            name = None
        elif not has_value and not flag_values[name].boolean:
            count, value = 2, "".join(word for word, _ in words[index + 1 : index + 2])
        own = tuple(word for word, _ in words[index : index + count])
        given.append(_Given(own, source, name, value))
        index += count
    return given, [word for word, _ in words[index:]]


def _words(
    words: Sequence[str], source: _Source, above: tuple[str, ...], opened: list[_Source]
) -> Iterator[tuple[str, _Source]]:
    """Yield the words of a source and those of the flag files in it, each with its source.

    Args:
        words: The words of the source.
        source: The source.
        above: The files that led to it.
        opened: All files that were opened; new ones are added.
    """
    waiting = iter(words)
    for word in waiting:
        match = _FILE.fullmatch(word)
        if not match:
            yield word, source
            if word == "--":
                yield from ((each, source) for each in waiting)
            continue
        path = match["path"] or (next(waiting, None) if match["path"] is None else "")
        if path is None:
            raise flags.IllegalFlagValueError("--flagfile with no argument")
        path = os.path.expanduser(path.strip())
        if path in above:
            print(f"{path} names itself as a flag file; that is skipped", file=sys.stderr)
        elif path:
            opened.append(_Source(source.depth + 1, len(opened)))
            yield from _words(_lines(path), opened[-1], (*above, path), opened)


def _lines(path: str) -> list[str]:
    """Return the lines of a flag file that are not comments."""
    try:
        # Editors may put a byte order mark before the first line.
        text = files.read_bytes(path).decode("utf-8-sig")
        if "\0" in text:
            raise ValueError("it is not a text file: it has a zero byte")
    except OSError as error:
        raise flags.CantOpenFlagFileError(f"--flagfile={path} cannot be opened: {error}") from None
    lines = io.StringIO(text, newline=None)
    return [line.strip() for line in lines if line.strip() and not line.startswith(("#", "//"))]
