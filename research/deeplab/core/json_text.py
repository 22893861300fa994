"""JSON that users write."""

import json
from typing import Any


def parse(text: str | bytes, source: str) -> Any:
    """Parse JSON.

    Args:
        text: The text; bytes are UTF-8, with or without a byte order mark.
        source: Where it comes from, such as the path of a file, for messages.

    Raises:
        ValueError: The text is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text)
    except ValueError as error:
        raise ValueError(f"{source} is not JSON: {error}") from None
    except RecursionError:
        raise ValueError(f"{source} is not usable: its JSON is nested too deeply") from None
