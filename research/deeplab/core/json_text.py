"""JSON that users write."""

import json
import re
from typing import Any

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse(text: str | bytes, source: str) -> Any:
    """Parse JSON.

    Args:
        text: The text; bytes are UTF-8, with or without a byte order mark.
        source: Where it comes from, such as the path of a file, for messages.

    Raises:
        ValueError: The text is not JSON, is nested too deeply, or has half a character.
    """
    try:
        text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        if _SURROGATE.search(text):
            # Half a character; together with its other half it is one.
            json.dumps(json.loads(text), ensure_ascii=False).encode()
        return json.loads(text)
    except UnicodeEncodeError:
        raise ValueError(f"{source} is not usable: it has half a character (\\ud800)") from None
    except ValueError as error:
        raise ValueError(f"{source} is not JSON: {error}") from None
    except RecursionError:
        raise ValueError(f"{source} is not usable: its JSON is nested too deeply") from None
