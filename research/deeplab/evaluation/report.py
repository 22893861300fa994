"""Reports of an evaluation: a table, remarks, JSON values and TensorBoard scalars."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from deeplab.core.wording import counted
from deeplab.evaluation import boundary
from deeplab.evaluation.segmentation import SegmentationResult
from deeplab.utils import reports
from deeplab.visualization import matrices

# A confusion matrix shows no more classes.
MAX_MATRIX = 40


def segmentation_table(result: SegmentationResult, class_names: Sequence[str] | None = None) -> str:
    """Return a table with a row per class, and below it the metrics over all classes, in percent.

    Args:
        result: The metrics.
        class_names: A name for each class. Without names the table shows only numbers.

    Returns:
        The text, without a final line break.
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
    """Return sentences that warn of wrong conclusions from the metrics.

    They say that no pixel is counted, that only one class is predicted, or that classes which are
    predicted but in no label lower the mean.

    Args:
        result: The metrics.
        class_names: A name for each class.
    """
    names = _names(result, class_names)
    labeled, predicted = result.label_pixels > 0, result.predicted_pixels > 0
    if not labeled.any():
        return ["no pixel was counted: every label is the ignore label"]
    remarks = []
    single = single_class_remark(np.flatnonzero(predicted), class_names)
    if single and labeled.sum() > 1:
        remarks.append(single)
    absent = [names[index] for index in np.flatnonzero(predicted & ~labeled)]
    if absent:
        remarks.append(f"predicted but in no label, counted as 0 in the mIoU: {', '.join(absent)}")
    return remarks


def single_class_remark(
    classes: Collection[int],
    class_names: Sequence[str] | None = None,
    cause: str = "the network was not trained, or was trained for other images or classes",
) -> str | None:
    """Return a remark if only one class is predicted.

    Args:
        classes: The classes that are predicted.
        class_names: A name for each class.
        cause: The end of the sentence, which says why, or why this is remarkable.
    """
    if len(classes) != 1:
        return None
    (only,) = classes
    name = f" ({class_names[only]})" if class_names else ""
    return f"every pixel is predicted as class {only}{name}: {cause}"


def segmentation_facts(
    result: SegmentationResult,
    class_names: Sequence[str] | None = None,
    categories: Sequence[str | None] | None = None,
) -> dict[str, Any]:
    """Return the metrics as plain values for JSON. Shares are 0 to 1, or NaN.

    Args:
        result: The metrics.
        class_names: A name for each class.
        categories: The category of each class; see `DatasetDescriptor`.

    Returns:
        `miou`, `pixel_accuracy`, `mean_class_accuracy`, `frequency_weighted_iou`, `classes` (a
        list of `id`, `name`, `iou`, `accuracy`, `label_pixels`, `predicted_pixels`) and
        `confusion_matrix` (rows are labels). `dice`, `precision`, `recall` and, if borders were
        counted, `boundary_iou` and `trimap_miou` are lists with a value for each class; the mean
        of `dice` is `mean_dice`, and so on. `trimaps` has the mean for each width of the band, and
        `categories` the IoU of each category, with the mean `category_miou`, if there are any.
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
        **_class_lists(result),
        **(_category_facts(result, categories) if categories else {}),
        "confusion_matrix": result.confusion_matrix.tolist(),
    }


def _class_lists(result: SegmentationResult) -> dict[str, Any]:
    """Return the metrics that are a list for the classes, and the mean of each beside it."""
    counts, borders = result.counts, result.borders
    facts = {
        "mean_dice": counts.mean_dice,
        "dice": counts.class_dice.tolist(),
        "mean_precision": counts.mean_precision,
        "precision": counts.class_precision.tolist(),
        "mean_recall": counts.mean_recall,
        "recall": counts.class_recall.tolist(),
    }
    if borders is not None:
        trimaps = zip(boundary.TRIMAP_WIDTHS, borders.trimaps, strict=True)
        facts |= {
            "mean_boundary_iou": borders.boundary.mean_iou,
            "boundary_iou": borders.boundary.class_iou.tolist(),
            "mean_trimap_miou": borders.trimap.mean_iou,
            "trimap_miou": borders.trimap.class_iou.tolist(),
            "trimaps": [{"width": width, "miou": each.mean_iou} for width, each in trimaps],
        }
    return facts


def _category_facts(result: SegmentationResult, categories: Sequence[str | None]) -> dict[str, Any]:
    of_categories = result.of_categories(categories)
    values = np.array(list(of_categories.values()))
    known = values[~np.isnan(values)]
    return {
        "category_miou": float(known.mean()) if known.size else float("nan"),
        "categories": [{"name": name, "iou": iou} for name, iou in of_categories.items()],
    }


def metric_tag(eval_scales: Sequence[float], add_flipped_images: bool = False) -> str:
    """Return the official name of the metric, such as `miou_1.0` or `miou_0.5_1.0_flipped`.

    Args:
        eval_scales: Scales of the images in the evaluation.
        add_flipped_images: Images are evaluated flipped left to right, too.
    """
    scales = "".join(f"_{float(scale)}" for scale in eval_scales)
    return f"miou{scales}{'_flipped' if add_flipped_images else ''}"


def segmentation_scalars(result: SegmentationResult, tag: str) -> dict[str, float]:
    """Return the metrics by their official names.

    Args:
        result: The metrics.
        tag: Name of the metric; see `metric_tag`.

    Returns:
        `eval/<tag>_overall`, the mean IoU, and `eval/<tag>_class_<i>`, the IoU of each class (NaN
        for a class in no label).
    """
    scalars = {f"eval/{tag}_overall": result.mean_iou}
    for index, iou in enumerate(result.class_iou):
        scalars[f"eval/{tag}_class_{index}"] = float(iou)
    return scalars


def shown_classes(result: SegmentationResult, most: int) -> np.ndarray:
    """Return the classes that a confusion matrix shows, int64 [classes], in order.

    Args:
        result: The metrics.
        most: Limit of their number. Those with the most wrong pixels are shown then.
    """
    occurs = np.flatnonzero(result.label_pixels + result.predicted_pixels)
    matrix = result.confusion_matrix
    wrong = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * np.diagonal(matrix)
    return np.sort(occurs[np.argsort(-wrong[occurs], kind="stable")[:most]])


def confusion_shares(result: SegmentationResult, classes: np.ndarray) -> np.ndarray:
    """Return what share of each class's pixels is predicted as each class.

    Args:
        result: The metrics.
        classes: The classes that `shown_classes` returned.

    Returns:
        float64 [labels, predictions]; the row of a class in no label is NaN.
    """
    pixels = result.label_pixels[classes, np.newaxis].astype(np.float64)
    return result.confusion_matrix[np.ix_(classes, classes)] / np.where(pixels, pixels, np.nan)


def confusion_picture(
    result: SegmentationResult, class_names: Sequence[str] | None = None
) -> np.ndarray | None:
    """Draw the confusion matrix, uint8 [height, width, 3], RGB; None without pixels.

    Args:
        result: The metrics.
        class_names: A name for each class.
    """
    classes = shown_classes(result, MAX_MATRIX)
    if not classes.size:
        return None
    names = _names(result, class_names)
    caption = "Percent of each label (rows) that is predicted as each class (columns)"
    shares = confusion_shares(result, classes)
    return matrices.draw(shares, [names[index] for index in classes], caption)


def write_summaries(
    log_dir: str,
    scalars: Mapping[str, float],
    step: int,
    pictures: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write scalars and pictures to a new TensorBoard event file.

    Args:
        log_dir: The folder; it is made if needed.
        scalars: Name to value.
        step: The training step that they belong to.
        pictures: Name to picture, uint8 [height, width, 3], RGB.
    """
    writer = tf.summary.create_file_writer(log_dir)
    with writer.as_default(step=step):
        for name, value in scalars.items():
            tf.summary.scalar(name, value)
        for name, picture in (pictures or {}).items():
            tf.summary.image(name, picture[np.newaxis])
    writer.close()


def _names(result: SegmentationResult, class_names: Sequence[str] | None) -> list[str]:
    """Return the number of each class, with its name if it has one."""
    count = len(result.confusion_matrix)
    if class_names and len(class_names) != count:
        raise ValueError(f"there are {counted(len(class_names), 'class name')} for {count} classes")
    width = len(str(count - 1))
    return [
        f"{index:{width}} {class_names[index]}" if class_names else f"{index:{width}}"
        for index in range(count)
    ]
