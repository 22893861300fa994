"""Fields that state their range and meaning in their type, and the check of their values.

Example:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Options:
        batch_size: Annotated[PositiveInt, "Images per step."] = 8

        def __post_init__(self):
            validate(self)
"""

import ctypes
import dataclasses
import functools
import math
import numbers
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

# A longer value is cut in an error message.
_MAX_QUOTED = 80


@dataclasses.dataclass(frozen=True, kw_only=True)
class Range:
    """The numbers between two bounds, each of them part of the range or not, or left out."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def __contains__(self, value: float) -> bool:
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        bounds = dataclasses.asdict(self).items()
        return " and ".join(
            f"{name.replace('_', ' ')} {bound}" for name, bound in bounds if bound is not None
        )


@dataclasses.dataclass(frozen=True)
class NotAllZero:
    """Sequences that have a number other than 0."""

    def __contains__(self, values: Sequence[float]) -> bool:
        return any(values)

    def __str__(self) -> str:
        return "not all 0"


@dataclasses.dataclass(frozen=True)
class InOneFlag:
    """Marks a sequence whose flag takes all values, separated by commas; others are repeated."""


# More steps, seconds or images than there will ever be, which 64 bits hold.
_MANY = 10**12

PositiveInt = Annotated[int, Range(at_least=1, at_most=_MANY)]
NonNegativeInt = Annotated[int, Range(at_least=0, at_most=_MANY)]
PositiveFloat = Annotated[float, Range(above=0, at_most=_MANY)]
NonNegativeFloat = Annotated[float, Range(at_least=0, at_most=_MANY)]
Share = Annotated[float, Range(at_least=0, at_most=1)]
# A side of an image in pixels. The features of a larger image need more memory than a machine has.
Side = Annotated[int, Range(at_least=1, at_most=16384)]
# Height and width.
Size = Annotated[tuple[Side, Side], InOneFlag()]
# Texts in one flag.
Texts = Annotated[tuple[str, ...], InOneFlag()]
# Scale of an image.
Scale = Annotated[float, Range(above=0, at_most=16)]
# Images at a time.
BatchSize = Annotated[int, Range(at_least=1, at_most=65536)]
# Channels of a layer.
Channels = Annotated[int, Range(at_least=1, at_most=16384)]
# Distance between the taps of a kernel, in pixels of the features. Features are padded by it, which
# takes gigabytes above this.
AtrousRate = Annotated[int, Range(at_least=1, at_most=256)]
# Names of the classes and a confusion matrix limit it.
NumClasses = Annotated[int, Range(at_least=2, at_most=65536)]


@dataclasses.dataclass(frozen=True)
class Field:
    """The definition of a field.

    Attributes:
        default: Its default.
        help: Its meaning, a sentence.
        type: `bool`, `int`, `float` or `str`: of the value, or of the elements of a sequence.
        is_sequence: Whether the value is a tuple.
        in_one_flag: Whether it is a tuple whose flag takes all values; else it is repeated.
        choices: The values that it may have, if they are listed.
        hint: The type with its range; see `convert`.
    """

    default: Any
    help: str
    type: type
    is_sequence: bool
    in_one_flag: bool
    choices: tuple[str, ...] | None
    hint: Any

    @property
    def is_number(self) -> bool:
        """Whether the value is a number, or numbers."""
        return self.type in (int, float)


@functools.cache
def describe(options_class: type) -> Mapping[str, Field]:
    """Return the fields of a dataclass by their names, in the order of their definition."""
    hints = _hints(options_class)
    described = {}
    for field in dataclasses.fields(options_class):
        help_text = next(
            (text for text in _metadata(hints[field.name]) if isinstance(text, str)), ""
        )
        hint = _required(hints[field.name])
        is_sequence = typing.get_origin(hint) is tuple
        if is_sequence:
            hint = _required(typing.get_args(hint)[0])
        choices = typing.get_args(hint) if typing.get_origin(hint) is Literal else None
        described[field.name] = Field(
            field.default,
            help_text,
            str if choices else hint,
            is_sequence,
            is_sequence and _is_in_one_flag(hints[field.name]),
            choices,
            hints[field.name],
        )
    return described


def validate(options: Any, prefix: str = "", flags: Mapping[str, str] | None = None) -> None:
    """Check every field of a dataclass against its type, and keep it as exactly that type.

    A sequence may be given as any sequence of numbers or of their decimal strings, or as text with
    commas; it is kept as a tuple. An empty one is None, where None is allowed.

    Args:
        options: A frozen dataclass, in its `__post_init__`.
        prefix: Prefix of the flag of a field before the field's name.
        flags: Names, for error messages, of fields that have no flag of their name.

    Raises:
        ValueError: A value has another type, is out of range, infinite or not a number. The message
            names the flag.
    """
    for name, hint in _hints(type(options)).items():
        value = getattr(options, name)
        try:
            object.__setattr__(options, name, convert(hint, value))
        except ValueError as error:
            flag = (flags or {}).get(name, f"--{prefix}{name}")
            raise ValueError(f"{flag} is {quoted(value)}; {error}") from None


def check_belongs(
    options: Any, name: str, choice: str, owners: Sequence[str], remedy: str = "remove one of them"
) -> None:
    """Reject a field that is set although the choice it belongs to is not made.

    Args:
        options: A dataclass.
        name: The field, such as "focal_gamma".
        choice: The field that chooses, such as "loss".
        owners: The values of it that the field has an effect with.
        remedy: Advice at the end of the message.

    Raises:
        ValueError: The field has no effect; the message names both flags.
    """
    value, chosen = getattr(options, name), getattr(options, choice)
    if chosen not in owners and value != describe(type(options))[name].default:
        raise ValueError(
            f"--{name}={value} belongs to --{choice}={owners[0]}, but --{choice} is {chosen};"
            f" {remedy}"
        )


def convert(hint: Any, value: Any) -> Any:
    """Return a value as exactly the type of a field; see `validate`.

    Args:
        hint: The type, such as `PositiveInt`.
        value: The value.

    Raises:
        ValueError: It has another type, or is out of range. The message says what it must be.
    """
    try:
        return _converted(hint, value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"it must be {_wanted(hint, value, '', 'a ')}") from None


@functools.cache
def _hints(options_class: type) -> Mapping[str, Any]:
    hints = typing.get_type_hints(options_class, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(options_class)}


def _metadata(hint: Any) -> tuple[Any, ...]:
    return getattr(hint, "__metadata__", ())


def _in_32_bits(value: float) -> float:
    """Return the value that networks compute with: infinite if it is too large, 0 if too small."""
    return ctypes.c_float(value).value


def _ranges(hint: Any) -> list[Range | NotAllZero]:
    return [bounds for bounds in _metadata(hint) if isinstance(bounds, Range | NotAllZero)]


def _overlap(ranges: Iterable[Range]) -> Range:
    """Return the range of the numbers that are in all of some ranges."""
    lower, upper = (-math.inf, False), (math.inf, True)
    for each in ranges:
        lows = ((each.at_least, False), (each.above, True))
        highs = ((each.at_most, True), (each.below, False))
        lower = max([lower, *(low for low in lows if low[0] is not None)])
        upper = min([upper, *(high for high in highs if high[0] is not None)])
    bounds = {"above" if lower[1] else "at_least": lower[0]}
    bounds |= {"at_most" if upper[1] else "below": upper[0]}
    return Range(**{name: bound for name, bound in bounds.items() if math.isfinite(bound)})


def _range_texts(ranges: Iterable[Range | NotAllZero], value: Any) -> list[str]:
    """Return ranges in words. A limit that no sensible value reaches is left out if none did."""
    ranges = list(ranges)
    found = _overlap(each for each in ranges if isinstance(each, Range))
    if not _reaches_many(value):
        bounds = dataclasses.asdict(found).items()
        found = Range(**{name: b for name, b in bounds if b is not None and abs(b) != _MANY})
    return [*filter(None, [str(found)]), *(str(e) for e in ranges if isinstance(e, NotAllZero))]


def _reaches_many(value: Any) -> bool:
    """Return whether a number, or one of several, is so large that `_MANY` limits it."""
    values = value.split(",") if isinstance(value, str) else value
    try:
        return any(abs(float(each)) >= _MANY for each in values)
    except OverflowError:
        return True
    except (TypeError, ValueError):
        return isinstance(value, numbers.Real) and abs(value) >= _MANY


def _is_optional(hint: Any) -> bool:
    return typing.get_origin(hint) in (types.UnionType, typing.Union)


def _is_in_one_flag(hint: Any) -> bool:
    """Return whether a sequence, or the type of its entries, has the mark `InOneFlag`."""
    if any(isinstance(each, InOneFlag) for each in _metadata(hint)):
        return True
    inner = typing.get_args(hint)[:1] if _metadata(hint) else ()
    return any(map(_is_in_one_flag, [_union_member(hint)] if _is_optional(hint) else inner))


def _required(hint: Any) -> Any:
    """Return the type without `Annotated` and `| None`."""
    while True:
        if _metadata(hint):
            hint = typing.get_args(hint)[0]
        elif _is_optional(hint):
            (hint,) = (arg for arg in typing.get_args(hint) if arg is not types.NoneType)
        else:
            return hint


def _converted(hint: Any, value: Any) -> Any:
    """Return the value as the type that is asked for.

    Raises:
        ValueError, TypeError, OverflowError: It cannot be.
    """
    if _metadata(hint):
        value = _converted(typing.get_args(hint)[0], value)
        if value is not None and not all(value in bounds for bounds in _ranges(hint)):
            raise ValueError
        if isinstance(value, float) and not all(
            _in_32_bits(value) in bounds for bounds in _ranges(hint)
        ):
            raise ValueError
        return value
    if _is_optional(hint):
        if value is None or (typing.get_origin(_required(hint)) is tuple and len(value) == 0):
            return None
        return _converted(_union_member(hint), value)
    if typing.get_origin(hint) is tuple:
        return _converted_sequence(typing.get_args(hint), value)
    if typing.get_origin(hint) is Literal:
        valid = value in typing.get_args(hint)
    elif hint in (int, float):
        valid = isinstance(value, numbers.Real) and not isinstance(value, bool)
        valid = valid and math.isfinite(value) and hint(value) == value
        valid = valid and (hint is int or math.isfinite(_in_32_bits(value)))
        value = hint(value)
    else:
        valid = isinstance(value, hint)
    if not valid:
        raise ValueError
    return value


def _union_member(hint: Any) -> Any:
    (member,) = (arg for arg in typing.get_args(hint) if arg is not types.NoneType)
    return member


def _converted_sequence(hints: tuple[Any, ...], values: Any) -> tuple[Any, ...]:
    if isinstance(values, str):
        values = values.split(",")
    if _required(hints[0]) in (int, float):
        values = [float(value) if isinstance(value, str) else value for value in values]
    if hints[-1] is Ellipsis:
        hints = hints[:1] * len(values)
    if not values:
        raise ValueError
    return tuple(_converted(hint, value) for hint, value in zip(hints, values, strict=True))


def _wanted(hint: Any, value: Any, plural: str, article: str) -> str:
    """Return a description of the values that are allowed."""
    if _metadata(hint):
        words = _wanted(typing.get_args(hint)[0], value, plural, article)
        ranges = _range_texts(_ranges(hint), value)
        return ", ".join([words, *(f"each {bounds}" if plural else bounds for bounds in ranges)])
    if _is_optional(hint):
        return _wanted(_union_member(hint), value, plural, article)
    if typing.get_origin(hint) is tuple:
        element = typing.get_args(hint)[0]
        if typing.get_origin(element) is tuple:
            return f"{article}matrix of numbers"
        elements = _wanted(element, value, "s", "")
        pair = typing.get_args(hint)[-1] is not Ellipsis
        return f"height,width: two {elements}" if pair else f"{article}list of {elements}"
    if typing.get_origin(hint) is Literal:
        return f"{'some' if plural else 'one'} of {', '.join(typing.get_args(hint))}"
    names = {int: "whole number", float: "finite number", bool: "truth value", str: "string"}
    return f"{article}{names.get(hint, hint.__name__)}{plural}"


def quoted(value: Any) -> str:
    """Return a value as messages show it: in one line, cut if it is long."""
    try:
        text = " ".join(repr(value).split())
    except RecursionError:
        return "a value that is nested too deeply"
    return text if len(text) <= _MAX_QUOTED else f"{text[: _MAX_QUOTED - 3]}..."
