"""The versions of an export on disk, the version that a server takes, and its permissions."""

import dataclasses
import os
import re
import stat

import tensorflow as tf

from deeplab.core.wording import agree, counted
from deeplab.export import destination, runtimes
from deeplab.serving.findings import ExportFindings
from deeplab.utils import checkpoint_files, file_systems
from deeplab.weights import foreign_files

# The user of KServe's runtime, and of many others that are not root.
OTHER_USER = 1000
# Versions are 64-bit integers.
_LIMIT = 2**63


@dataclasses.dataclass(frozen=True)
class Version:
    """A folder whose name is a number.

    Args:
        number: The number.
        name: The name, which may have leading zeros.
        bytes: Size of its files.
        is_whole: Whether it is a folder with a graph.
    """

    number: int
    name: str
    bytes: int
    is_whole: bool


@dataclasses.dataclass(frozen=True)
class Stored:
    """The SavedModel at a path, and the versions beside it.

    Args:
        checked: Folder of the SavedModel that is checked.
        base: Folder of the versions; None if the SavedModel has no number.
        versions: The versions, sorted by number.
        strays: Names of everything else in the folder of the versions.
        served: Number of the version that a server takes; None without versions.
    """

    checked: str
    base: str | None = None
    versions: tuple[Version, ...] = ()
    strays: tuple[str, ...] = ()
    served: int | None = None


def find(path: str) -> Stored:
    """Find the SavedModel at a path, or the one that a server takes from a folder of versions.

    Raises:
        FileNotFoundError: There is nothing at the path.
        ValueError: There is no SavedModel at the path.
    """
    path = path.rstrip("/") or path
    if _is_saved_model(path):
        name = os.path.basename(os.path.abspath(path))
        if _number(name) is None:
            return Stored(path)
        base = os.path.dirname(path if file_systems.is_remote(path) else os.path.abspath(path))
        versions, strays = _versions(base)
        return Stored(path, base, versions, strays, versions[-1].number)
    versions, strays = _versions(path)
    if versions:
        checked = os.path.join(path, versions[-1].name)
        return Stored(checked, path, versions, strays, versions[-1].number)
    raise _no_saved_model(path)


def _no_saved_model(path: str) -> Exception:
    """Return the error about a path that holds no SavedModel."""
    wanted = "give the folder of a SavedModel, or of its versions"
    if checkpoint_files.latest(path):
        return ValueError(
            f"--export_path={path} is a checkpoint: export it first, with deeplab-export-model"
            f" --checkpoint_path={path} --export_path=FOLDER"
        )
    if not file_systems.exists(path):
        return FileNotFoundError(f"--export_path={path} is not there; {wanted}")
    below = [os.path.join(path, name) for name in file_systems.names_in(path)]
    models = [each for each in below if _is_saved_model(runtimes.newest_version(each))]
    if models:
        return ValueError(
            f"--export_path={path} holds the models {', '.join(models)}: check each of them"
        )
    meaning = foreign_files.describe(path) or "no export"
    return ValueError(f"--export_path={path} is {meaning}; {wanted}")


def _is_saved_model(path: str) -> bool:
    return tf.saved_model.contains_saved_model(path)


def _number(name: str) -> int | None:
    if not re.fullmatch("[0-9]+", name) or int(name) >= _LIMIT:
        return None
    return int(name)


def _versions(base: str) -> tuple[tuple[Version, ...], tuple[str, ...]]:
    versions, strays = [], []
    for name in file_systems.names_in(base):
        name = name.rstrip("/")
        number = _number(name)
        if number is None:
            strays.append(name)
            continue
        path = os.path.join(base, name)
        versions.append(Version(number, name, total_bytes(path), _is_saved_model(path)))
    return tuple(sorted(versions, key=lambda each: (each.number, each.name))), tuple(strays)


def sizes(path: str) -> dict[str, int]:
    """Return the size in bytes of each file below a folder, or of a file."""
    if not file_systems.is_folder(path):
        return {os.path.basename(path): _length(path)}
    with file_systems.without_wildcards(path) as plain:
        return {
            os.path.relpath(os.path.join(folder, name), plain): _length(os.path.join(folder, name))
            for folder, _, names in tf.io.gfile.walk(plain)
            for name in names
        }


def _length(path: str) -> int:
    try:
        return tf.io.gfile.stat(path).length
    except tf.errors.NotFoundError:  # It is a link to nothing.
        return 0


def total_bytes(path: str) -> int:
    """Return the size in bytes of all files below a folder, or of a file."""
    return sum(sizes(path).values())


def judge(stored: Stored, findings: ExportFindings) -> None:
    """Add the faults of versions and permissions to the findings."""
    if stored.base is None:
        findings.warn(
            "no_version",
            f"{stored.checked} has no number: a server looks for folders such as"
            f" {os.path.join(stored.checked, '1')} (deeplab-export-model --next_version)",
        )
    for version in stored.versions:
        path = os.path.join(stored.base, version.name)
        if not version.is_whole:
            text = f"{path} is called like a version, but has no {destination.SAVED_MODEL_FILE}"
            if version.number == stored.served:
                findings.fault("incomplete_version", f"{text}, and a server would take it")
            else:
                findings.warn("incomplete_version", text)
        if version.name != str(version.number):
            findings.warn(
                "leading_zeros",
                f"{path} has leading zeros, which some platforms refuse: rename it to"
                f" {version.number}",
            )
    numbers = [version.number for version in stored.versions]
    for number in sorted({number for number in numbers if numbers.count(number) > 1}):
        findings.fault(
            "same_version", f"{stored.base} has two folders for version {number}: remove one"
        )
    checked = _number(os.path.basename(os.path.abspath(stored.checked)))
    if stored.served is not None and checked != stored.served:
        findings.note(
            "not_served",
            f"a server takes version {stored.served} of {stored.base}, not {checked}, which is"
            " checked here",
        )
    if stored.strays:
        findings.warn(
            "stray_files",
            f"{stored.base} holds {counted(len(stored.strays), 'entry')}"
            f" {agree(len(stored.strays), 'that is not a version', 'that are not versions')},"
            " which a"
            f" server ignores: {', '.join(stored.strays[:4])}",
        )
    denied = _denied(stored)
    if denied:
        findings.fault(
            "permissions",
            f"another user, such as {OTHER_USER} in KServe, cannot read {denied[0]}"
            + (f" and {counted(len(denied) - 1, 'other')}" if len(denied) > 1 else "")
            + f": chmod -R a+rX {stored.base or stored.checked}",
        )


def _denied(stored: Stored) -> list[str]:
    """Return the paths that another user cannot read: the SavedModel, its files, its parent."""
    if file_systems.is_remote(stored.checked):
        return []
    paths = [path for path in (stored.base, stored.checked) if path]
    for folder, folders, names in os.walk(stored.checked):
        paths += [os.path.join(folder, name) for name in (*folders, *names)]
    return [path for path in paths if os.path.exists(path) and not may_read(path)]


def may_read(path: str) -> bool:
    """Return whether another user than the owner can read a file, or enter a folder."""
    if file_systems.is_remote(path):
        return True
    found = os.stat(path)
    is_folder = stat.S_ISDIR(found.st_mode)
    needed = stat.S_IROTH | (stat.S_IXOTH if is_folder else 0)
    mode = found.st_mode >> 6 if found.st_uid == OTHER_USER else found.st_mode
    return mode & needed == needed
