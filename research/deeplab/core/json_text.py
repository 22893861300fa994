"""JSON that users write."""

import json
import re
from typing import Any

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
# A longer name is cut in a message.
_MAX_QUOTED = 80


class _TwiceError(Exception):
    """Raised for a field that is there twice, with its name."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _TwiceError(name)
            seen.add(name)
    return fields


def parse(text: str | bytes, source: str) -> Any:
    """Parse JSON.

    Args:
        text: The text; bytes are UTF-8, with or without a byte order mark.
        source: Its source, such as the path of a file, for messages.

    Raises:
        ValueError: The text is not JSON, is nested too deeply, or has half a character; or an
            object has a field twice, of which all but one would be lost.
    """
    try:
        text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        if _SURROGATE.search(text):
            # An escape is half of a character. Both halves together can be encoded, one cannot.
            json.dumps(json.loads(text), ensure_ascii=False).encode()
        return json.loads(text, object_pairs_hook=_object)
    except _TwiceError as error:
        name = repr(error.args[0])[:_MAX_QUOTED]
        raise ValueError(f"{source} is not usable: an object has the field {name} twice") from None
    except UnicodeEncodeError:
        raise ValueError(f"{source} is not usable: it has half a character (\\ud800)") from None
    except ValueError as error:
        raise ValueError(f"{source} is not JSON: {error}") from None
    except RecursionError:
        raise ValueError(f"{source} is not usable: its JSON is nested too deeply") from None
