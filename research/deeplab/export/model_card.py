"""The model card of an export: its checkpoint, its metrics, its command and its checksums."""

import dataclasses
import hashlib
import json
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from deeplab import common
from deeplab.datasets.descriptors import DatasetDescriptor
from deeplab.utils import checkpoint, checkpoint_files, files

FILE = "MODEL_CARD.md"
# Hugging Face's names of the metrics.
_KINDS = {"mIoU": "mean_iou", "pixel accuracy": "accuracy"}


@dataclasses.dataclass(frozen=True)
class _Evaluation:
    """The facts of an evaluation that a card states, without metrics that no pixel has.

    Args:
        dataset: Name of the dataset.
        split: Its split.
        images: Number of images.
        metrics: Shares by name: mIoU and pixel accuracy.
        classes: The IoU of each class by its name.
    """

    dataset: str
    split: str
    images: int
    metrics: Mapping[str, float]
    classes: Mapping[str, float]

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> "_Evaluation":
        """Return the facts in the content of an `eval.json`.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: It is damaged.
        """
        metrics = {"mIoU": result["miou"], "pixel accuracy": result["pixel_accuracy"]}
        classes = {str(each.get("name", each["id"])): each["iou"] for each in result["classes"]}
        known = [
            {name: float(value) for name, value in each.items() if value is not None}
            for each in (metrics, classes)
        ]
        return cls(str(result["dataset"]), str(result["split"]), int(result["images"]), *known)


def path_of(export_path: str) -> str:
    """Return the path of an export's card: in the folder of a SavedModel, or beside a file."""
    stem, extension = os.path.splitext(export_path)
    is_file = extension in (".pb", ".onnx")
    return f"{stem}.{FILE}" if is_file else os.path.join(export_path, FILE)


def text(
    export_path: str,
    checkpoint_path: str,
    options: common.ModelOptions,
    descriptor: DatasetDescriptor | None = None,
    command: Sequence[str] = (),
    name: str | None = None,
) -> str:
    """Return the card of an export in Hugging Face's format: metadata in YAML, then Markdown.

    The metrics are those of an evaluation of the same step, which lies beside the checkpoint or in
    its folder `eval`, where `--eval_every` writes it. Without one, the card has no metrics.

    Args:
        export_path: Folder of the SavedModel, or the file; it may be a temporary path.
        checkpoint_path: The checkpoint that was exported, or a folder of which the newest was.
        options: Options of the network.
        descriptor: The dataset. None: unknown.
        command: The words of the command that made the export.
        name: Name of an export that is a file. None: the last part of its path.
    """
    prefix = checkpoint_files.latest(checkpoint_path) or checkpoint_path
    step = checkpoint.global_step(checkpoint.read(prefix, options))
    result = _evaluation(prefix, step)
    dataset = descriptor.name if descriptor else result.dataset if result else "unknown"
    library = "onnx" if (name or export_path).endswith(".onnx") else "tensorflow"
    facts = {
        "checkpoint": f"`{os.path.basename(prefix)}`, step {step}",
        "backbone": options.model_variant,
        "dataset": dataset,
        "classes": str(options.num_classes),
        "output stride": str(options.output_stride),
    }
    sections = [
        "\n".join(["---", *_metadata(library, options, result), "---"]),
        f"# DeepLab, {options.model_variant}, {dataset}",
        "This network gives every pixel of an RGB image one of its classes (semantic"
        " segmentation).",
        _table(("", ""), facts.items()),
    ]
    if descriptor and descriptor.class_names:
        names = (f"{index} {name}" for index, name in enumerate(descriptor.class_names))
        sections += ["## Classes", ", ".join(names)]
    sections.append("## Evaluation")
    if result:
        shares = {**result.metrics, **{f"IoU of {name}": v for name, v in result.classes.items()}}
        rows = [(name, f"{100 * share:.2f} %") for name, share in shares.items()]
        sections += [
            f"On the {result.images} images of `{result.split}`:",
            _table(("metric", "value"), rows) if rows else "No pixel has a class.",
        ]
    else:
        sections.append("There was no evaluation of this step beside the checkpoint.")
    if command:
        sections += ["## Command", f"```bash\n{shlex.join(command)}\n```"]
    sections += ["## Files", _table(("file", "SHA-256"), _checksums(export_path, name))]
    return "\n\n".join(sections) + "\n"


def _evaluation(prefix: str, step: int) -> _Evaluation | None:
    """Return the result of an evaluation of that step; None if there is none."""
    folder = os.path.dirname(prefix)
    for name in ("eval.json", os.path.join("eval", f"eval-{step}.json")):
        path = os.path.join(folder, name)
        if not tf.io.gfile.exists(path):
            continue
        try:
            result = files.read_json(path)
            if result["step"] == step:
                return _Evaluation.of(result)
        except (ValueError, TypeError, KeyError, AttributeError, OSError):
            logging.warning("%s is damaged; the model card has no metrics of it", path)
    return None


def _metadata(library: str, options: common.ModelOptions, result: _Evaluation | None) -> list[str]:
    """Return the lines of the metadata. JSON is valid YAML if letters are not escaped."""
    lines = [
        "pipeline_tag: image-segmentation",
        f"library_name: {library}",
        f"tags: {json.dumps(['deeplab', 'semantic-segmentation', options.model_variant])}",
    ]
    if result is None or not result.metrics:
        return lines
    dataset = {"name": result.dataset, "type": result.dataset, "split": result.split}
    entry = {
        "task": {"type": "image-segmentation"},
        "dataset": dataset,
        "metrics": [
            {"type": _KINDS[name], "name": name, "value": round(value, 4)}
            for name, value in result.metrics.items()
        ],
    }
    index = [{"name": f"deeplab-{options.model_variant}", "results": [entry]}]
    return [*lines, f"model-index: {json.dumps(index, ensure_ascii=False)}"]


def _checksums(export_path: str, name: str | None) -> list[tuple[str, str]]:
    """Return the name and the SHA-256 of each file of an export."""
    if not tf.io.gfile.isdir(export_path):
        return [(name or os.path.basename(export_path), _sha256(export_path))]
    found = []
    for folder, _, names in tf.io.gfile.walk(export_path):
        for name in names:
            path = os.path.join(folder, name)
            relative = path[len(export_path) :].lstrip("/")
            if relative != FILE:
                found.append((relative, _sha256(path)))
    return sorted(found)


def _sha256(path: str) -> str:
    return f"`{hashlib.sha256(files.read_bytes(path)).hexdigest()}`"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header)]
    # Names of classes may hold anything.
    lines += [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
