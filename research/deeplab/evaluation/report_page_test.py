"""The page about an evaluation: its numbers, computed again from the pixels, and its use."""

import contextlib
import dataclasses
import itertools
import os
import re
import shlex
import shutil
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from deeplab.evaluation import chosen_images, image_table, report, report_page
from deeplab.evaluation.earlier_evaluation import EarlierEvaluation
from deeplab.evaluation.evaluator import EvaluatedImage
from deeplab.testing import evaluated, tiny
from deeplab.utils import reports

_NAMES = ("ground", "<script>alert(1)</script>", "a & 'b'", "star")
_DATASET = dataclasses.replace(
    tiny.DATASET, class_names=_NAMES, categories=("flat", "thing", "thing", None)
)
_FACTS = {
    "checkpoint": "train log/model.ckpt-7",
    "step": 7,
    "dataset": "tiny",
    "split": "val",
    "model_variant": "mobilenet_v2",
    "eval_scales": (0.5, 1.0),
    "add_flipped_images": True,
    "crf": None,
}
_COUNT = 16
# Milliseconds that a browser may take on a machine that is busy with other tests.
_PATIENCE = 180_000


class _Page(HTMLParser):
    """The tables of a page as lists of texts, and the text of its other parts."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tables, self.tiles, self.captions, self.alts, self.body = [], {}, [], [], ""
        self._path, self._pieces = [], []
        self.feed(text)

    def handle_starttag(self, name, attributes):
        if name == "img":
            self.alts.append(dict(attributes)["alt"])
        if name in ("img", "input", "meta", "link", "br"):
            return
        self._path.append(name)
        if name == "table":
            self.tables.append([])
        elif name == "tr":
            self.tables[-1].append([])
        if name in ("td", "th", "dt", "dd", "figcaption", "small"):
            self._pieces.append("")

    def handle_data(self, data):
        if "script" not in self._path and "style" not in self._path:
            self.body += data
            if self._pieces:
                self._pieces[-1] += data

    def handle_endtag(self, name):
        assert self._path.pop() == name
        if name not in ("td", "th", "dt", "dd", "figcaption", "small"):
            return
        text = self._pieces.pop()
        if name in ("td", "th"):
            self.tables[-1][-1].append(text)
        elif name == "dt":
            self._title = text
        elif name == "dd":
            self.tiles[self._title] = text
        elif name == "figcaption":
            self.captions.append(text)

    def table(self, heading):
        """Return the rows of the table whose first column has a heading, and its headings."""
        (found,) = (rows for rows in self.tables if rows[0][0] == heading)
        return found[0], found[1:]


@pytest.fixture(scope="module")
def images():
    return list(evaluated.images(_DATASET, _COUNT))


def _total(images):
    total = images[0].result
    for image in images[1:]:
        total += image.result
    return total


def _render(images, num_images=6, comparison=None):
    chosen = chosen_images.ChosenImages(_DATASET, num_images, len(images))
    for image in images:
        chosen.add(image)
        if comparison:
            comparison.add(image_table.parse(image_table.row(image)))
    total = _total(images)
    facts = {"images": len(images), **_FACTS}
    facts |= report.segmentation_facts(total, _NAMES, _DATASET.categories)
    content = report_page.PageContent(
        facts=facts,
        result=total,
        descriptor=_DATASET,
        chosen=chosen,
        comparison=comparison,
        arguments=["--dataset=a b.json"],
    )
    return report_page.render(content)


@pytest.fixture(scope="module")
def text(images):
    return _render(images)


@pytest.fixture(scope="module")
def page(text):
    return _Page(text)


def _percent(value):
    return "–" if np.isnan(value) else f"{100 * value:.1f}"


def _pixels(images):
    """All counted pixels: their labels and predictions."""
    label = np.concatenate([image.label.ravel() for image in images])
    prediction = np.concatenate([image.prediction.ravel() for image in images])
    return label[label != 255], prediction[label != 255]


def _ratio(numerator, denominator):
    return numerator / denominator if denominator else np.nan


def _distances(values):
    """The distance of each pixel from the nearest one with another value, ring by ring."""
    found = np.full(values.shape, 99)
    low = high = values
    for ring in range(1, 42):
        for axis in (0, 1):
            low, high = (
                choose.reduce([each, *_shifted(each, axis)])
                for choose, each in ((np.minimum, low), (np.maximum, high))
            )
        found[(found == 99) & (low != high)] = ring
    return found


def _shifted(values, axis):
    """The neighbor before and after each pixel; at an end the pixel itself."""
    places = np.arange(values.shape[axis])
    for step in (-1, 1):
        yield values.take(np.clip(places + step, 0, places[-1]), axis)


def _borders(images):
    """Counts [class, hits and labeled and predicted] of the boundary and of each trimap."""
    boundary, trimaps = np.zeros((4, 3), int), np.zeros((6, 4, 3), int)
    for image in images:
        void = image.label == 255
        label, prediction = np.where(void, 9, image.label), np.where(void, 9, image.prediction)
        # 0.02 of a diagonal of 80 pixels is 2; beyond the edge there is no class.
        inside, predicted = (
            _distances(np.pad(each, 1, constant_values=8))[1:-1, 1:-1] <= 2
            for each in (label, prediction)
        )
        near = _distances(label)
        for index in range(4):
            ours, theirs = label == index, prediction == index
            boundary[index] += [
                (ours & theirs & inside & predicted).sum(),
                (ours & inside).sum(),
                (theirs & predicted).sum(),
            ]
            for place, width in enumerate((1, 3, 5, 10, 20, 40)):
                band = (near <= width) & ~void
                trimaps[place, index] += [
                    (ours & theirs & band).sum(),
                    (ours & band).sum(),
                    (theirs & band).sum(),
                ]
    return boundary, trimaps


def _ious(counts):
    hits, labeled, predicted = counts.T
    return [_ratio(h, a + b - h) for h, a, b in zip(hits, labeled, predicted, strict=True)]


class TestNumbers:
    def test_overall_and_by_class(self, page, images):
        label, prediction = _pixels(images)
        boundary, trimaps = _borders(images)
        expected, values = [], []
        for index in range(4):
            ours, theirs = label == index, prediction == index
            hits = (ours & theirs).sum()
            iou = _ratio(hits, (ours | theirs).sum())
            dice = _ratio(2 * hits, ours.sum() + theirs.sum())
            precision, recall = _ratio(hits, theirs.sum()), _ratio(hits, ours.sum())
            edge, band = _ious(boundary)[index], _ious(trimaps[2])[index]
            values.append([iou, dice, precision, recall, edge, band])
            # A class in no label has none of these.
            there = ours.any()
            row = [iou, dice] if there else [np.nan, np.nan]
            row += [precision, recall, *((edge, band) if there else (np.nan, np.nan))]
            row += [ours.mean(), theirs.mean()]
            expected.append([_NAMES[index], *map(_percent, row)])
        assert not (label == 3).any()
        headings, rows = page.table("class")
        assert rows == expected
        assert headings[-2:] == ["of labels", "of predictions"]

        means = np.nan_to_num(values).mean(axis=0)
        recalls = [(prediction[label == index] == index).mean() for index in range(3)]
        weighted = sum((label == index).mean() * values[index][0] for index in range(3))
        assert page.tiles == {
            "mIoU": _percent(means[0]),
            "Pixel accuracy": _percent((label == prediction).mean()),
            "Mean class accuracy": _percent(np.mean(recalls)),
            "Frequency weighted IoU": _percent(weighted),
            "Mean Dice": _percent(means[1]),
            "Mean precision": _percent(means[2]),
            "Mean recall": _percent(means[3]),
            "Boundary IoU": _percent(means[4]),
            "Trimap mIoU, 5 px": _percent(means[5]),
        }
        _, rows = page.table("pixels")
        assert rows == [
            [str(width), _percent(np.mean(np.nan_to_num(_ious(counts))))]
            for width, counts in zip((1, 3, 5, 10, 20, 40), trimaps, strict=True)
        ]
        assert "predicted but in no label, counted as 0 in the mIoU: 3 star" in page.body

    def test_categories(self, page, images):
        label, prediction = _pixels(images)
        of_class = np.array([0, 1, 1, 2])
        label, prediction = of_class[label], of_class[prediction]
        expected = [
            ((label == index) & (prediction == index)).sum()
            / ((label == index) | (prediction == index)).sum()
            for index in (0, 1)
        ]
        _, rows = page.table("category")
        assert rows == [["flat", _percent(expected[0])], ["thing", _percent(expected[1])]]
        assert f"Mean IoU {_percent(np.mean(expected))}." in page.body

    def test_confusions(self, page, text, images):
        label, prediction = _pixels(images)
        counts = np.array(
            [[((label == i) & (prediction == j)).sum() for j in range(4)] for i in range(4)]
        )
        (matrix,) = (rows for rows in page.tables if rows[0] == ["", *_NAMES])
        for index, (name, *cells) in enumerate(matrix[1:]):
            assert name == _NAMES[index]
            for count, cell in zip(counts[index], cells, strict=True):
                share = _ratio(count, counts[index].sum())
                if np.isnan(share) or share < 0.0005:
                    assert cell == ""
                else:
                    assert float(cell) == pytest.approx(100 * share, abs=0.51)
        assert f"ground → star: {counts[0, 3]} pixels" in text
        wrong = counts * ~np.eye(4, dtype=bool)
        order = np.argsort(-wrong.ravel(), kind="stable")[: np.count_nonzero(wrong)]
        _, rows = page.table("confusion")
        assert rows == [
            [
                f"{_NAMES[i]} → {_NAMES[j]}",
                f"{wrong[i, j]:,}",
                _percent(wrong[i, j] / counts[i].sum()),
                _percent(wrong[i, j] / wrong.sum()),
            ]
            for i, j in (divmod(int(place), 4) for place in order)
        ]

    def test_images(self, page, images):
        shown = [caption for caption in page.captions if "mIoU" in caption]
        miou = []
        for caption in shown:
            number = int(re.search(r'image", (\d+)mIoU', caption)[1])
            label, prediction = _pixels([images[number]])
            boundary, trimaps = _borders([images[number]])
            values = []
            for index in range(4):
                ours, theirs = label == index, prediction == index
                hits, either = (ours & theirs).sum(), (ours | theirs).sum()
                if either:
                    values.append(
                        [
                            hits / either,
                            2 * hits / (ours.sum() + theirs.sum()),
                            np.nan_to_num(_ratio(hits, theirs.sum())),
                            np.nan_to_num(_ratio(hits, ours.sum())),
                        ]
                    )
            iou, dice, precision, recall = np.mean(values, axis=0)
            edge, band = (np.nanmean(_ious(each)) for each in (boundary, trimaps[2]))
            numbers = {"mIoU": iou, "accuracy": (label == prediction).mean(), "Dice": dice}
            numbers |= {"precision": precision, "recall": recall}
            numbers |= {"boundary IoU": edge, "trimap mIoU": band}
            for title, value in numbers.items():
                assert f"{title} {_percent(value)}" in caption
            miou.append(iou)
        assert miou == sorted(miou)
        best = sorted(image.result.mean_iou for image in images)[-3:]
        assert miou[-3:] == pytest.approx(best)
        # Four layers of each image are named.
        assert [alt for alt in page.alts if alt.startswith("errors of <i>")]

    def test_suspects(self, page, images):
        shown = [caption for caption in page.captions if "% sure" in caption]
        assert shown
        for caption in shown:
            number = int(re.search(r'image", (\d+);', caption)[1])
            sure = images[number].confidence[0, 0]
            assert f"{_percent(sure)} % sure" in caption

    def test_settings_and_command(self, page):
        _, rows = page.table("setting")
        settings = dict(rows)
        assert settings["checkpoint"] == "train log/model.ckpt-7"
        assert settings["eval scales"] == "0.5, 1.0"
        assert (settings["add flipped images"], settings["crf"]) == ("yes", "none")
        assert "miou" not in settings
        command = page.body[page.body.index("deeplab-eval ") :]
        assert shlex.split(command.replace("\\\n", ""))[:3] == [
            "deeplab-eval",
            "--checkpoint_dir=train log/model.ckpt-7",
            "--dataset=a b.json",
        ]

    def test_what_has_changed(self, images, tmp_path):
        # Every image has the prediction of perfection, but the first three have what they had.
        before = []
        for number, image in enumerate(images):
            prediction = (
                image.prediction if number < 3 else np.where(image.label == 255, 0, image.label)
            )
            result = evaluated.segmentation.measure(image.label, prediction, 4, 255)
            before.append(
                EvaluatedImage(image.name, image.image, image.label, prediction, result, None)
            )
        facts = {"checkpoint": "old", "step": 3}
        facts |= report.segmentation_facts(_total(before), _NAMES, _DATASET.categories)
        reports.write_json(tmp_path / "eval.json", facts)
        rows = map(image_table.row, before)
        image_table.write(tmp_path / "eval-3-images.csv", _NAMES, rows)
        comparison = EarlierEvaluation(str(tmp_path / "eval.json"), _NAMES)
        page = _Page(_render(images, 2, comparison))
        differences = {
            image.name: (old.result.mean_iou, image.result.mean_iou)
            for image, old in zip(images, before, strict=True)
        }
        worse = {name: pair for name, pair in differences.items() if pair[1] < pair[0]}
        assert f"better: 0, worse: {len(worse)}, equal: {_COUNT - len(worse)}," in page.body
        _, rows = page.table("image")
        ordered = sorted(worse.items(), key=lambda item: item[1][1] - item[1][0])
        assert [row[0] for row in rows] == [name for name, _ in ordered]
        for (_, (old, new)), row in zip(ordered, rows, strict=True):
            assert row[1:] == [_percent(old), _percent(new), f"−{100 * (old - new):.1f}"]
        headings, rows = page.table("class")
        label, prediction = _pixels(images)
        assert headings[2] == "change"
        _, old = _pixels(before)
        for index in range(3):
            now, then = (
                ((label == index) & (each == index)).sum()
                / ((label == index) | (each == index)).sum()
                for each in (prediction, old)
            )
            assert float(rows[index][2].replace("−", "-")) == pytest.approx(
                100 * (now - then), abs=0.051
            )
        assert rows[3][2] == "–"


class TestPage:
    def test_names_are_text(self, text, page):
        assert text.count("<script>") == 1
        assert "<i>&amp;amp;" not in text
        assert "<script>alert(1)</script>" in page.body
        assert '<i>&amp;"image", ' in page.body

    @pytest.mark.parametrize("classes", [4, pytest.param(151, marks=pytest.mark.slow)])
    def test_it_is_small_and_whole_for_many_images(self, tmp_path, classes):
        """500 large images with many details, and two more of each class, all of them shown."""
        names = tuple(f"class number {index}" for index in range(classes))
        dataset = dataclasses.replace(
            _DATASET, num_classes=classes, class_names=names, categories=None
        )
        random = np.random.default_rng(0)
        texture = cv2.resize(random.integers(0, 256, (45, 60, 3), np.uint8), (500, 375))
        label = np.kron(random.integers(0, classes, (24, 32)), np.ones((16, 16), int))[:375, :500]
        wrong = random.random(label.shape) < 0.2
        speckled = np.where(wrong, random.integers(0, classes, label.shape), label)
        result = evaluated.segmentation.measure(label, speckled, classes, 255)
        chosen = chosen_images.ChosenImages(dataset, 500, 2000)
        image = EvaluatedImage("a", texture, label, speckled, result, np.ones(label.shape))
        chosen.add(image)
        # The other ones are as large, and need not be drawn again.
        (example,) = chosen.images()["worst"]
        for number in range(1, 500):
            key = ((result.mean_iou, -result.mean_iou)[number % 2], number)
            (chosen._worst, chosen._best)[number % 2].add(
                key, dataclasses.replace(example, number=number)
            )
        for number, each in enumerate(itertools.chain(*chosen._of_class), 500):
            each.add((-1, number), dataclasses.replace(example, number=number))
        facts = {"images": 2000, **_FACTS} | report.segmentation_facts(result, names)
        content = report_page.PageContent(
            facts=facts, result=result, descriptor=dataset, chosen=chosen
        )
        path = report_page.write(str(tmp_path / "made"), content)
        assert os.listdir(tmp_path / "made") == ["report.html"]
        assert 1e6 < os.path.getsize(path) < 5e6
        with open(path, encoding="utf-8") as file:
            # The first one is the worst and the best.
            assert file.read().count('<figure class="comparer"') == 499 + 2 * classes

    def test_without_images_and_without_pixels(self, images):
        page = _Page(_render(images, 0))
        assert not [alt for alt in page.alts if alt.startswith("errors")]
        ignored = dataclasses.replace(
            images[0],
            label=np.full_like(images[0].label, 255),
            result=evaluated.segmentation.measure(
                np.full_like(images[0].label, 255), images[0].prediction, 4, 255
            ),
        )
        page = _Page(_render([ignored]))
        assert page.tiles["mIoU"] == "0.0"
        assert page.tiles["Pixel accuracy"] == "–"
        assert "no pixel was counted" in page.body


@contextlib.contextmanager
def _chromium():
    """Start a headless Chromium; skip the test where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no chromium or google-chrome on this machine")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, timeout=_PATIENCE)
        yield browser
        browser.close()


@pytest.mark.slow
def test_it_works_in_a_browser(text, tmp_path):
    (tmp_path / "report.html").write_text(text, encoding="utf-8")
    with _chromium() as browser:
        tab = browser.new_page(color_scheme="dark")
        tab.set_default_timeout(_PATIENCE)
        messages, requests = [], []
        tab.on("console", lambda message: messages.append(message.text))
        tab.on("pageerror", lambda error: messages.append(str(error)))
        tab.on("dialog", lambda dialog: messages.append(dialog.message))
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto((tmp_path / "report.html").as_uri())

        # Sorting, by the keyboard: from the worst to the best and back; dashes stay last.
        heading = tab.locator("#classes th", has_text=re.compile("^IoU$"))
        column = tab.locator("#classes tbody tr td:nth-child(2)")
        assert heading.get_attribute("aria-sort") == "none"
        for order, factor in (("ascending", 1), ("descending", -1)):
            heading.get_by_role("button").press("Enter")
            assert heading.get_attribute("aria-sort") == order
            *values, last = column.all_inner_texts()
            assert last == "–"
            values = [factor * float(value) for value in values]
            assert values == sorted(values)
        tab.locator("#classes th button", has_text="class").first.press("Space")
        names = tab.locator("#classes tbody th").all_inner_texts()
        assert sorted(names) == sorted(_NAMES)
        assert names[-1] == "star"
        assert heading.get_attribute("aria-sort") == "none"

        # A slider, by the keyboard: from the errors to the image.
        figure = tab.locator(".comparer").first
        slider = figure.get_by_role("slider")
        assert slider.get_attribute("aria-valuetext") == "errors"

        def right(layer):
            # inset(0px 50% 0px 0%): top, right, bottom, left.
            clip = figure.locator(f".{layer}").evaluate("each => getComputedStyle(each).clipPath")
            return clip.rstrip(")").split()[1]

        assert right("errors") == "0%"
        for _ in range(10):
            slider.press("ArrowLeft")
        assert float(slider.input_value()) == 2.5
        assert (
            slider.get_attribute("aria-valuetext") == "errors on the left, prediction on the right"
        )
        assert (right("errors"), right("prediction")) == ("50%", "0%")
        slider.press("Home")
        assert slider.get_attribute("aria-valuetext") == "image"
        assert (right("label"), right("errors")) == ("100%", "100%")
        for key in ("Home", "End"):
            tab.locator("input.all").press(key)
        assert slider.get_attribute("aria-valuetext") == "errors"

        # The choice of images.
        total = tab.locator(".comparer").count()
        tab.locator(".filter").select_option("best")
        assert tab.locator(".comparer:visible").count() == 3
        assert tab.locator(".count").inner_text() == f"3 of {total} pictures"

        # Printed, it is on white paper, and shows all layers and no controls.
        tab.emulate_media(media="print")
        colors = "body => getComputedStyle(body).backgroundColor"
        assert tab.locator("body").evaluate(colors) == "rgb(255, 255, 255)"
        assert not tab.locator(".slider:visible").count()
        assert (
            figure.locator(".label").evaluate("layer => getComputedStyle(layer).position")
            == "static"
        )
        assert tab.evaluate("[...document.images].every(each => each.naturalWidth > 0)")
        assert messages == []
        assert len([url for url in requests if not url.startswith("data:")]) == 1
