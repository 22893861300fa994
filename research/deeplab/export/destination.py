"""Checks the path of an export: whether it is possible, and may be replaced."""

import os

import tensorflow as tf

from deeplab import common
from deeplab.cli import writable
from deeplab.export import model_card, numbered_folders, saved_model, server_files
from deeplab.utils import checkpoint, file_systems

SAVED_MODEL_FILE = "saved_model.pb"

_OWN_FILES = {
    *(SAVED_MODEL_FILE, "fingerprint.pb", "variables", "assets", "assets.extra"),
    *(saved_model.DATASET_FILE, common.OPTIONS_FILE, model_card.FILE, server_files.BATCHING_FILE),
}


def is_frozen_graph(path: str) -> bool:
    """Return whether an export to this path is a frozen graph."""
    return path.endswith(".pb")


def is_onnx(path: str) -> bool:
    """Return whether an export to this path is an ONNX model."""
    return path.endswith(".onnx")


def is_file(path: str) -> bool:
    """Return whether an export to this path is a file, not the folder of a SavedModel."""
    return is_frozen_graph(path) or is_onnx(path)


def _extension(path: str) -> str:
    return os.path.splitext(path)[1]


def check(path: str) -> None:
    """Reject a path whose content an export may not replace.

    A frozen graph or an ONNX model may replace a file. A SavedModel may replace an empty folder, or
    an earlier export whose folder holds nothing else.

    Raises:
        ValueError: Something else is at the path, or a parent of it is a file.
    """
    if not path:
        raise ValueError("--export_path is empty")
    if file_systems.is_remote(path):
        if tf.io.gfile.exists(path) and not is_file(path):
            raise ValueError(
                f"--export_path={path} is there already, and a folder in this file system cannot be"
                " replaced in one step: choose another --export_path"
            )
        return
    # Temporary files lie beside the folder, so beside the target of a link.
    beside = os.path.realpath(path) if os.path.isdir(path) else os.path.abspath(path)
    if reason := writable.why_no_files_in(os.path.dirname(beside)):
        raise ValueError(f"--export_path={path} cannot be written: {reason}")
    if is_file(path):
        if os.path.basename(path) == SAVED_MODEL_FILE and os.path.exists(path):
            raise ValueError(
                f"--export_path={path} is a part of the SavedModel {os.path.dirname(path) or '.'}:"
                " give that folder to replace it, or another name to a frozen graph"
            )
        if os.path.isdir(path):
            raise ValueError(
                f"--export_path={path} ends in {_extension(path)}, so it is a file, but a folder"
                " has that name"
            )
        return
    advice = "choose another --export_path, or move that file or folder"
    if os.path.lexists(path) and not os.path.isdir(path):
        raise ValueError(
            f"--export_path={path} is an existing file, but a SavedModel is a folder (a frozen"
            f" graph ends in .pb): {advice}"
        )
    present = set(os.listdir(path)) if os.path.isdir(path) else set()
    if SAVED_MODEL_FILE not in present and (version := _a_version_in(path)):
        raise ValueError(
            f"--export_path={path} holds versions, such as {version}: add --next_version"
        )
    if present and SAVED_MODEL_FILE not in present:
        raise ValueError(
            f"--export_path={path} exists and is not an earlier export; it holds {min(present)}:"
            f" {advice}"
        )
    own = set(_OWN_FILES)
    if present and (options := checkpoint.load_options(path)):
        own.add(os.path.basename(options.dense_prediction_cell_json))
    if others := present - own:
        raise ValueError(
            f"--export_path={path} holds {min(others)}, which does not belong to the earlier"
            f" export and would be lost: {advice}"
        )


def check_base(path: str) -> None:
    """Reject a path that cannot be the folder around numbered versions.

    Raises:
        ValueError: It is a file or an export itself, or a parent of it is a file.
    """
    if not path:
        raise ValueError("--export_path is empty")
    if is_file(path):
        raise ValueError(
            f"--next_version: --export_path={path} ends in {_extension(path)}, so it is a file;"
            " give the folder of the versions"
        )
    if file_systems.exists(os.path.join(path, SAVED_MODEL_FILE)):
        raise ValueError(
            f"--next_version: --export_path={path} is an export itself; give the folder of the"
            " versions"
        )
    if file_systems.is_remote(path):
        return
    if os.path.lexists(path) and not os.path.isdir(path):
        raise ValueError(f"--next_version: --export_path={path} is an existing file, not a folder")
    beside = os.path.dirname(os.path.abspath(path))
    if server_files.is_version(path) and (version := _a_version_in(beside)):
        raise ValueError(
            f"--next_version: a server would take --export_path={path} for a version, because"
            f" {version} is beside it: give {beside}"
        )
    writable.check_folder("export_path", path)


def _a_version_in(folder: str) -> str | None:
    """Return the name of the newest version of a served model in a folder, if there is one."""
    names = (name for _, name in reversed(numbered_folders.named(folder)))
    whole = (each for each in names if os.path.exists(os.path.join(folder, each, SAVED_MODEL_FILE)))
    return next(whole, None)
