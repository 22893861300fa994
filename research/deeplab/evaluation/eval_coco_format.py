"""Evaluates panoptic segmentations in COCO format: panoptic quality or parsing covering.

Ground truth and predictions are each a JSON file (annotations with segments_info; categories with
isthing) and a folder of PNG files whose pixels hold the ids of segments as R + 256 G + 256^2 B.
"""

import collections
import copy
import functools
import os
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import cv2
import numpy as np
from absl import flags

from deeplab import common
from deeplab.cli import processes, script
from deeplab.core.options.fields import NonNegativeInt, Range, quoted
from deeplab.evaluation import base_metric, panoptic_quality, parsing_covering
from deeplab.utils import files, reports
from deeplab.utils.progress import Progress

# Id of the pixels that belong to no segment.
_VOID = 0

# Arrays have a number for each.
_MOST_CATEGORIES = 10**6

# Fields and types of the entries that are used.
_ANNOTATION = {"image_id": int | str, "file_name": str, "segments_info": list}
_SEGMENT = {"id": int, "category_id": int}
_CATEGORY = {"id": int, "isthing": int}
# Pixels hold ids in three bytes.
_LARGEST = {"id": 2**24 - 1, "category_id": _MOST_CATEGORIES, "isthing": 1, "iscrowd": 1}

_UNUSED_FLAGS = {
    "max_instances_per_category": "the number of instances is not limited",
    "intersection_offset": "the number of segments is not limited",
}


def eval_coco_format(
    gt_json_file: str,
    pred_json_file: str,
    gt_folder: str | None = None,
    pred_folder: str | None = None,
    metric: str = "pq",
    num_categories: int = 201,
    ignored_label: int = 0,
    normalize_by_image_size: bool = True,
    num_workers: int = 0,
) -> dict[str, dict[str, float]]:
    """Evaluate panoptic predictions (official function of the same name).

    Args:
        gt_json_file: JSON file of the ground truth.
        pred_json_file: JSON file of the predictions, with one for each image of the ground truth.
        gt_folder: Folder of the PNG files of the ground truth. Default: the name of the JSON file
            without `.json`.
        pred_folder: Folder of the PNG files of the predictions. Default: the name of the JSON
            file without `.json`.
        metric: `pq` or `pc`.
        num_categories: Number of categories; all ids are below it.
        ignored_label: Category that is not evaluated.
        normalize_by_image_size: `pc` weights segments by their share of the image.
        num_workers: Number of processes; 0: no other process, -1: one per CPU. The result does not
            depend on it.

    Returns:
        `detailed_results` of the metric: for `All`, `Things` and `Stuff` its value, factors and
        `n`.

    Raises:
        ValueError: A file has the wrong content, or an argument is unknown.
        OSError: A file cannot be read, or a process was killed.
    """
    if metric == "pq":
        total = panoptic_quality.PanopticQuality(num_categories, ignored_label)
    elif metric == "pc":
        total = parsing_covering.ParsingCovering(
            num_categories, ignored_label, normalize_by_image_size
        )
    else:
        raise ValueError(f"metric is pq or pc, not {metric!r}")
    if num_workers < -1:
        raise ValueError(f"--num_workers is {num_workers}; it must be -1 (one per CPU), 0 or more")
    truth, predictions = _read_json(gt_json_file), _read_json(pred_json_file)
    is_thing = _is_thing(truth, num_categories, gt_json_file)
    pairs = _match_annotations(truth, predictions, pred_json_file)
    compare = functools.partial(
        _compare,
        metric=copy.deepcopy(total),
        gt_folder=gt_json_file.removesuffix(".json") if gt_folder is None else gt_folder,
        pred_folder=pred_json_file.removesuffix(".json") if pred_folder is None else pred_folder,
    )
    workers = (os.cpu_count() or 1) if num_workers == -1 else num_workers
    # The numbers of the images are added in the order of the images, so the sum does not vary.
    if workers:
        remedy = f"set --num_workers below {workers} (0 compares without other processes)"
        with processes.pool(workers, "compares images", remedy=remedy) as pool:
            _add(pool.map(compare, pairs, chunksize=8), total, len(pairs))
    else:
        _add(map(compare, pairs), total, len(pairs))
    return total.detailed_results(is_thing)


def _add(
    parts: Iterable[base_metric.PanopticMetric], total: base_metric.PanopticMetric, count: int
) -> None:
    progress = Progress("compared", count)
    for part in parts:
        total.merge(part)
        progress.advance()


def _compare(
    pair: tuple[dict[str, Any], dict[str, Any]],
    metric: base_metric.PanopticMetric,
    gt_folder: str,
    pred_folder: str,
) -> base_metric.PanopticMetric:
    """Return the metric of one image."""
    metric = copy.deepcopy(metric)
    gt_path, pred_path = (
        os.path.join(folder, annotation["file_name"])
        for folder, annotation in zip((gt_folder, pred_folder), pair, strict=True)
    )
    # Only the ground truth has crowds.
    truth = _read_segments(gt_path, pair[0], metric.ignored_label, allow_crowds=True)
    predicted = _read_segments(pred_path, pair[1], metric.ignored_label, allow_crowds=False)
    try:
        metric.compare_and_accumulate(*truth, *predicted)
    except ValueError as error:
        raise ValueError(f"{gt_path} and {pred_path}: {error}") from None
    return metric


def _read_segments(
    path: str, annotation: dict[str, Any], ignored_label: int, allow_crowds: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return category and instance of each pixel; void and crowds have the ignored category."""
    ids, id_of_pixel = np.unique(_read_ids(path), return_inverse=True)
    category = np.full(len(ids), ignored_label, np.int64)
    instance = np.zeros(len(ids), np.int64)
    listed = ids == _VOID
    # Instance 0 of the ignored category is void.
    next_instance = collections.Counter({ignored_label: 1})
    for segment in annotation["segments_info"]:
        is_crowd = allow_crowds and segment.get("iscrowd", 0)
        segment_category = ignored_label if is_crowd else segment["category_id"]
        pixels = ids == segment["id"]
        category[pixels] = segment_category
        instance[pixels] = next_instance[segment_category]
        listed |= pixels
        next_instance[segment_category] += 1
    if not listed.all():
        raise ValueError(
            f"{path} has pixels of segment {ids[~listed][0]}, which the JSON file does not list in"
            " segments_info"
        )
    return category[id_of_pixel], instance[id_of_pixel]


def _read_ids(path: str) -> np.ndarray:
    """Return the segment id of each pixel, int64 [height, width]."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"there is no file {path} (check --gt_folder and --pred_folder)")
    # A path that is not UTF-8 ends the process within OpenCV.
    content = np.frombuffer(files.read_bytes(path), np.uint8)
    try:
        image = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        if "CV_IO_MAX_IMAGE" in str(error):
            raise ValueError(
                f"{path} is too large: OpenCV decodes at most 2^30 pixels, and 2^20 per side"
            ) from None
        image = None
    if image is None:
        raise ValueError(f"{path} is not an image that OpenCV can read")
    if image.ndim != 3 or image.dtype != np.uint8:
        raise ValueError(
            f"{path} is not a panoptic PNG file: it has {image.dtype} {list(image.shape)} instead"
            " of three channels of 8 bits"
        )
    blue, green, red = (image[..., channel].astype(np.int64) for channel in range(3))
    return red + 256 * green + 256**2 * blue


def _read_json(path: str) -> dict[str, Any]:
    content = files.read_json(path)
    for annotation in _entries(path, content, "annotations"):
        _check_fields(path, "annotation", annotation, _ANNOTATION)
        for segment in annotation["segments_info"]:
            _check_fields(path, "segment", segment, _SEGMENT)
            if "iscrowd" in segment:
                _check_fields(path, "segment", segment, {"iscrowd": int})
        shown = f"segments of the image {quoted(annotation['image_id'])}"
        _check_different(path, shown, annotation["segments_info"], "id")
    _check_different(path, "annotations", content["annotations"], "image_id")
    return content


def _check_different(path: str, kind: str, entries: Iterable[dict[str, Any]], name: str) -> None:
    """Reject entries of which all but the last would be lost."""
    seen = set()
    for entry in entries:
        if entry[name] in seen:
            raise ValueError(f"{path}: two {kind} have the {name} {quoted(entry[name])}")
        seen.add(entry[name])


def _entries(path: str, content: Any, name: str) -> list[Any]:
    """Return a list of the file."""
    if not isinstance(content, dict) or not isinstance(content.get(name), list):
        raise ValueError(f"{path} has no list of {name}")
    return content[name]


def _check_fields(path: str, kind: str, entry: Any, types: dict[str, type]) -> None:
    shown = quoted(entry)
    if not isinstance(entry, dict):
        raise ValueError(f"{path}: {kind} is not an object: {shown}")
    if missing := [name for name in types if name not in entry]:
        raise ValueError(f"{path}: {kind} without {', '.join(missing)}: {shown}")
    for name, kinds in types.items():
        if not isinstance(entry[name], kinds):
            raise ValueError(
                f"{path}: {kind} with the {name} {quoted(entry[name])}, which has the wrong type:"
                f" {shown}"
            )
        if name in _LARGEST and not 0 <= entry[name] <= _LARGEST[name]:
            raise ValueError(
                f"{path}: {kind} with the {name} {quoted(entry[name])}, which must be from 0 to"
                f" {_LARGEST[name]}: {shown}"
            )


def _is_thing(truth: dict[str, Any], num_categories: int, path: str) -> np.ndarray:
    """Return which categories are things: bool [num_categories]."""
    is_thing = np.zeros(num_categories, bool)
    for category in _entries(path, truth, "categories"):
        _check_fields(path, "category", category, _CATEGORY)
        if not 0 <= category["id"] < num_categories:
            raise ValueError(
                f"{path} has a category {category['id']}, but --num_categories is {num_categories}"
            )
        is_thing[category["id"]] = category["isthing"]
    return is_thing


def _match_annotations(
    truth: dict[str, Any], predictions: dict[str, Any], path: str
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the annotation and the prediction of each image of the ground truth."""
    predicted = {annotation["image_id"]: annotation for annotation in predictions["annotations"]}
    images = [annotation["image_id"] for annotation in truth["annotations"]]
    if missing := [image for image in images if image not in predicted]:
        raise ValueError(
            f"{path} has no prediction for {len(missing)} of {len(images)} images, the first is"
            f" {missing[0]}"
        )
    return [(annotation, predicted[annotation["image_id"]]) for annotation in truth["annotations"]]


def _format_results(results: dict[str, dict[str, float]], digits: int) -> str:
    """Return a table of the results in percent; `digits` counts the digits of the shares."""
    names = [name for name in results["All"] if name != "n"]
    rows = [
        (
            title,
            *(reports.percent(values[name], max(digits - 2, 0)) for name in names),
            str(values["n"]),
        )
        for title, values in results.items()
    ]
    return reports.format_table(("", *(name.upper() for name in names), "N"), rows)


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags of this script."""
    define = common.definer("deeplab.evaluation.eval_coco_format", flag_values)
    string = functools.partial(define, "string")
    string("gt_json_file", None, "JSON file of the ground truth, in COCO's panoptic format.")
    string("pred_json_file", None, "JSON file of the predictions.")
    string(
        "gt_folder",
        None,
        "Folder of the PNG files of the ground truth. Default: --gt_json_file without .json.",
    )
    string(
        "pred_folder",
        None,
        "Folder of the PNG files of the predictions. Default: --pred_json_file without .json.",
    )
    define(
        "enum",
        "metric",
        "pq",
        "Panoptic quality or parsing covering.",
        enum_values=["pq", "pc"],
    )
    define(
        "bool",
        "normalize_by_image_size",
        True,
        "Parsing covering weights segments by their share of the image instead of their pixels.",
    )
    integer = functools.partial(define, "integer")
    integer(
        "num_categories",
        201,
        "Number of categories; all ids are below it.",
        within=Annotated[int, Range(at_least=1, at_most=_MOST_CATEGORIES)],
    )
    integer(
        "ignored_label",
        0,
        "Category that is not evaluated; void pixels have it.",
        within=Annotated[int, Range(at_least=0, at_most=_MOST_CATEGORIES)],
    )
    for name, default, what in (
        ("max_instances_per_category", 256, "number"),
        ("intersection_offset", None, "number of segments"),
    ):
        integer(name, default, f"No effect: the {what} is not limited.", within=NonNegativeInt)
    integer(
        "num_workers",
        0,
        "Number of processes; 0: no other process, -1: one per CPU.",
        within=Annotated[int, Range(at_least=-1, at_most=1024)],
    )
    integer(
        "print_digits",
        3,
        "Digits of the printed shares (3: percent with one digit).",
        within=Annotated[int, Range(at_least=0, at_most=17)],
    )


def main(argv: Sequence[str]) -> None:
    """Evaluate and print a table."""
    del argv
    values = flags.FLAGS
    common.log_unused_flags(values, _UNUSED_FLAGS)
    results = eval_coco_format(
        gt_json_file=values.gt_json_file,
        pred_json_file=values.pred_json_file,
        gt_folder=values.gt_folder,
        pred_folder=values.pred_folder,
        metric=values.metric,
        num_categories=values.num_categories,
        ignored_label=values.ignored_label,
        normalize_by_image_size=values.normalize_by_image_size,
        num_workers=values.num_workers,
    )
    print(_format_results(results, values.print_digits))


def run() -> None:
    """Parse the flags and run `main`."""
    files_given = ("gt_json_file", "pred_json_file")
    script.run(
        main,
        define_flags,
        required=files_given,
        local=(*files_given, "gt_folder", "pred_folder"),
    )


if __name__ == "__main__":
    run()
