"""The formats of annotations, and how the format of a file or folder is detected."""

import json
import os
from collections.abc import Callable, Mapping

from deeplab.annotations import (
    coco,
    csv_table,
    cvat,
    folders,
    label_studio,
    labelme,
    ultralytics,
    yolo,
)
from deeplab.annotations.values import Annotations, ReaderInput
from deeplab.core.wording import counted
from deeplab.utils import files

READERS: Mapping[str, Callable[[ReaderInput], Annotations]] = {
    "coco": coco.read,
    "labelme": labelme.read,
    "cvat": cvat.read,
    "label_studio": label_studio.read,
    "yolo": yolo.read,
    "ultralytics": ultralytics.read,
    "csv": csv_table.read,
}
_FOLDERS = ("cvat", "yolo")
_YAML = (".yaml", ".yml")
# Files that Label Studio writes beside YOLO's text files.
_NOTES = ("notes.json",)
_REMEDY = "; give another file or folder, or say what it is with --annotation_format"


def read(request: ReaderInput, name: str) -> Annotations:
    """Read annotations.

    Args:
        request: The files to read, and the split.
        name: Name of the format, one of `READERS`.

    Raises:
        ValueError: The annotations are malformed, or of another format.
        FileNotFoundError: They are not there, or an image is missing.
    """
    _require(request.path)
    if name in _FOLDERS and not os.path.isdir(request.path):
        raise ValueError(f"{request.path} is a file; annotations of the format {name} are a folder")
    if name not in (*_FOLDERS, "labelme") and os.path.isdir(request.path):
        raise ValueError(f"{request.path} is a folder; annotations of the format {name} are a file")
    annotations = READERS[name](request)
    if not annotations.images:
        raise ValueError(f"{request.path} has no annotated image (format {name})")
    return annotations


def detect(path: str) -> str:
    """Return the name of the format of a file or folder, from its content.

    Raises:
        ValueError: The format is unknown; the message says what was found.
        FileNotFoundError: It is not there.
    """
    _require(path)
    return _detect_folder(path) if os.path.isdir(path) else _detect_file(path)


def _require(path: str) -> None:
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path} not found (--annotations)")


def _detect_folder(path: str) -> str:
    if any(os.path.exists(os.path.join(path, name)) for name in (cvat.LABEL_MAP, cvat.MASKS)):
        return "cvat"
    found = folders.find(path, (".json",))
    jsons = [name for name in found if os.path.basename(name) not in _NOTES]
    if jsons:
        if (name := _detect_file(jsons[0])) == "labelme":
            return name
        raise ValueError(f"{jsons[0]} has the format {name}: give this file as --annotations")
    yamls = folders.find(path, _YAML)
    if yamls:
        raise ValueError(f"{path} has the file {yamls[0]}: give this file as --annotations")
    if any(map(yolo.is_label_file, folders.find(path, (".txt",)))):
        return "yolo"
    raise ValueError(
        f"{path} has neither labelmap.txt (CVAT) nor .json files (labelme) nor .txt files"
        f" (YOLO){_REMEDY}"
    )


def _detect_file(path: str) -> str:
    data = files.read_bytes(path)
    text = data.decode("utf-8-sig", errors="replace")
    if text.lstrip()[:1] in ("{", "["):
        return _detect_json(path)
    lines = text.splitlines()
    if lines and set(csv_table.COLUMNS) <= set(csv_table.header(lines[0])):
        return "csv"
    if path.lower().endswith(_YAML):
        if ultralytics.parse(path).get("names") is not None:
            return "ultralytics"
        raise ValueError(f"{path} has no names, so it is not a dataset of Ultralytics{_REMEDY}")
    if path.lower().endswith(".json"):
        files.read_json(path)
    raise ValueError(
        f"{path} is neither JSON nor YAML, and its first line is not image,label (CSV){_REMEDY}"
    )


def _detect_json(path: str) -> str:
    document = files.read_json(path)
    if isinstance(document, dict):
        if "shapes" in document:
            return "labelme"
        if "images" in document and ("annotations" in document or "categories" in document):
            return "coco"
        found = f"an object with the fields {json.dumps(list(document)[:8])}"
    else:
        tasks = [item for item in document if isinstance(item, dict)]
        if tasks and all(
            "data" in task and ("annotations" in task or "completions" in task) for task in tasks
        ):
            return "label_studio"
        found = f"a list of {counted(len(document), 'item')}"
    raise ValueError(
        f"{path} is {found}, which is neither COCO (images, annotations, categories) nor labelme"
        f" (shapes) nor Label Studio (a list of tasks with data and annotations){_REMEDY}"
    )
