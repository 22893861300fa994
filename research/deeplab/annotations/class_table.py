"""The labels of named classes: their order, and which are merged, ignored or left out."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from deeplab.annotations.values import BACKGROUND, IGNORE, is_background


@dataclasses.dataclass(frozen=True)
class ClassRules:
    """The rules that turn names into classes.

    Args:
        class_names: Names in the order of the labels (--class_names); None: the order found.
        class_map: Names to replace, with another name, "ignore", "background", or "" for regions
            that are left out (--class_map).
        background: Whether the background is a class (--background); else its pixels are ignored.
        ignore_label: The ignore label.
    """

    class_names: tuple[str, ...] | None
    class_map: Mapping[str, str]
    background: bool
    ignore_label: int


@dataclasses.dataclass(frozen=True)
class ClassTable:
    """The classes of a dataset.

    Args:
        names: Name of each label 0, 1, ...
        labels: Label of each name that was found, the ignore label among them; None for names whose
            regions are left out.
        fill: Label of pixels without a region: that of the background, or the ignore label.
    """

    names: tuple[str, ...]
    labels: Mapping[str, int | None]
    fill: int

    def label(self, name: str) -> int | None:
        """Return the label of a name that was found; None if its regions are left out."""
        if name not in self.labels and is_background(name):
            return self.fill
        return self.labels[name]


def parse_class_map(entries: Sequence[str]) -> dict[str, str]:
    """Return the replacements of `--class_map`.

    Raises:
        ValueError: An entry is not <name>:<name>, or a name is replaced by one that is replaced.
    """
    class_map: dict[str, str] = {}
    for entry in entries:
        # The names of the data may contain colons.
        name, colon, other = entry.rpartition(":")
        name, other = name.strip(), other.strip()
        if not (name and colon):
            raise ValueError(
                f"--class_map has {entry!r}; it takes <name>:<name>, such as van:car,shadow:ignore"
            )
        if class_map.setdefault(name, other) != other:
            raise ValueError(f"--class_map has two replacements of {name!r}")
    for name, other in class_map.items():
        if class_map.get(other, other) != other:
            raise ValueError(
                f"--class_map replaces {name!r} by {other!r}, and that by {class_map[other]!r}:"
                " name the last one for both"
            )
    return class_map


def make(
    found: Sequence[str], listed: bool, rules: ClassRules, *, add_background: bool = True
) -> ClassTable:
    """Return the classes for the names of annotations.

    Args:
        found: The names, in the order of the labels if --class_names is not given.
        listed: Whether this is the annotations' own list of all classes; else they are the names
            that occur, and --class_names may have more.
        rules: The rules that the user gives.
        add_background: Whether a background that is not among the names comes in front; else only
            one that is among them is a class.

    Raises:
        ValueError: Names of --class_names or --class_map are not those of the annotations.
    """
    if add_background and any(map(is_background, rules.class_map)):
        raise ValueError("--class_map replaces the background; --background=false leaves it out")
    if unknown := set(rules.class_map) - set(found):
        raise ValueError(
            f"--class_map names {_shown(unknown)}, which the data does not have; it has"
            f" {_shown(found)}"
        )
    order = _mapped(rules.class_names or found, rules)
    if rules.class_names:
        _check_names(_mapped(found, rules), order, listed)
    backgrounds = [name for name in order if is_background(name)]
    names = [name for name in order if not is_background(name)]
    if rules.background and backgrounds and (rules.class_names or not add_background):
        names = order
    elif rules.background and add_background:
        names.insert(0, backgrounds[0] if backgrounds else BACKGROUND)
    places = {BACKGROUND if is_background(name) else name: i for i, name in enumerate(names)}
    fill = places.get(BACKGROUND, rules.ignore_label)
    labels: dict[str, int | None] = {IGNORE: rules.ignore_label, BACKGROUND: fill}
    for name in found:
        other = rules.class_map.get(name, name)
        if not other:
            labels[name] = None
        elif is_background(other):
            labels[name] = fill
        else:
            labels[name] = rules.ignore_label if other == IGNORE else places[other]
    return ClassTable(tuple(names), labels, fill)


def _mapped(names: Iterable[str], rules: ClassRules) -> list[str]:
    """Return the names that are left when some are replaced, each once."""
    mapped = (rules.class_map.get(name.strip(), name.strip()) for name in names)
    return list(dict.fromkeys(name for name in mapped if name and name != IGNORE))


def _check_names(found: Sequence[str], given: Sequence[str], listed: bool) -> None:
    """Reject --class_names that are not those of the annotations."""
    found_classes = {name for name in found if not is_background(name)}
    given_classes = {name for name in given if not is_background(name)}
    if missing := found_classes - given_classes:
        raise ValueError(
            f"--class_names does not have {_shown(missing)} of the annotations; they have"
            f" {_shown(found)}"
        )
    if listed and (unknown := given_classes - found_classes):
        raise ValueError(
            f"--class_names has {_shown(unknown)}, which the annotations do not have; they have"
            f" {_shown(found)}"
        )


def _shown(names: Iterable[str]) -> str:
    names = sorted(names) if isinstance(names, set) else list(names)
    return ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")
