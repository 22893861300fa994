"""Checks whether the configuration files of TensorFlow Serving fit the export beside them."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from deeplab.core import error_text
from deeplab.export import server_files
from deeplab.serving import stored_versions, text_messages
from deeplab.serving.findings import ExportFindings
from deeplab.serving.stored_versions import Stored
from deeplab.utils import file_systems, files

# The maximum batch size of a server whose file does not state it.
_MAX_BATCH_SIZE = 1000
# The fields of each file, with the type of their values: a message has fields of its own, and what
# is None is not checked.
_Fields = Mapping[str, Any]
_NUMBER = {"value": int}
_FIELDS: Mapping[str, _Fields] = {
    server_files.MODELS_FILE: {
        "model_config_list": {
            "config": {
                "name": str,
                "base_path": str,
                "model_type": None,
                "model_platform": str,
                "model_version_policy": {
                    "latest": {"num_versions": int},
                    "all": {},
                    "specific": {"versions": int},
                },
                "version_labels": {"key": str, "value": int},
                "logging_config": None,
            },
        },
        "custom_model_config": None,
    },
    server_files.MONITORING_FILE: {"prometheus_config": {"enable": bool, "path": str}},
    server_files.BATCHING_FILE: {
        "max_batch_size": _NUMBER,
        "batch_timeout_micros": _NUMBER,
        "max_enqueued_batches": _NUMBER,
        "num_batch_threads": _NUMBER,
        "thread_pool_name": {"value": str},
        "enable_large_batch_splitting": {"value": bool},
        "max_execution_batch_size": _NUMBER,
        "allowed_batch_sizes": int,
        "pad_variable_length_inputs": bool,
    },
}
# What a value is for people.
_TYPES = {int: "a whole number", str: "a text", bool: "true or false"}


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
    # The folder of the versions is checked with them.
    folders = {os.path.dirname(path) or os.curdir for path in paths}
    entered = sorted(folders - {stored.base, stored.checked})
    if denied := [path for path in (*entered, *paths) if not stored_versions.may_read(path)]:
        findings.fault(
            "permissions",
            f"another user, such as {stored_versions.OTHER_USER} in KServe, cannot read"
            f" {denied[0]}: chmod a+rX {' '.join(denied)}",
        )
    for path in paths:
        try:
            content = text_messages.parse(files.read_bytes(path).decode())
        except (OSError, ValueError) as error:
            findings.fault("server_file", f"{path}: {error_text.one_line(error)}")
            continue
        name = os.path.basename(path)
        if problem := next(_problems(content, _FIELDS[name]), None):
            findings.fault("server_file", f"{path}: {problem}, so the server refuses the file")
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


def _problems(content: text_messages.Message, known: _Fields) -> Iterator[str]:
    """Yield what is wrong with the fields of a message."""
    for name, values in content.items():
        if name not in known:
            yield f"there is no field {name} there"
            continue
        wanted = known[name]
        for value in values:
            if isinstance(wanted, Mapping) and isinstance(value, dict):
                yield from _problems(value, wanted)
            elif isinstance(wanted, Mapping):
                fields = " ".join(f"{each}: ..." for each in list(wanted)[:1])
                yield f"{name} is {value!r} in place of {{ {fields} }}"
            elif wanted and not _is_of_type(value, wanted):
                yield f"{name} is {value!r} in place of {_TYPES[wanted]}"


def _is_of_type(value: Any, wanted: type) -> bool:
    """Return whether a value is one of a type; there are several words for true and false."""
    if wanted is bool:
        return value in (True, False, "True", "False", "t", "f")
    return isinstance(value, wanted) and not isinstance(value, bool)


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
    listed = _messages(content, "model_config_list", "config")
    names = [_last(each, "name") for each in listed]
    for name in sorted({name for name in names if names.count(name) > 1}):
        findings.fault(
            "server_file", f"{path} lists the model {name!r} twice, so the server refuses the file"
        )
    configs = [
        each
        for each, name in zip(listed, names, strict=True)
        if _folder(_last(each, "base_path")) == folder or name == wanted
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
            findings.fault(
                "base_path", f"{path}: the base_path {base!r} does not begin with /, as it must"
            )
        # The field of early servers, which later ones read as well.
        kind = _last(config, "model_type").lower()
        platform = _last(config, "model_platform") or ("tensorflow" if kind == "1" else kind)
        if platform != "tensorflow":
            findings.fault(
                "model_platform",
                f"{path}: the model_platform of {folder} is {platform!r}, not 'tensorflow'",
            )
        pinned = _messages(config, "model_version_policy", "specific", "versions")
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
    if most < 1:
        findings.fault("batching", f"{path}: max_batch_size is {most}; it must be at least 1")
    if allowed and allowed[-1] != most:
        findings.fault(
            "batching", f"{path}: the last of allowed_batch_sizes must be max_batch_size, {most}"
        )
    elif allowed != sorted(set(allowed)):
        findings.fault("batching", f"{path}: allowed_batch_sizes must increase, not {allowed}")
    if "num_batch_threads" in content:
        findings.warn(
            "batching",
            f"{path}: num_batch_threads has a meaning in the file of --batching_parameters_file"
            " only",
        )
