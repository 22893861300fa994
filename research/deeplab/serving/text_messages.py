"""Reads protocol buffers in text format, of any message type."""

import re
from typing import Any

# A field holds numbers, strings, names or messages: one value for each time that it occurs.
Message = dict[str, list[Any]]

_TOKEN = re.compile(
    r"""\s*(?:\#[^\n]*\n?\s*)*
    (?P<token>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[\w.+-]+|[{}<>\[\]:,;]|$)""",
    re.VERBOSE,
)
# Deeper nesting is an error.
_MOST_DEPTH = 50
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_CLOSING = {"{": "}", "<": ">"}
_HEXADECIMAL = re.compile(r"-?0[xX][0-9a-fA-F]+")
_SPECIAL = frozenset("{}<>[]:,;")


def parse(text: str) -> Message:
    """Return the fields of a message.

    Numbers are int or float; strings and names, such as those of enumerations, are str; `true` and
    `false` are bool.

    Raises:
        ValueError: The text is not a message; the error names the line.
    """
    return _Parser(text).message("")


class _Parser:
    def __init__(self, text: str):
        self._text = text
        self._place = 0
        self._depth = 0
        self._next()

    def _next(self) -> str:
        """Return the token, and move on to the next one."""
        token = getattr(self, "_token", "")
        match = _TOKEN.match(self._text, self._place)
        if match is None:
            raise self._error("it cannot be read")
        self._token, self._place = match["token"], match.end()
        return token

    def _error(self, reason: str) -> ValueError:
        line = self._text.count("\n", 0, self._place) + 1
        return ValueError(f"line {line}: {reason}")

    def message(self, end: str) -> Message:
        """Read fields up to the token that ends the message."""
        found: Message = {}
        while self._token != end:
            name = self._next()
            if not re.fullmatch(r"[A-Za-z_]\w*", name):
                raise self._error(f"{name or 'the end'} in place of the name of a field")
            has_colon = self._token == ":"
            if has_colon:
                self._next()
            found.setdefault(name, []).extend(self._values(has_colon))
            if self._token in (",", ";"):
                self._next()
        self._next()
        return found

    def _values(self, has_colon: bool) -> list[Any]:
        if self._token != "[":
            return [self._value(has_colon)]
        self._next()
        values = []
        while self._token != "]":
            values.append(self._value(has_colon))
            if self._token == ",":
                self._next()
        self._next()
        return values

    def _value(self, has_colon: bool) -> Any:
        token = self._next()
        if token in _CLOSING:
            self._depth += 1
            if self._depth > _MOST_DEPTH:
                raise self._error("messages are nested too deeply")
            found = self.message(_CLOSING[token])
            self._depth -= 1
            return found
        if not has_colon or not token or token in _SPECIAL:
            raise self._error(f"{token or 'the end'} in place of a value")
        if token[0] in "\"'":
            value = _unescaped(token[1:-1])
            while self._token[:1] in ('"', "'"):
                value += _unescaped(self._next()[1:-1])
            return value
        if token in ("true", "false"):
            return token == "true"
        if _HEXADECIMAL.fullmatch(token):
            return int(token, 16)
        for kind in (int, float):
            try:
                return kind(token)
            except ValueError:
                continue
        return token


def _unescaped(text: str) -> str:
    r"""Return what a text stands for: `\"` for a quote, `\303\244` for the bytes of a letter."""

    def value(match: re.Match[bytes]) -> bytes:
        octal, hexadecimal, other = match.groups()
        if octal or hexadecimal:
            return bytes([int(octal or hexadecimal, 8 if octal else 16) % 256])
        return _ESCAPED.get(other, other)

    return _ESCAPE.sub(value, text.encode()).decode(errors="replace")
