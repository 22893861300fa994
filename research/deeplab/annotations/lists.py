"""Lists of names that people and tools write: text files with a name per line."""

import codecs
import re
from typing import NamedTuple

from deeplab.utils import files

# Byte order marks of encodings other than UTF-8; the longer ones first, they begin alike.
_OTHER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


class Line(NamedTuple):
    """A line of a list of files.

    Attributes:
        text: The line without white space around it.
        place: Where it is, such as "lists/train.txt, line 3".
    """

    text: str
    place: str


def parse_list(data: bytes, path: str) -> list[Line]:
    """Return the lines of a text file that are not blank.

    Args:
        data: Content of the file: UTF-8, with or without a byte order mark.
        path: Path of the file, for messages.

    Raises:
        ValueError: The file has another encoding; the message names file and line.
    """
    for mark, encoding in _OTHER_MARKS.items():
        if data.startswith(mark):
            raise ValueError(f"{path}, line 1: the file is {encoding}; save it as UTF-8")
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode()
        wrong = text.find("\0")
    except UnicodeDecodeError as error:
        text = data[: error.start].decode()
        wrong = error.start
    if wrong >= 0:
        number = len(re.findall("\r\n|\r|\n", text[:wrong])) + 1
        raise ValueError(f"{path}, line {number}: this is not UTF-8 text; save the file as UTF-8")
    # Neither `splitlines` nor a plain `strip`: names may have the other characters of those.
    lines = (line.strip(" \t") for line in re.split("\r\n|\r|\n", text))
    return [
        Line(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1) if line
    ]


def read(path: str) -> list[Line]:
    """Return the lines of a text file that are not blank; see `parse_list`."""
    return parse_list(files.read_bytes(path), path)


def split_name_fault(split: str) -> str:
    """Return why a word cannot name a split, as the end of a message; "" if it can."""
    if split.startswith(".") or any(mark in split for mark in "/\\"):
        return "must not begin with a dot or contain / or \\: it begins the names of files"
    return "" if split.isprintable() else "has characters that cannot be printed"
