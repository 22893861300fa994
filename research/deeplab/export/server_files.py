"""Configuration files of TensorFlow Serving, which are protocol buffers in text format."""

import json
import os
import re

from absl import logging

from deeplab.cli import writable
from deeplab.utils import file_systems, files

MODELS_FILE = "models.config"
MONITORING_FILE = "monitoring.config"
# In the folder of a version; read with --enable_per_model_batching_parameters.
BATCHING_FILE = "batching_params.pbtxt"

# Where the server's container image looks for models.
_MODELS_FOLDER = "/models"
_TIMEOUT_MICROSECONDS = 2000
_MOST_WAITING_BATCHES = 100

_MODEL = """  config {{
    name: {name}
    base_path: {base_path}
    model_platform: "tensorflow"
  }}
"""
_MONITORING = """prometheus_config {
  enable: true
  path: "/monitoring/prometheus/metrics"
}
"""


def is_version(path: str) -> bool:
    """Return whether a server takes a folder for a version: its name is a number."""
    return re.fullmatch("[0-9]+", os.path.basename(_whole(path))) is not None


def folder_of_versions(path: str, next_version: bool) -> str:
    """Return the name of the folder around the versions of a model.

    Args:
        path: Path of the export.
        next_version: Whether the path is that folder itself.
    """
    path = _whole(path)
    if not next_version and is_version(path):
        path = os.path.dirname(path)
    return os.path.basename(path)


def model_name(versions: str) -> str:
    """Return what a server calls a model: the name of the folder of its versions, fit for a URL."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", versions) or "deeplab"


def _whole(path: str) -> str:
    return path.rstrip("/") if file_systems.is_remote(path) else os.path.abspath(path)


def check(folder: str, versions: str) -> None:
    """Reject a folder that cannot be written, or whose `models.config` lists other models only.

    Args:
        folder: Folder of the files.
        versions: Name of the folder of the versions.

    Raises:
        ValueError: The folder cannot be written; or there is such a file, and the message says what
            to add to it.
    """
    writable.check_folder("server_config_dir", folder)
    path = os.path.join(folder, MODELS_FILE)
    if file_systems.exists(path) and model_name(versions) not in _names(path):
        entry = " ".join(_model(versions).split())
        raise ValueError(
            f"--server_config_dir: {path} lists other models: add {entry} to it, or name another"
            " folder"
        )


def write(folder: str, versions: str) -> None:
    """Write `models.config` and `monitoring.config`; keep those that exist.

    Args:
        folder: Folder of the files; it is made if needed.
        versions: Name of the folder of the versions.
    """
    check(folder, versions)
    for file, text in (
        (MODELS_FILE, f"model_config_list {{\n{_model(versions)}}}\n"),
        (MONITORING_FILE, _MONITORING),
    ):
        path = os.path.join(folder, file)
        if file_systems.exists(path):
            logging.info("kept %s", path)
        else:
            files.write_text(path, text)


def write_batching(folder: str, max_batch_size: int) -> None:
    """Write `batching_params.pbtxt` in the folder of a version."""
    text = (
        f"max_batch_size {{ value: {max_batch_size} }}\n"
        f"batch_timeout_micros {{ value: {_TIMEOUT_MICROSECONDS} }}\n"
        f"max_enqueued_batches {{ value: {_MOST_WAITING_BATCHES} }}\n"
    )
    files.write_text(os.path.join(folder, BATCHING_FILE), text)


def _model(versions: str) -> str:
    # A text in JSON is one in this form, too.
    name, base_path = (
        json.dumps(text, ensure_ascii=False)
        for text in (model_name(versions), f"{_MODELS_FOLDER}/{versions}")
    )
    return _MODEL.format(name=name, base_path=base_path)


def _names(path: str) -> list[str]:
    text = files.read_bytes(path).decode(errors="replace")
    text = re.sub(r"(?m)^\s*#.*", "", text)
    return re.findall(r"""\bname\s*:\s*["']([^"']*)["']""", text)
