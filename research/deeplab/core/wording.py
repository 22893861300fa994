"""Words of messages that depend on a number or on the word after them."""


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, such as "1 class" or "2 classes"."""
    return f"{count} {noun if count == 1 else _plural(noun)}"


def _plural(noun: str) -> str:
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def agree(count: int, one: str, more: str) -> str:
    """Return the word for one, such as "is", or that for another number, such as "are"."""
    return one if count == 1 else more


def with_article(noun: str) -> str:
    """Return a noun with "a", or "an" before a vowel."""
    return f"{'an' if noun[:1].lower() in ('a', 'e', 'i', 'o', 'u') else 'a'} {noun}"
