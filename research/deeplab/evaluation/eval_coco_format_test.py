import ast
import concurrent.futures.process
import json
import os
import pathlib
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from absl import flags

from deeplab.evaluation import eval_coco_format, panoptic_quality, parsing_covering
from deeplab.testing import golden

_SIZE = (20, 30)
_CATEGORIES = [
    {"id": 1, "name": "person", "isthing": 1},
    {"id": 2, "name": "sky", "isthing": 0},
    {"id": 200, "name": "rug", "isthing": 0},
]


def _write_ids(path, ids):
    """Ids as R + 256 G + 256^2 B; OpenCV takes blue first."""
    cv2.imwrite(str(path), np.stack([ids >> 16, ids >> 8 & 255, ids & 255], -1).astype(np.uint8))


def _write(folder, images, categories=_CATEGORIES):
    """Images are (ids, segments_info); returns the JSON file, its images lie beside it."""
    path = f"{folder}.json"
    annotations = []
    os.makedirs(folder)
    for index, (ids, segments) in enumerate(images):
        name = f"{index:012}.png"
        _write_ids(f"{folder}/{name}", np.asarray(ids))
        annotations.append({"image_id": index, "file_name": name, "segments_info": segments})
    with open(path, "w") as file:
        json.dump({"annotations": annotations, "categories": categories}, file)
    return path


def _segments(**categories):
    return [
        {"id": int(name[1:]), "category_id": category, "iscrowd": 0}
        for name, category in categories.items()
    ]


def _halves(left, right, cut):
    ids = np.full(_SIZE, left)
    ids[:, cut:] = right
    return ids


@pytest.fixture
def example(tmp_path):
    """Two images; ids above 256 and 65536 need all three channels."""
    segments = _segments(_70000=1, _300=2)
    other = _segments(_5=1, _66000=200)
    truth = _write(
        tmp_path / "gt",
        [(_halves(70000, 300, 10), segments), (_halves(5, 66000, 15), other)],
    )
    predicted = _write(
        tmp_path / "pred",
        [(_halves(1, 2, 12), _segments(_1=1, _2=2)), (_halves(5, 66000, 15), other)],
    )
    return truth, predicted


class TestResults:
    def test_by_hand(self, example):
        results = eval_coco_format.eval_coco_format(*example)
        # Person: 10/12 in one image and 1 in the other; sky: 18/20; rug: 1.
        assert results["Things"] == pytest.approx(
            {"pq": (10 / 12 + 1) / 2, "sq": (10 / 12 + 1) / 2, "rq": 1, "n": 1}
        )
        assert results["Stuff"] == pytest.approx({"pq": 0.95, "sq": 0.95, "rq": 1, "n": 2})
        assert results["All"]["pq"] == pytest.approx(((10 / 12 + 1) / 2 + 0.9 + 1) / 3)

    def test_parsing_covering_by_hand(self, example):
        results = eval_coco_format.eval_coco_format(*example, metric="pc")
        person = (10 * 10 / 12 + 15) / (10 + 15)
        assert results["Things"] == pytest.approx({"pc": person, "n": 1})
        assert results["Stuff"] == pytest.approx({"pc": 0.95, "n": 2})

    @pytest.mark.parametrize("metric", ["pq", "pc"])
    def test_a_perfect_prediction_has_1(self, example, metric):
        results = eval_coco_format.eval_coco_format(example[0], example[0], metric=metric)
        assert results["All"][metric] == 1

    def test_crowds_and_void_are_ignored(self, tmp_path):
        ids = _halves(7, 8, 15)
        ids[:5] = 0
        crowd = _segments(_7=1, _8=1)
        crowd[1]["iscrowd"] = 1
        truth = _write(tmp_path / "gt", [(ids, crowd)])
        # Person 7 is found beside void; a person on the crowd is not a false positive.
        predicted = _write(tmp_path / "pred", [(_halves(7, 8, 15), _segments(_7=1, _8=1))])
        results = eval_coco_format.eval_coco_format(truth, predicted)
        assert results["All"] == {"pq": 1, "sq": 1, "rq": 1, "n": 1}

    def test_void_is_the_ignored_label_whatever_that_is(self, tmp_path):
        ids = _halves(0, 8, 15)
        truth = _write(tmp_path / "gt", [(ids, _segments(_8=1))])
        predicted = _write(tmp_path / "pred", [(np.full(_SIZE, 8), _segments(_8=1))])
        results = eval_coco_format.eval_coco_format(
            truth, predicted, num_categories=201, ignored_label=255
        )
        assert results["All"] == {"pq": 1, "sq": 1, "rq": 1, "n": 1}

    def test_more_instances_than_any_limit(self, tmp_path):
        ids = np.arange(600).reshape(_SIZE) + 1
        segments = [{"id": int(value), "category_id": 1} for value in ids.ravel()]
        path = _write(tmp_path / "gt", [(ids, segments)])
        assert eval_coco_format.eval_coco_format(path, path)["All"]["pq"] == 1

    @pytest.mark.parametrize("metric", ["pq", "pc"])
    def test_workers_give_the_same_to_the_last_digit(self, tmp_path, metric):
        random = np.random.default_rng(0)
        truth, predicted = (
            [
                (random.integers(1, 9, _SIZE) // (1 + (np.arange(30) > 14)), segments)
                for _ in range(11)
            ]
            for segments in [_segments(**{f"_{i}": [200, 1, 1, 2][i % 4] for i in range(9)})] * 2
        )
        # Some of each prediction is right.
        predicted = [
            (np.where(random.random(_SIZE) < 0.8, ids, other), segments)
            for (ids, segments), (other, _) in zip(truth, predicted, strict=True)
        ]
        paths = _write(tmp_path / "gt", truth), _write(tmp_path / "pred", predicted)
        alone = eval_coco_format.eval_coco_format(*paths, metric=metric)
        shared = eval_coco_format.eval_coco_format(*paths, metric=metric, num_workers=2)
        assert shared == alone
        assert 0 < alone["All"][metric] < 1

    def test_folders_elsewhere(self, example, tmp_path):
        (tmp_path / "gt").rename(tmp_path / "a")
        (tmp_path / "pred").rename(tmp_path / "b")
        results = eval_coco_format.eval_coco_format(
            *example, gt_folder=str(tmp_path / "a"), pred_folder=str(tmp_path / "b")
        )
        assert results["All"]["n"] == 3

    def test_a_folder_that_is_not_utf8(self, example, tmp_path):
        """OpenCV ends the process when it is given such a path."""
        folder = os.path.join(os.fspath(tmp_path), os.fsdecode(b"pred\xff"))
        (tmp_path / "pred").rename(folder)
        results = eval_coco_format.eval_coco_format(*example, pred_folder=folder)
        assert results["All"]["n"] == 3


class TestBadInput:
    def _fails(self, example, message, error=ValueError, **options):
        with pytest.raises(error, match=message):
            eval_coco_format.eval_coco_format(*example, **options)

    def _change(self, path, change):
        with open(path) as file:
            content = json.load(file)
        change(content)
        with open(path, "w") as file:
            json.dump(content, file)

    def test_arguments(self, example):
        self._fails(example, "pq or pc, not 'miou'", metric="miou")
        self._fails(example, "--num_workers is -2", num_workers=-2)
        self._fails(example, "category 200, but --num_categories is 200", num_categories=200)

    def test_no_file(self, example, tmp_path):
        (tmp_path / "pred" / f"{1:012}.png").unlink()
        self._fails(example, "no file .*pred/000000000001.png", FileNotFoundError)
        os.remove(example[1])
        self._fails(example, "pred.json", FileNotFoundError)

    def test_no_image(self, example, tmp_path):
        (tmp_path / "pred" / f"{1:012}.png").write_bytes(b"not a PNG file")
        self._fails(example, "pred/000000000001.png is not an image")

    def test_a_header_of_a_huge_image(self, example, tmp_path):
        path = tmp_path / "pred" / f"{1:012}.png"
        data = bytearray(path.read_bytes())
        data[16:24] = struct.pack(">II", 60000, 60000)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        path.write_bytes(data)
        self._fails(example, r"pred/000000000001.png is too large: .* at most 2\^30 pixels")

    def test_a_gray_image(self, example, tmp_path):
        cv2.imwrite(str(tmp_path / "gt" / f"{0:012}.png"), np.zeros(_SIZE, np.uint8))
        self._fails(example, r"gt/000000000000.png is not a panoptic .* uint8 \[20, 30\]")

    def test_another_size(self, example, tmp_path):
        _write_ids(tmp_path / "pred" / f"{1:012}.png", np.full((3, 3), 5))
        self._fails(example, r"gt/0+1.png and .*pred/0+1.png: .*\[20, 30\], the prediction \[3, 3")

    def test_a_segment_that_is_not_listed(self, example):
        self._change(example[1], lambda content: content["annotations"][0]["segments_info"].pop())
        self._fails(example, "pred/000000000000.png has pixels of segment 2, which")

    def test_a_category_out_of_bounds(self, example):
        def change(content):
            content["annotations"][0]["segments_info"][0]["category_id"] = 201

        self._change(example[1], change)
        self._fails(example, "pred/0+0.png: the prediction has category 201, .*--num_categories")
        self._fails(example, "the prediction has category 201", num_workers=1)

    def test_a_killed_process(self, example, monkeypatch):
        def killed(*_, **__):
            raise concurrent.futures.process.BrokenProcessPool

        monkeypatch.setattr(concurrent.futures.ProcessPoolExecutor, "map", killed)
        with pytest.raises(ChildProcessError, match="was killed.*set --num_workers below 2"):
            eval_coco_format.eval_coco_format(*example, num_workers=2)

    def test_an_image_without_a_prediction(self, example):
        self._change(example[1], lambda content: content["annotations"].pop())
        self._fails(example, "pred.json has no prediction for 1 of 2 images, the first is 1")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda content: content.pop("annotations"), "gt.json has no list of annotations"),
            (lambda content: content.pop("categories"), "gt.json has no list of categories"),
            (
                lambda content: content["categories"][0].pop("isthing"),
                "gt.json: category without isthing: {'id': 1",
            ),
            (
                lambda content: content["annotations"][1].pop("segments_info"),
                "gt.json: annotation without segments_info: {'image_id': 1",
            ),
            (
                lambda content: content["annotations"][1]["segments_info"][0].pop("id"),
                "gt.json: segment without id: {'category_id': 1",
            ),
        ],
    )
    def test_what_the_json_file_lacks(self, example, change, message):
        self._change(example[0], change)
        self._fails(example, message)

    def test_entries_that_would_replace_others_are_named(self, example):
        def copy(content):
            content["annotations"].append(content["annotations"][1])

        self._change(example[1], copy)
        self._fails(example, "pred.json: two annotations have the image_id 1")

        def change(content):
            content["annotations"][0]["segments_info"][1]["id"] = 70000

        self._change(example[0], change)
        self._fails(example, "gt.json: two segments of the image 0 have the id 70000")

    @pytest.mark.parametrize("value", [-1, 2**24, 10**30])
    @pytest.mark.parametrize("key", ["id", "category_id", "iscrowd"])
    def test_a_number_out_of_range_names_the_file(self, example, key, value):
        def change(content):
            content["annotations"][0]["segments_info"][0][key] = value

        self._change(example[0], change)
        self._fails(example, f"gt.json: segment with the {key} {value}, which must be from 0 to")

    @pytest.mark.parametrize("value", [None, [], {}, "x", 1.5, [[]], [None]])
    @pytest.mark.parametrize(
        "keys",
        [
            (),
            ("annotations",),
            ("annotations", 0),
            ("annotations", 0, "image_id"),
            ("annotations", 0, "file_name"),
            ("annotations", 0, "segments_info"),
            ("annotations", 0, "segments_info", 0),
            ("annotations", 0, "segments_info", 0, "id"),
            ("annotations", 0, "segments_info", 0, "category_id"),
            ("categories",),
            ("categories", 0),
            ("categories", 0, "id"),
            ("categories", 0, "isthing"),
        ],
    )
    def test_a_value_of_another_type_names_the_file(self, example, keys, value):
        with open(example[0]) as file:
            content = json.load(file)
        holder = {"": content}
        entry, last = holder, ""
        for key in keys:
            entry, last = entry[last], key
        entry[last] = value
        with open(example[0], "w") as file:
            json.dump(holder[""], file)
        try:
            eval_coco_format.eval_coco_format(*example)
        except (ValueError, FileNotFoundError) as error:
            assert "gt" in str(error) or "pred" in str(error)
        else:
            # These are possible: no annotation or segment, another name.
            assert value in ([], "x")

    def test_no_json(self, example):
        with open(example[0], "w") as file:
            file.write("{")
        self._fails(example, "gt.json is not JSON")


class TestScript:
    def test_official_flags(self):
        values = flags.FlagValues()
        eval_coco_format.define_flags(values)
        official = json.loads((golden.DATA / "flags.json").read_text())
        official = official["deeplab/evaluation/eval_coco_format.py"]
        types = {"string": "string", "integer": "int", "enum": "string enum", "bool": "bool"}
        assert sorted(values) == sorted(flag["name"] for flag in official)
        for flag in official:
            ours = values[flag["name"]]
            assert ours.default == ast.literal_eval(flag["default"])
            assert ours.flag_type() == types[flag["type"].removeprefix("DEFINE_")]
            if flag["choices"]:
                assert ours.parser.enum_values == ast.literal_eval(flag["choices"])

    def _run(self, *arguments):
        command = [sys.executable, "-m", "deeplab.evaluation.eval_coco_format", *arguments]
        research = pathlib.Path(golden.DATA).parents[2]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=research)

    def test_run(self, example):
        done = self._run(
            f"--gt_json_file={example[0]}",
            f"--pred_json_file={example[1]}",
            "--num_workers=2",
            "--intersection_offset=100",
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [
            "          PQ    SQ     RQ  N",
            "------  ----  ----  -----  -",
            "All     93.9  93.9  100.0  3",
            "Things  91.7  91.7  100.0  1",
            "Stuff   95.0  95.0  100.0  2",
        ]
        assert "--intersection_offset has no effect" in done.stderr

    def test_digits(self, example):
        done = self._run(
            f"--gt_json_file={example[0]}",
            f"--pred_json_file={example[1]}",
            "--metric=pc",
            "--print_digits=5",
        )
        assert done.stdout.splitlines()[0].split() == ["PC", "N"]
        assert done.stdout.splitlines()[3].split() == ["Things", "93.333", "1"]

    def test_an_error_is_one_line(self, example):
        done = self._run(f"--gt_json_file={example[0]}", "--pred_json_file=/no/such.json")
        assert done.returncode == 1
        assert done.stderr.strip().splitlines()[-1].startswith("error: ")
        assert "/no/such.json" in done.stderr
        assert "Traceback" not in done.stderr


def test_metrics_of_the_script_are_the_library_s(example):
    """The PNG and JSON files say the same as the arrays that they were made of."""
    category = np.where(_halves(1, 0, 10), 1, 2), np.where(_halves(1, 0, 15), 1, 200)
    predicted = np.where(_halves(1, 0, 12), 1, 2), category[1]
    zeros = np.zeros(_SIZE, int)
    for metric, name in (
        (panoptic_quality.PanopticQuality(201, 0), "pq"),
        (parsing_covering.ParsingCovering(201, 0), "pc"),
    ):
        for truth, prediction in zip(category, predicted, strict=True):
            metric.compare_and_accumulate(truth, zeros, prediction, zeros)
        results = eval_coco_format.eval_coco_format(*example, metric=name)
        assert results["All"] == metric.detailed_results()["All"]
