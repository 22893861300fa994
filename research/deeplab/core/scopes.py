"""Official names: where Keras' variables and layers lie, as the official code calls it."""

import contextlib
from collections.abc import Iterator

import keras


def official_name(path: str, network: str) -> str:
    """The official name of what has a path in a network.

    Parts of the path that start with a dot group others and are no official scope; `..` says that
    what follows belongs to the scope above.

    Args:
        path: of a variable or layer.
        network: the network's name, which the path has in front of it.
    """
    _, _, path = path.partition(f"{network}/")
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts.pop()
        elif not part.startswith("."):
            parts.append(part)
    return "/".join(parts)


@contextlib.contextmanager
def nested(path: str) -> Iterator[None]:
    """Nested Keras name scopes, for official scopes that are no layers; "": none."""
    with contextlib.ExitStack() as stack:
        for name in path.split("/") if path else ():
            stack.enter_context(keras.name_scope(name))
        yield
