"""Error messages in one line."""

import os
import re
import sys

# The folder of this package.
_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")
# Beginnings of the lines that TensorFlow puts before the message of an operation.
_AROUND_AN_ERROR = (
    "Graph execution error",
    "Detected at node",
    "<stack traces",
    'File "',
    "Node: ",
)
# Characters at which a terminal or `splitlines` may break a line. Names of files may have them.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_ANY_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# A message of this package has line breaks only where it quotes a name. A message with more line
# breaks quotes another library; its first line is enough.
_MOST_BREAKS = 3
# A longer line is cut: it quotes a file whose content does not fit its name.
_MAX_LENGTH = 4000

# A value that is quoted is cut, too.
_MAX_QUOTED = 300


def shortened(text: str) -> str:
    """Return the text, cut in the middle if it quotes a long value."""
    if len(text) <= _MAX_QUOTED:
        return text
    return f"{text[: _MAX_QUOTED // 2]} ... {text[-_MAX_QUOTED // 2 :]}"


def escaped(text: str) -> str:
    """Return the text in one line: line breaks and control characters are written as in Python."""
    return _ANY_CONTROLS.sub(lambda match: repr(match[0])[1:-1], text)


def is_of_tensorflow(error: Exception) -> bool:
    """Return whether an operation failed; do not import TensorFlow for the answer."""
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and isinstance(error, tensorflow.errors.OpError)


def _is_ours(error: Exception | str) -> bool:
    """Return whether an error was raised by this package."""
    trace = getattr(error, "__traceback__", None)
    while trace and trace.tb_next:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code.co_filename.startswith(_PACKAGE)


def one_line(error: Exception | str) -> str:
    """Return the message of an error without the operations and source lines around it.

    Control characters are written as Python does, and so are line breaks in a name that a message
    of this package quotes.
    """
    text = str(getattr(error, "message", error)).strip()
    breaks = text.count("\n") + text.count("\r")
    if 0 < breaks <= _MOST_BREAKS and _is_ours(error) and not is_of_tensorflow(error):
        return escaped(text)[:_MAX_LENGTH]
    found = (
        re.sub(r"\{\{.*?\}\}|\[Op:[^]]*\].*|\[\[.*?\]\]", "", line[:_MAX_LENGTH])
        for line in re.split("\r\n|\r|\n", text)
    )
    lines = [_CONTROLS.sub(lambda match: repr(match[0])[1:-1], line.strip()) for line in found]
    lines = [line for line in lines if line]
    if lines and lines[0].startswith("in user code"):
        # Raised while a function was traced: its own message is the last line.
        return re.sub(r"^\w+: ", "", lines[-1])
    lines = [line for line in lines if not line.startswith(_AROUND_AN_ERROR)]
    return lines[0] if lines else type(error).__name__
