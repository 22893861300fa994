"""Fields of protocol buffers as bytes, for messages whose definitions TensorFlow does not offer."""

from collections.abc import Iterator

# Types of fields: a number; and a length, followed by that number of bytes.
_NUMBER, _BYTES = 0, 2


def number_field(field: int, value: int) -> bytes:
    """Return a field that holds a number that is not negative."""
    return _varint(field << 3 | _NUMBER) + _varint(value)


def bytes_field(field: int, value: bytes | str) -> bytes:
    """Return a field that holds bytes, a text or a message."""
    data = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | _BYTES) + _varint(len(data)) + data


def values(message: bytes, field: int) -> list[bytes]:
    """Return the values of the fields with a number.

    Args:
        message: A message whose fields all hold bytes.
        field: Number of the field.

    Raises:
        ValueError, IndexError: A field is of another type, or the message ends early.
    """
    return [value for found, value in _fields(message) if found == field]


def _varint(value: int) -> bytes:
    """Return a number in groups of seven bits, the lowest first; all but the last have a flag."""
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            group = message[place]
            place += 1
            value |= (group & 0x7F) << shift
            shift += 7
            if not group & 0x80:
                return value

    while place < len(message):
        key = varint()
        if key & 7 != _BYTES:
            raise ValueError(f"a field of type {key & 7}")
        length = varint()
        if place + length > len(message):
            raise ValueError("the message ends early")
        yield key >> 3, message[place : place + length]
        place += length
