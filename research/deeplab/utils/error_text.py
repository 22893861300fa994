"""Errors as one line."""

import re

# How the lines begin that TensorFlow puts before the message of an operation.
_AROUND_AN_ERROR = ("Graph execution error", "Detected at node", "<stack traces", "File ", "Node: ")


def one_line(error: Exception | str) -> str:
    """What went wrong, without the stack of operations or source lines around it."""
    message = re.sub(
        r"\{\{.*?\}\}|\[Op:[^]]*\].*|\[\[.*?\]\]", "", str(getattr(error, "message", error))
    )
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if lines and lines[0].startswith("in user code"):
        # An error in a function that was being traced; its own message comes last.
        return re.sub(r"^\w+: ", "", lines[-1])
    lines = [line for line in lines if not line.startswith(_AROUND_AN_ERROR)]
    return lines[0] if lines else type(error).__name__
