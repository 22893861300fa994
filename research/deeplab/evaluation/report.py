"""The metrics of an evaluation as a table, remarks, JSON values and scalars."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from deeplab.evaluation.segmentation import SegmentationResult
from deeplab.utils import reports


def segmentation_table(result: SegmentationResult, class_names: Sequence[str] | None = None) -> str:
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
            reports.percent(result.class_iou[index]),
            reports.percent(result.class_accuracy[index]),
            reports.percent(result.label_pixels[index] / total),
            reports.percent(result.predicted_pixels[index] / total),
        )
        for index, name in enumerate(names)
    ]
    table = reports.format_table(("class", "IoU", "accuracy", "of labels", "of predictions"), rows)
    summary = ", ".join(
        f"{title} {reports.percent(value)} %".replace("- %", "-")
        for title, value in (
            ("mIoU", result.mean_iou),
            ("pixel accuracy", result.pixel_accuracy),
            ("mean class accuracy", result.mean_class_accuracy),
            ("frequency weighted IoU", result.frequency_weighted_iou),
        )
    )
    return f"{table}\n\n{summary}"


def segmentation_remarks(
    result: SegmentationResult, class_names: Sequence[str] | None = None
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
    single = single_class_remark(np.flatnonzero(predicted), class_names)
    if single and labelled.sum() > 1:
        remarks.append(single)
    absent = [names[index] for index in np.flatnonzero(predicted & ~labelled)]
    if absent:
        remarks.append(f"predicted but in no label, counted as 0 in the mIoU: {', '.join(absent)}")
    return remarks


def single_class_remark(
    classes: Collection[int], class_names: Sequence[str] | None = None
) -> str | None:
    """Return a remark if only one class is predicted.

    Args:
        classes: The classes that are predicted.
        class_names: A name for each class.
    """
    if len(classes) != 1:
        return None
    (only,) = classes
    name = f" ({class_names[only]})" if class_names else ""
    return (
        f"every pixel is predicted as class {only}{name}: the network was not trained, or"
        " was trained for other images or classes"
    )


def segmentation_facts(
    result: SegmentationResult, class_names: Sequence[str] | None = None
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


def metric_tag(eval_scales: Sequence[float], add_flipped_images: bool = False) -> str:
    """The official name of the metric: `miou_1.0`, `miou_0.5_1.0_flipped`, ...

    Args:
        eval_scales: scales at which images are seen.
        add_flipped_images: whether also left-right flipped.
    """
    scales = "".join(f"_{float(scale)}" for scale in eval_scales)
    return f"miou{scales}{'_flipped' if add_flipped_images else ''}"


def segmentation_scalars(result: SegmentationResult, tag: str) -> dict[str, float]:
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
    """Write scalars to a TensorBoard event file of its own.

    Args:
        log_dir: The folder; it is made if needed.
        scalars: Name to value.
        step: The training step that they belong to.
    """
    writer = tf.summary.create_file_writer(log_dir)
    with writer.as_default(step=step):
        for name, value in scalars.items():
            tf.summary.scalar(name, value)
    writer.close()


def _names(result: SegmentationResult, class_names: Sequence[str] | None) -> list[str]:
    """The number and, where it is known, the name of each class."""
    count = len(result.confusion_matrix)
    if class_names and len(class_names) != count:
        raise ValueError(f"there are {len(class_names)} class names for {count} classes")
    width = len(str(count - 1))
    return [
        f"{index:{width}} {class_names[index]}" if class_names else f"{index:{width}}"
        for index in range(count)
    ]
