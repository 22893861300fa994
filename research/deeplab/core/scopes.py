"""Official names: where variables and layers of Keras lie in the official code."""

import contextlib
from collections.abc import Iterator

import keras


def official_name(path: str, network: str) -> str:
    """Return the official name of a variable or layer of a network.

    Args:
        path: Its path in Keras.
        network: The network's name, with which the path begins.
    """
    return official(path.partition(f"{network}/")[2])


def official(path: str) -> str:
    """Return the official form of a path.

    Parts of the path that start with a dot group others and are not an official scope; `..` says
    that what follows belongs to the scope above.
    """
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts.pop()
        elif part and not part.startswith("."):
            parts.append(part)
    return "/".join(parts)


@contextlib.contextmanager
def nested(path: str) -> Iterator[None]:
    """Open nested Keras name scopes, for official scopes that are not layers; "": none."""
    with contextlib.ExitStack() as stack:
        for name in path.split("/") if path else ():
            stack.enter_context(keras.name_scope(name))
        yield
