"""Checks whether the configuration files of TensorFlow Serving fit the export beside them."""

import os
from collections.abc import Mapping
from typing import Any

from deeplab.export import server_files
from deeplab.serving import stored_versions, text_messages
from deeplab.serving.findings import ExportFindings
from deeplab.serving.stored_versions import Stored
from deeplab.utils import file_systems, files

# The maximum batch size of a server whose file does not state it.
_MAX_BATCH_SIZE = 1000
# Fields of the messages in a file, by the names of the fields that hold the messages.
_FIELDS = {
    server_files.MODELS_FILE: {
        (): {"model_config_list", "custom_model_config"},
        ("model_config_list",): {"config"},
        ("model_config_list", "config"): {
            *("name", "base_path", "model_type", "model_platform", "model_version_policy"),
            *("version_labels", "logging_config"),
        },
    },
    server_files.MONITORING_FILE: {
        (): {"prometheus_config"},
        ("prometheus_config",): {"enable", "path"},
    },
}


def judge(stored: Stored, folder: str | None, findings: ExportFindings) -> list[str]:
    """Add the faults of configuration files to the findings.

    Args:
        stored: The export.
        folder: Folder of the server's files. None: look beside the folder of the versions.
        findings: List to which new findings are added.

    Returns:
        The files that were read.

    Raises:
        FileNotFoundError: The given folder holds no such file.
    """
    paths = _in_folder(stored, folder)
    batching = os.path.join(stored.checked, server_files.BATCHING_FILE)
    if file_systems.exists(batching):
        paths.append(batching)
    if denied := [path for path in paths if not stored_versions.may_read(path)]:
        findings.fault(
            "permissions",
            f"another user, such as {stored_versions.OTHER_USER} in KServe, cannot read"
            f" {denied[0]}: chmod a+r {' '.join(denied)}",
        )
    for path in paths:
        try:
            content = text_messages.parse(files.read_bytes(path).decode())
        except ValueError as error:
            findings.fault("server_file", f"{path}: {error}")
            continue
        name = os.path.basename(path)
        if unknown := _unknown_fields(content, _FIELDS.get(name, {})):
            findings.fault(
                "server_file",
                f"{path}: the server knows no field {unknown[0]} there, and would not start",
            )
        elif name == server_files.MODELS_FILE:
            _judge_models(path, content, stored, findings)
        elif name == server_files.BATCHING_FILE:
            _judge_batching(path, content, findings)
    return paths


def _in_folder(stored: Stored, folder: str | None) -> list[str]:
    above = os.path.dirname(stored.base) if stored.base else None
    places = (folder,) if folder else (above, stored.base)
    names = (server_files.MODELS_FILE, server_files.MONITORING_FILE)
    for place in places:
        paths = [os.path.join(place, name) for name in names] if place is not None else []
        if found := [path for path in paths if file_systems.exists(path)]:
            return found
    if folder:
        raise FileNotFoundError(
            f"--server_config_dir={folder} has neither {names[0]} nor {names[1]}"
        )
    return []


def _unknown_fields(
    content: text_messages.Message, known: Mapping[tuple[str, ...], set[str]]
) -> list[str]:
    """Return the names of fields that are not known where they are."""
    return [
        name
        for place, names in known.items()
        for message in _messages(content, *place)
        if isinstance(message, dict)
        for name in message
        if name not in names
    ]


def _messages(content: Any, *names: str) -> list[Any]:
    """Return the values of nested fields, in the order of the file."""
    found = [content]
    for name in names:
        found = [value for each in found if isinstance(each, dict) for value in each.get(name, ())]
    return found


def _last(message: text_messages.Message, name: str) -> str:
    """Return the text that a field holds; "" without it."""
    values = message.get(name, [])
    return str(values[-1]) if values else ""


def _judge_models(
    path: str, content: text_messages.Message, stored: Stored, findings: ExportFindings
) -> None:
    if stored.base is None:
        return
    folder = server_files.folder_of_versions(stored.base, next_version=True)
    wanted = server_files.model_name(folder)
    configs = [
        each
        for each in _messages(content, "model_config_list", "config")
        if isinstance(each, dict)
        and (_folder(_last(each, "base_path")) == folder or _last(each, "name") == wanted)
    ]
    if not configs:
        findings.fault(
            "not_in_models_config", f"{path} lists no model whose base_path ends in {folder}"
        )
    for config in configs:
        base = _last(config, "base_path")
        if _folder(base) != folder:
            findings.fault("base_path", f"{path}: the base_path {base!r} does not end in {folder}")
        elif not base.startswith("/") and not file_systems.is_remote(base):
            findings.warn(
                "base_path",
                f"{path}: the base_path {base!r} depends on the working directory of the server",
            )
        platform = _last(config, "model_platform")
        if platform != "tensorflow":
            findings.fault(
                "model_platform",
                f"{path}: the model_platform of {folder} is {platform!r}, not 'tensorflow'",
            )
        pinned = _messages(config, "model_version_policy", "specific", "versions")
        pinned = [number for number in pinned if isinstance(number, int)]
        there = {version.number for version in stored.versions}
        if missing := sorted(set(pinned) - there):
            findings.fault(
                "pinned_version", f"{path} asks for version {missing[0]}, which is not there"
            )
        elif pinned and stored.served not in pinned:
            findings.warn(
                "pinned_version",
                f"{path} asks for version {max(pinned)}, so version {stored.served} is not served",
            )


def _folder(base_path: str) -> str:
    return os.path.basename(base_path.rstrip("/"))


def _judge_batching(path: str, content: text_messages.Message, findings: ExportFindings) -> None:
    (most,) = _messages(content, "max_batch_size", "value")[-1:] or [_MAX_BATCH_SIZE]
    allowed = content.get("allowed_batch_sizes", [])
    if allowed and allowed[-1] != most:
        findings.fault(
            "batching", f"{path}: the last of allowed_batch_sizes must be max_batch_size, {most}"
        )
    if "num_batch_threads" in content:
        findings.warn(
            "batching",
            f"{path}: num_batch_threads has a meaning in the file of --batching_parameters_file"
            " only",
        )
