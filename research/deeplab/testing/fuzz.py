"""Damages the files that users give, in thousands of ways, and reads them as the scripts do.

Reading ends in success or in one clean error that names the file, whatever the damage; nothing is
left behind. `fuzz_test.py` tries some hundreds of cases, `tools/fuzz.py` as many as asked for.
"""

import dataclasses
import json
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from deeplab.core import error_text
from deeplab.testing import tiny

# What may take the place of a word of a text file.
_ODD_WORDS = (
    *(b"", b"-1", b"0", b"1e999", b"-1e999", b"1e-50", b"NaN", b"Infinity", b"3.5", b"1e3", b"-0"),
    *(b"9" * 400, b"9" * 5000, b"null", b"true", b'"no"', b'""', b'"/"', b'"\\ud800"', b"0x10"),
    *(b'"\\u0000"', b"[]", b"{}", b"[null]", b"[" * 100_000, b'{"a":' * 20_000, b"\x00"),
    *(b"\xff\xfe", b"\xef\xbb\xbf", b"../../x", b"*?[", b"--", b"--flagfile="),
    *("é".encode(), "é".encode("latin-1")),
)
_WORD = re.compile(rb'"[^"]*"|[\w.+-]+')


@dataclasses.dataclass(frozen=True)
class Subject:
    """A file to damage, and how it is read.

    Args:
        name: What it is.
        files: The files that are read: path in their folder to content.
        victim: The path of the one that is damaged.
        read: Reads the files of a folder as a script does, and fails if what it accepts is not
            what training, say, would accept.
        is_text: Words of it are exchanged, too.
        called: What a message calls the file, a path, such as "" for the folder. Default: its path.
        weight: Share of the cases; small for subjects that are slow to read.
    """

    name: str
    files: Mapping[str, bytes]
    victim: str
    read: Callable[[str], None]
    is_text: bool = False
    called: str | None = None
    weight: float = 1.0


class Fault(AssertionError):
    """A damaged file that does not end in success or one clean error."""


def damage(data: bytes, random: np.random.Generator, is_text: bool) -> bytes:
    """Return the content with a few bytes flipped, a part cut, repeated or overwritten, or a word
    exchanged.
    """
    start, end = sorted(int(random.integers(len(data) + 1)) for _ in range(2))
    # Short parts are more likely to leave the rest as it is.
    if random.integers(2):
        end = min(end, start + int(random.integers(1, 9)))
    kinds = ["flip", "flip", "flip", "cut", "cut", "drop", "repeat", "noise", "zeros"]
    match random.choice(kinds + ["word"] * (len(kinds) * is_text)):
        case "cut":
            return data[:start]
        case "drop":
            return data[:start] + data[end:]
        case "repeat":
            return data[:end] + data[start:]
        case "noise":
            return data[:start] + random.bytes(end - start) + data[end:]
        case "zeros":
            return data[:start] + bytes(end - start) + data[end:]
        case "word":
            words = list(_WORD.finditer(data))
            if words:
                word = words[random.integers(len(words))]
                odd = _ODD_WORDS[random.integers(len(_ODD_WORDS))]
                return data[: word.start()] + odd + data[word.end() :]
    changed = bytearray(data)
    for _ in range(random.integers(1, 5)):
        changed[random.integers(len(data))] ^= 1 << int(random.integers(8))
    return bytes(changed)


def damaged(subject: Subject, number: int) -> bytes:
    """Return the content of a damaged file; the number alone decides about the damage."""
    random = np.random.default_rng([zlib.crc32(subject.name.encode()), number])
    return damage(subject.files[subject.victim], random, subject.is_text)


def write(files: Mapping[str, bytes], folder: str | os.PathLike[str]) -> None:
    """Write files into a folder, by their paths in it."""
    for name, data in files.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)


def check(subject: Subject, folder: str | os.PathLike[str], number: int) -> str:
    """Read a damaged file.

    Args:
        subject: What is damaged.
        folder: A folder to work in; what is in it is replaced.
        number: Number of the case.

    Returns:
        The message of the error, or "" if the file is accepted.

    Raises:
        Fault: The error is not a clean one, or files were left behind.
    """
    folder = os.path.join(folder, "fuzz")
    shutil.rmtree(folder, ignore_errors=True)
    write({**subject.files, subject.victim: damaged(subject, number)}, folder)
    before = _listing(folder)
    where = f"case {number} of {subject.name}"
    message = ""
    try:
        subject.read(folder)
    except (ValueError, OSError, tf.errors.OpError) as error:
        message = error_text.one_line(error)
        called = subject.victim if subject.called is None else subject.called
        if os.path.normpath(os.path.join(folder, called)) not in message:
            raise Fault(f"{where}: the error does not name {called}: {error!r}") from error
        if not isinstance(error, tf.errors.OpError) and "\n" in str(error):
            raise Fault(f"{where}: the error has several lines: {error!r}") from error
    except Exception as error:
        raise Fault(f"{where}: {error!r}") from error
    if left := _listing(folder) ^ before:
        raise Fault(f"{where}: left behind or lost: {sorted(left)}")
    return message


def json_bytes(value: object) -> bytes:
    """Return a JSON file."""
    return json.dumps(value, indent=1).encode()


def files_made_by(make: Callable[[str], object]) -> dict[str, bytes]:
    """Return the files that a function writes into a folder."""
    with tempfile.TemporaryDirectory() as folder:
        make(folder)
        found = {}
        for name in tiny.files(folder):
            with open(os.path.join(folder, name), "rb") as file:
                found[name] = file.read()
    return found


def _listing(folder: str) -> set[str]:
    return {
        os.path.relpath(os.path.join(root, name), folder)
        for root, folders, files in os.walk(folder)
        for name in [*folders, *files]
    }
