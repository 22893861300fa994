"""Writes the page about an evaluation: `report.html`, a single file."""

import dataclasses
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

import deeplab
from deeplab.datasets.descriptors import DatasetDescriptor
from deeplab.evaluation import boundary, chosen_images, report
from deeplab.evaluation.chosen_images import ChosenImage, ChosenImages, Disagreement
from deeplab.evaluation.earlier_evaluation import EarlierEvaluation
from deeplab.evaluation.segmentation import SegmentationResult
from deeplab.utils import files
from deeplab.visualization import page
from deeplab.visualization.page import Markup, TableCell, tag

# Name of the file.
FILE = "report.html"
# Overall numbers: what they are called, and their keys in `eval.json`.
_OVERALL = (
    ("mIoU", "miou"),
    ("Pixel accuracy", "pixel_accuracy"),
    ("Mean class accuracy", "mean_class_accuracy"),
    ("Frequency weighted IoU", "frequency_weighted_iou"),
    ("Mean Dice", "mean_dice"),
    ("Mean precision", "mean_precision"),
    ("Mean recall", "mean_recall"),
    ("Boundary IoU", "mean_boundary_iou"),
    (f"Trimap mIoU, {boundary.TRIMAP_WIDTH} px", "mean_trimap_miou"),
)
# What `facts` has besides settings.
_RESULTS = frozenset(
    {key for _, key in _OVERALL}
    | {"classes", "confusion_matrix", "dice", "precision", "recall", "boundary_iou"}
    | {"trimap_miou", "trimaps", "categories", "category_miou"}
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PageContent:
    """The content of the page.

    Args:
        facts: Settings and numbers of the evaluation: `Evaluator.facts`.
        result: The metrics, with those at borders.
        descriptor: The dataset.
        chosen: The images and confusions to show.
        comparison: The comparison with an earlier evaluation, if any.
        arguments: Flags that repeat the evaluation, without the checkpoint.
    """

    facts: Mapping[str, Any]
    result: SegmentationResult
    descriptor: DatasetDescriptor
    chosen: ChosenImages
    comparison: EarlierEvaluation | None = None
    arguments: Sequence[str] = ()


def write(folder: str, content: PageContent) -> str:
    """Write the page atomically, and return its path; the folder is made if needed."""
    path = os.path.join(folder, FILE)
    files.write_text(path, render(content))
    return path


def render(content: PageContent) -> str:
    """Return the page."""
    facts, result, descriptor = content.facts, content.result, content.descriptor
    chosen, comparison = content.chosen, content.comparison
    names, categories = descriptor.labels(), "categories" in facts
    sections = [
        ("overall", "Overall", _overall(facts, result, descriptor, comparison)),
        ("classes", "Classes", _classes(result, descriptor, comparison)),
        ("borders", "Borders and categories" if categories else "Borders", _borders(facts)),
        ("confusions", "Confusions", _confusions(result, names, chosen)),
        ("images", "Worst and best images", _images(chosen, descriptor)),
        ("suspects", "Labels that may be wrong", _suspects(chosen.suspects(), names)),
        ("comparison", "What has changed", _changes(comparison) if comparison else []),
        ("settings", "Settings", _settings(facts, content.arguments)),
    ]
    sections = [(identity, title, content) for identity, title, content in sections if content]
    title = f"{facts['model_variant']} on {facts['dataset']}/{facts['split']}"
    header = tag(
        "header",
        tag("h1", title),
        tag(
            "p",
            f"{facts['images']} images, {facts['checkpoint']} (step {facts['step']}). Numbers are"
            " percent.",
            class_="path faint",
        ),
        tag("nav", *(tag("a", name, href=f"#{key}") for key, name, _ in sections)),
    )
    body = (page.section(identity, title, *content) for identity, title, content in sections)
    return page.document(
        f"{title}: mIoU {page.percent(facts['miou'])} %", header, tag("main", *body)
    )


def _overall(
    facts: Mapping[str, Any],
    result: SegmentationResult,
    descriptor: DatasetDescriptor,
    comparison: EarlierEvaluation | None,
) -> list[Markup]:
    tiles = []
    for title, key in _OVERALL:
        change = None
        if comparison:
            cell = page.change(facts[key] - comparison.metric(key))
            change = tag("small", cell.content, class_=cell.kind)
        tiles.append(
            tag(
                "div",
                tag("dt", title),
                tag("dd", page.percent(facts[key]), change),
                class_="main" if key == "miou" else None,
            )
        )
    remarks = report.segmentation_remarks(result, descriptor.class_names)
    return [tag("dl", *tiles, class_="tiles"), *(tag("p", each, class_="note") for each in remarks)]


def _classes(
    result: SegmentationResult, descriptor: DatasetDescriptor, comparison: EarlierEvaluation | None
) -> list[Markup]:
    counts, colors = result.counts, descriptor.label_colors()
    total = max(int(counts.labeled.sum()), 1)
    columns = ["class", "IoU"] + (["change"] if comparison else [])
    columns += ["Dice", "precision", "recall", "boundary IoU", "trimap IoU", "of labels"]
    columns += ["of predictions"]
    before = comparison.class_iou() if comparison else []
    metrics = (
        *(counts.class_dice, counts.class_precision, counts.class_recall),
        *(result.borders.boundary.class_iou, result.borders.trimap.class_iou),
        *(counts.labeled / total, counts.predicted / total),
    )
    rows = []
    for index, name in enumerate(descriptor.labels()):
        iou = float(counts.class_iou[index])
        row = [TableCell(page.join([page.swatch(colors[index]), name])), page.share(iou)]
        row += [page.change(iou - before[index])] if comparison else []
        rows.append([*row, *(page.share(float(values[index])) for values in metrics)])
    caption = (
        "A dash: the class is in no label, or is not predicted. A heading sorts the rows by its"
        " column."
    )
    return [page.table(caption, columns, rows)]


def _borders(facts: Mapping[str, Any]) -> list[Markup]:
    trimaps = page.table(
        "Trimap mIoU: the mIoU within this many pixels of a border in the labels.",
        ["pixels", "mIoU"],
        [
            [TableCell(str(each["width"]), each["width"]), page.share(each["miou"])]
            for each in facts["trimaps"]
        ],
        sortable=False,
    )
    tables = [trimaps]
    if "categories" in facts:
        mean = page.percent(facts["category_miou"])
        tables.append(
            page.table(
                f"Categories: classes of one category count as one class. Mean IoU {mean}.",
                ["category", "IoU"],
                [
                    [TableCell(each["name"]), page.share(each["iou"])]
                    for each in facts["categories"]
                ],
            )
        )
    return [tag("div", *tables, class_="columns")]


def _confusions(
    result: SegmentationResult, names: Sequence[str], chosen: ChosenImages
) -> list[Markup]:
    matrix = result.confusion_matrix
    occurs = np.flatnonzero(result.label_pixels + result.predicted_pixels)
    if not occurs.size:
        return []
    caption = "Rows are labels, columns are predictions: how the pixels of a class are predicted."
    shown = report.shown_classes(result, report.MAX_MATRIX)
    if len(shown) < len(occurs):
        caption += f" The {len(shown)} of {len(occurs)} classes with most wrong pixels."
    part = matrix[np.ix_(shown, shown)]
    shares = report.confusion_shares(result, shown)
    shown_names = [names[index] for index in shown]
    notes = np.array(
        [
            [f"{row} → {column}: {part[i, j]} pixels" for j, column in enumerate(shown_names)]
            for i, row in enumerate(shown_names)
        ],
        object,
    )
    content = [page.heat_map(caption, shown_names, shares, notes)]
    confusions = chosen.confusions()
    if confusions:
        wrong = int(matrix.sum() - np.trace(matrix))
        figures, rows = [], []
        for label, prediction, count, region in confusions:
            pair = f"{names[label]} → {names[prediction]}"
            rows.append(
                [
                    TableCell(pair),
                    TableCell(f"{count:,}", count),
                    page.share(count / int(result.label_pixels[label])),
                    page.share(count / wrong),
                ]
            )
            if region:
                figures.append(_region(region, pair, f"{region.pixels:,} pixels of {region.image}"))
        content += [
            tag("h3", "The largest"),
            page.table(
                "Label → prediction.",
                ["confusion", "pixels", "of the label", "of all errors"],
                rows,
            ),
            tag("h3", "An example of each"),
            tag("div", *figures, class_="crops"),
        ]
    return content


def _region(region: Disagreement, title: str, text: str) -> Markup:
    alt = f"{title}, outlined in {region.image}"
    return page.crop(region.picture, alt, tag("b", title), tag("br"), text)


def _images(chosen: ChosenImages, descriptor: DatasetDescriptor) -> list[Markup]:
    lists = chosen.images()
    names = descriptor.labels()
    groups: dict[int, list[str]] = {}
    shown: dict[int, ChosenImage] = {}
    for identity, members in lists.items():
        for example in members:
            groups.setdefault(example.number, []).append(identity)
            shown[example.number] = example
    if not shown:
        return []
    by_miou = sorted(shown.values(), key=lambda example: (example.result.mean_iou, example.number))
    figures = [
        page.comparer(
            example.name, example.layers, *_caption(example, names), groups=groups[example.number]
        )
        for example in by_miou
    ]
    colors = descriptor.label_colors()
    occurs = sorted(
        {
            int(index)
            for example in by_miou
            for index in np.flatnonzero(
                example.result.label_pixels + example.result.predicted_pixels
            )
        }
    )
    legend = (tag("li", page.swatch(colors[index]), names[index]) for index in occurs)
    choices = [
        ("by mIoU", [("worst", "the worst images"), ("best", "the best images")]),
        (
            "by class",
            [
                (f"class-{index}", f"{name}: worst and best")
                for index, name in enumerate(names)
                if lists[f"class-{index}"]
            ],
        ),
    ]
    return [
        tag(
            "p",
            "From the worst to the best. A slider moves from the image over its label and the"
            " prediction to the errors: wrong pixels are red, ignored ones gray.",
        ),
        tag("ul", *legend, class_="legend"),
        page.gallery(figures, choices),
    ]


def _caption(example: ChosenImage, names: Sequence[str]) -> Iterable[Markup | str]:
    result, counts = example.result, example.result.counts
    yield tag("b", example.name)
    yield tag("br")
    numbers = (
        ("mIoU", result.mean_iou),
        ("accuracy", result.pixel_accuracy),
        ("Dice", counts.mean_dice),
        ("precision", counts.mean_precision),
        ("recall", counts.mean_recall),
        ("boundary IoU", result.borders.boundary.mean_iou),
        ("trimap mIoU", result.borders.trimap.mean_iou),
    )
    yield ", ".join(f"{name} {page.percent(value)}" for name, value in numbers)
    yield tag("br")
    order = [
        index for index in np.argsort(result.class_iou, kind="stable") if counts.labeled[index]
    ]
    parts = [f"{names[index]} {page.percent(result.class_iou[index])}" for index in order[:4]]
    yield f"IoU of its worst classes: {', '.join(parts)}"


def _suspects(suspects: Sequence[Disagreement], names: Sequence[str]) -> list[Markup]:
    if not suspects:
        return []
    figures = (
        _region(
            each,
            f"{names[each.label]} → {names[each.prediction]}?",
            f"{each.pixels:,} pixels of {each.image}; the network is"
            f" {page.percent(each.confidence)} % sure",
        )
        for each in suspects
    )
    return [
        tag(
            "p",
            "Here the network is at least"
            f" {page.percent(chosen_images.SUSPECT_CONFIDENCE, 0)} % sure of another class, more"
            f" than {chosen_images.SUSPECT_DISTANCE} pixels away from any border in the label."
            " Either the label is wrong or the network has learned something wrong.",
        ),
        tag("div", *figures, class_="crops"),
    ]


def _changes(comparison: EarlierEvaluation) -> list[Markup]:
    facts = comparison.facts
    content = [
        tag(
            "p",
            f"Compared with {comparison.path}: {facts.get('checkpoint', '?')} (step"
            f" {facts['step']}). Changes are in percentage points.",
            class_="path",
        )
    ]
    if not comparison.has_images:
        text = "Its table of images is not beside it, so images cannot be compared."
        return [*content, tag("p", text, class_="note")]
    content.append(
        tag(
            "p",
            f"Images that got better: {comparison.better}, worse: {comparison.worse},"
            f" equal: {comparison.equal}, not in both: {comparison.unmatched}.",
        )
    )
    changes = comparison.changes()
    if changes:
        rows = [
            [
                TableCell(each.name),
                page.share(each.before),
                page.share(each.after),
                page.change(each.after - each.before),
            ]
            for each in changes
        ]
        caption = "mIoU of the images that lost and gained most."
        content.append(page.table(caption, ["image", "before", "now", "change"], rows))
    return content


def _settings(facts: Mapping[str, Any], arguments: Sequence[str]) -> list[Markup]:
    words = ["deeplab-eval", f"--checkpoint_dir={facts['checkpoint']}", *arguments]
    command = " \\\n    ".join(map(shlex.quote, words))
    settings = {key: value for key, value in facts.items() if key not in _RESULTS}
    settings["deeplab"] = deeplab.__version__
    rows = [
        [TableCell(key.replace("_", " ")), TableCell(_text(value))]
        for key, value in settings.items()
    ]
    return [
        page.table("How it was evaluated.", ["setting", "value"], rows, sortable=False),
        tag("h3", "The command"),
        tag("pre", tag("code", command)),
    ]


def _text(value: Any) -> str:
    if value is None or value is False:
        return "none" if value is None else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return "yes" if value is True else str(value)
