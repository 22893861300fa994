"""Reports of results: tables to read, JSON files, and TensorBoard scalars."""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from deeplab.utils import atomic

if TYPE_CHECKING:
    from deeplab.evaluation.segmentation import SegmentationResult


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Aligns columns of text: the first to the left, the others to the right.

    Args:
        header: a title for each column.
        rows: one text for each column.

    Returns:
        A line for the header, a rule and a line for each row.
    """
    lines = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(header))]
    texts = []
    for line in lines:
        first = line[0].ljust(widths[0])
        others = (cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
        texts.append("  ".join([first, *others]).rstrip())
    texts.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(texts)


def percent(value: float, digits: int = 2) -> str:
    """A share as per cent; "-" where there is none (NaN)."""
    return "-" if math.isnan(value) else f"{100 * value:.{digits}f}"


def segmentation_table(
    result: "SegmentationResult", class_names: Sequence[str] | None = None
) -> str:
    """A table with a row for each class, and the numbers over all classes below it, in per cent.

    Args:
        result: the metrics.
        class_names: a name for each class; without them the table has the numbers alone.

    Returns:
        The text, without a line break at its end.
    """
    names = _names(result, class_names)
    total = max(int(result.label_pixels.sum()), 1)
    rows = [
        (
            name,
            percent(result.class_iou[index]),
            percent(result.class_accuracy[index]),
            percent(result.label_pixels[index] / total),
            percent(result.predicted_pixels[index] / total),
        )
        for index, name in enumerate(names)
    ]
    table = format_table(("class", "IoU", "accuracy", "of labels", "of predictions"), rows)
    summary = ", ".join(
        f"{title} {percent(value)} %".replace("- %", "-")
        for title, value in (
            ("mIoU", result.mean_iou),
            ("pixel accuracy", result.pixel_accuracy),
            ("mean class accuracy", result.mean_class_accuracy),
            ("frequency weighted IoU", result.frequency_weighted_iou),
        )
    )
    return f"{table}\n\n{summary}"


def segmentation_remarks(
    result: "SegmentationResult", class_names: Sequence[str] | None = None
) -> list[str]:
    """What a reader of the numbers should know, one sentence each.

    Args:
        result: the metrics.
        class_names: a name for each class.

    Returns:
        None or some of: no pixel counts; one class alone is predicted; classes that are predicted
        but in no label lower the mean.
    """
    names = _names(result, class_names)
    labelled, predicted = result.label_pixels > 0, result.predicted_pixels > 0
    if not labelled.any():
        return ["no pixel was counted: every label is the ignore label"]
    remarks = []
    if predicted.sum() == 1 and labelled.sum() > 1:
        only = names[int(predicted.argmax())]
        remarks.append(
            f"every pixel is predicted as {only}: the network was not trained, or for other classes"
        )
    absent = [names[index] for index in np.flatnonzero(predicted & ~labelled)]
    if absent:
        remarks.append(f"predicted but in no label, counted as 0 in the mIoU: {', '.join(absent)}")
    return remarks


def segmentation_facts(
    result: "SegmentationResult", class_names: Sequence[str] | None = None
) -> dict[str, Any]:
    """The metrics as plain values, for JSON. Shares are 0 to 1, NaN where there is none.

    Args:
        result: the metrics.
        class_names: a name for each class.

    Returns:
        `miou`, `pixel_accuracy`, `mean_class_accuracy`, `frequency_weighted_iou`, `classes` (a
        list of `id`, `name`, `iou`, `accuracy`, `label_pixels`, `predicted_pixels`) and
        `confusion_matrix` (rows are labels).
    """
    classes = []
    for index in range(len(result.confusion_matrix)):
        name = {"name": class_names[index]} if class_names else {}
        classes.append(
            {
                "id": index,
                **name,
                "iou": float(result.class_iou[index]),
                "accuracy": float(result.class_accuracy[index]),
                "label_pixels": int(result.label_pixels[index]),
                "predicted_pixels": int(result.predicted_pixels[index]),
            }
        )
    return {
        "miou": result.mean_iou,
        "pixel_accuracy": result.pixel_accuracy,
        "mean_class_accuracy": result.mean_class_accuracy,
        "frequency_weighted_iou": result.frequency_weighted_iou,
        "classes": classes,
        "confusion_matrix": result.confusion_matrix.tolist(),
    }


def write_json(path: str | os.PathLike[str], facts: Mapping[str, Any]) -> None:
    """Writes an object as JSON, aside and renamed: a line for each field and each entry of a list.

    Args:
        path: of the file; its folder is made if it is not there.
        facts: plain values, lists and dicts; NaN and infinity become null.
    """
    fields = []
    for name, value in _without_nan(facts).items():
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        if isinstance(value, list) and value:
            entries = (json.dumps(item, ensure_ascii=False, allow_nan=False) for item in value)
            text = "[\n    " + ",\n    ".join(entries) + "\n  ]"
        fields.append(f"  {json.dumps(name, ensure_ascii=False)}: {text}")
    atomic.write_text(path, "{\n" + ",\n".join(fields) + "\n}\n")


def metric_tag(eval_scales: Sequence[float], add_flipped_images: bool = False) -> str:
    """The official name of the metric: `miou_1.0`, `miou_0.5_1.0_flipped`, ...

    Args:
        eval_scales: scales at which images are seen.
        add_flipped_images: whether also left-right flipped.
    """
    scales = "".join(f"_{float(scale)}" for scale in eval_scales)
    return f"miou{scales}{'_flipped' if add_flipped_images else ''}"


def segmentation_scalars(result: "SegmentationResult", tag: str) -> dict[str, float]:
    """The metrics under the official names.

    Args:
        result: the metrics.
        tag: from `metric_tag`.

    Returns:
        `eval/<tag>_overall`, the mean IoU, and `eval/<tag>_class_<i>`, the IoU of each class (NaN
        for a class that is in no label).
    """
    scalars = {f"eval/{tag}_overall": result.mean_iou}
    for index, iou in enumerate(result.class_iou):
        scalars[f"eval/{tag}_class_{index}"] = float(iou)
    return scalars


def write_scalars(log_dir: str, scalars: Mapping[str, float], step: int) -> None:
    """Writes scalars to a TensorBoard event file of its own.

    Args:
        log_dir: the folder; made if it is not there.
        scalars: name to value.
        step: the training step that they belong to.
    """
    # Imported here, so that tables and JSON files need no TensorFlow.
    import tensorflow as tf

    writer = tf.summary.create_file_writer(log_dir)
    with writer.as_default(step=step):
        for name, value in scalars.items():
            tf.summary.scalar(name, value)
    writer.close()


def _names(result: "SegmentationResult", class_names: Sequence[str] | None) -> list[str]:
    """The number and, where it is known, the name of each class."""
    count = len(result.confusion_matrix)
    if class_names and len(class_names) != count:
        raise ValueError(f"there are {len(class_names)} class names for {count} classes")
    width = len(str(count - 1))
    return [
        f"{index:{width}} {class_names[index]}" if class_names else f"{index:{width}}"
        for index in range(count)
    ]


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, np.generic):
        return _without_nan(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
