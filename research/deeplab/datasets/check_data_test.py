import json
import pathlib
import re
import struct

import cv2
import numpy as np
import pytest
import tensorflow as tf

from deeplab.datasets import build_data, check_data, descriptors, shards, split_statistics
from deeplab.datasets.conftest import jpeg, png
from deeplab.testing import golden, tiny

_DATASET = descriptors.DatasetDescriptor(
    "roofs", 4, 255, {"train": 2, "val": 1}, ("ground", "roof", "road", "tree")
)
_FIRST = np.array([[0, 0, 0, 1, 1, 255, 255, 255]])
_SECOND = np.array([[0, 0, 0, 0, 0, 2, 0, 0]])


def _record(label, image=None, height=None, name="photo"):
    image = jpeg(*label.shape) if image is None else image
    data = label if isinstance(label, bytes) else png(label)
    rows, columns = label.shape
    return build_data.image_seg_to_tfexample(
        image, name, height or rows, columns, data
    ).SerializeToString()


def _write(folder, **splits):
    for split, records in splits.items():
        with shards.writing(str(folder), split, len(records), 2) as write:
            for record in records:
                write(record)
    _DATASET.save(folder / "roofs.json")


@pytest.fixture
def check(run_script, tmp_path):
    """Runs the script on what was written."""

    def run(*more):
        return run_script(
            check_data, f"--dataset={tmp_path}/roofs.json", f"--dataset_dir={tmp_path}", *more
        )

    return run


def test_the_report_has_images_sizes_classes_and_what_is_never_seen(check, tmp_path, capsys):
    _write(tmp_path, train=[_record(_FIRST), _record(_SECOND, jpeg(1, 8, seed=1))])
    check()
    text = capsys.readouterr().out
    assert "train: 2 images, 2 with a label" in text
    assert "width x height: 8x1 (2)" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["0", "ground", "62.50", "2"] in rows
    assert ["2", "road", "6.25", "1"] in rows
    assert ["255", "(ignored)", "18.75", "1"] in rows
    assert "never seen: 3 tree" in text


def test_weights_are_those_of_median_frequency_balancing(check, tmp_path, capsys):
    _write(tmp_path, train=[_record(_FIRST), _record(_SECOND, jpeg(1, 8, seed=1))])
    check()
    # Shares of the labeled pixels of the images that have the class.
    ground, roof, road = 10 / 13, 2 / 5, 1 / 8
    expected = " ".join(
        f"--label_weights={weight:.4g}" for weight in (roof / ground, 1, roof / road, 1)
    )
    assert expected in capsys.readouterr().out


def test_only_training_splits_get_weights(check, tmp_path, capsys):
    _write(tmp_path, val=[_record(_FIRST)])
    check()
    assert "--label_weights" not in capsys.readouterr().out


def test_an_ignored_class_takes_no_part_in_the_weights():
    descriptor = descriptors.DatasetDescriptor("ade", 3, 0)
    statistics = split_statistics.SplitStatistics()
    statistics.add(_record(np.array([[0, 0, 0, 0, 0, 1, 2, 2]])), descriptor)
    weights = split_statistics.class_weights(statistics, descriptor)
    np.testing.assert_allclose(weights, [1, 1.5, 0.75])


def test_the_official_records_pass(run_script, capsys):
    folder = golden.DATA / "misc" / "tfrecords_voc" / "tfrecord"
    run_script(check_data, "--dataset=pascal_voc_seg", f"--dataset_dir={folder}")
    text = capsys.readouterr().out
    assert "train: 5 images" in text and "val: 3 images" in text
    assert "note: the descriptor says 1464 images" in text
    assert "warning: 3 images of val are also in train (2007_00000" in text


@pytest.mark.parametrize(
    ("label", "warning"),
    [
        (np.full((2, 2), 255), "warning: every pixel is ignored"),
        (np.zeros((2, 2), int), "warning: every pixel that counts is 0 ground"),
    ],
)
def test_labels_that_teach_nothing_are_reported(check, tmp_path, capsys, label, warning):
    _write(tmp_path, train=[_record(label)])
    check()
    assert warning in capsys.readouterr().out


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (_record(np.array([[0, 4, 4]]), name="b"), r"\(b\) has a label that .*0 to 3.* 4 \(2 pix"),
        (_record(np.zeros((2, 3), int), jpeg(3, 3), 3), "label that is 3x2 pixels .*image is 3x3"),
        (_record(np.zeros((2, 3), int), height=5), "has image/height 5; the image's is 2"),
        (
            _record(np.zeros((2, 3), int), b"\xff\xd8\xff broken"),
            "has an image that is a broken JPEG file",
        ),
        (b"\xff\xff", "is not a tf.train.Example"),
        (tf.train.Example().SerializeToString(), "has no image"),
    ],
)
def test_a_bad_record_is_named(check, tmp_path, bad, message):
    _write(tmp_path, val=[_record(_FIRST), _record(_FIRST), _record(_FIRST), bad])
    with pytest.raises(ValueError, match=f"record 1 of .*val-00001-of-00002.tfrecord.*{message}"):
        check()


def test_an_image_without_a_label_is_refused_where_training_refuses_it(check, tmp_path, capsys):
    bare = build_data.image_seg_to_tfexample(jpeg(2, 3), "bare", 2, 3, None).SerializeToString()
    _write(tmp_path, test=[bare], val=[_record(_FIRST), bare])
    check()
    text = capsys.readouterr().out
    assert "1 of 2 images of val has no label (bare)" in text
    assert "test have no label" not in text
    _write(tmp_path, trainval=[_record(_FIRST), bare])
    with pytest.raises(ValueError, match=r"trainval-00001.*\(bare\) has no label \(feature"):
        check()


def test_a_label_that_decodes_to_colors_is_refused(check, tmp_path):
    label = png(np.array([[0, 1, 2]]), 8, 3, bytes(range(9)))
    record = build_data.image_seg_to_tfexample(jpeg(1, 3), "photo", 1, 3, label)
    _write(tmp_path, val=[record.SerializeToString()])
    with pytest.raises(ValueError, match="is not an 8-bit grayscale PNG.*convert the data again"):
        check()


def test_a_corrupt_record_is_named(check, tmp_path):
    _write(tmp_path, val=[_record(_FIRST), _record(_FIRST)])
    path = tmp_path / "val-00001-of-00002.tfrecord"
    data = bytearray(path.read_bytes())
    data[struct.calcsize("<QI") + 20] ^= 255
    path.write_bytes(data)
    with pytest.raises(
        ValueError, match=r"^record 0 of \S*val-00001-of-00002.tfrecord \(at byte 0\) is corrupt"
    ):
        check()


def test_a_missing_shard_is_named(check, tmp_path):
    _write(tmp_path, val=[_record(_FIRST)])
    (tmp_path / "val-00001-of-00002.tfrecord").unlink()
    with pytest.raises(ValueError, match="1 of the 2 shards"):
        check()


def test_a_folder_without_shards_is_named(check, tmp_path):
    _DATASET.save(tmp_path / "roofs.json")
    with pytest.raises(ValueError, match="no shards .* in .*--dataset_dir"):
        check()


def test_exif_and_dark_16_bit_images_are_mentioned(check, tmp_path, capsys):
    dark = np.full((1, 8), 4095, np.uint16)
    _write(
        tmp_path,
        val=[
            _record(_FIRST, jpeg(1, 8, orientation=3), name="turned"),
            _record(_FIRST, jpeg(1, 8, orientation=6, seed=1), name="fits as it is stored"),
            _record(_FIRST, cv2.imencode(".png", dark)[1].tobytes(), name="dark"),
        ],
    )
    check()
    text = capsys.readouterr().out
    assert "training ignores the EXIF orientation of 1 image (turned)" in text
    assert "1 16-bit images are almost black" in text and "(dark)" in text


def test_a_palette_that_was_read_as_gray_is_told_with_its_remedy(check, tmp_path):
    _write(tmp_path, val=[_record(np.array([[0, 38, 75, 113]]))])
    with pytest.raises(
        ValueError, match="label 38: looks like a color-mapped PNG read as gray; ru"
    ):
        check()


def test_the_json_report_has_its_documented_keys(check, tmp_path, capsys):
    _write(tmp_path, train=[_record(_FIRST)], val=[_record(_FIRST), _record(_SECOND)])
    assert check(f"--json={tmp_path}/report.json") == 0
    report = json.loads((tmp_path / "report.json").read_text())
    page = (pathlib.Path(check_data.__file__).parents[1] / "g3doc/check_data.md").read_text()
    keys = set(report)
    for entries in ("splits", "findings"):
        keys |= set(report[entries][0])
    for entries in ("classes", "sizes"):
        keys |= set(report["splits"][0][entries][0])
    assert keys == set(re.findall(r"^\| `(\w+)` \|", page.partition("## Findings")[0], re.M))
    assert report["splits"][0]["classes"][1]["share"] == 2 / 8
    kinds = {finding["kind"] for finding in report["findings"]}
    assert {"copies", "never_seen", "missing_class"} <= kinds


@pytest.mark.parametrize("name", ["val-00001-of-00002.tfrecord", "./roofs.json"])
def test_a_report_replaces_nothing_that_is_read(check, tmp_path, name):
    _write(tmp_path, val=[_record(_FIRST)])
    before = (tmp_path / name).read_bytes()
    with pytest.raises(ValueError, match="--json=.* would replace a file that is read"):
        check(f"--json={tmp_path}/{name}")
    assert (tmp_path / name).read_bytes() == before


def test_the_colors_are_those_of_all_pixels_and_the_brightness_is_of_images(
    check, tmp_path, capsys
):
    random = np.random.default_rng(0)
    pictures = [random.integers(0, top, (1, 8, 3), np.uint8) for top in (256, 60)]
    records = [
        _record(_FIRST, cv2.imencode(".png", each[..., ::-1])[1].tobytes()) for each in pictures
    ]
    _write(tmp_path, val=records)
    check(f"--json={tmp_path}/report.json")
    pixels = np.concatenate(pictures, axis=1)[0]
    (found,) = json.loads((tmp_path / "report.json").read_text())["splits"]
    np.testing.assert_allclose(found["channel_mean"], pixels.mean(axis=0))
    np.testing.assert_allclose(found["channel_std"], pixels.std(axis=0))
    gray = [picture.mean(axis=(0, 1)) @ [0.299, 0.587, 0.114] for picture in pictures]
    np.testing.assert_allclose(found["brightness_mean"], np.mean(gray))
    np.testing.assert_allclose(found["brightness_std"], np.std(gray))
    red, deviation = pixels[:, 0].mean(), pixels[:, 0].std()
    assert f"mean (standard deviation): red {red:.1f} ({deviation:.1f})" in capsys.readouterr().out


def test_every_kind_of_finding_is_documented():
    folder = pathlib.Path(check_data.__file__).parent
    code = (folder / "split_findings.py").read_text()
    used = set(re.findall(r'(?:add|Finding)\(\s*"(\w+)"', code))
    page = (folder.parent / "g3doc/check_data.md").read_text().partition("## Findings")[2]
    assert used == set(re.findall(r"^\| `(\w+)` \|", page, re.M))
    assert len(used) > 10


def test_the_exit_code_tells_warnings_if_asked(check, tmp_path, capsys):
    _write(tmp_path, train=[_record(_FIRST)], val=[_record(_FIRST)])
    assert check() == 0
    assert check("--fail_on=warning") == 2
    assert check("--fail_on=warning", "--split=val") == 2  # Tiny objects.


def test_the_contact_sheet_shows_every_split(check, tmp_path, capsys):
    _write(tmp_path, train=[_record(_FIRST)], val=[_record(_SECOND)])
    check(f"--contact_sheet={tmp_path}/sheet.png")
    both = tiny.read_png(tmp_path / "sheet.png")
    check(f"--contact_sheet={tmp_path}/sheet.png", "--split=val")
    assert both.shape[0] > tiny.read_png(tmp_path / "sheet.png").shape[0] > 0


def test_a_contact_sheet_that_is_no_png_is_named_before_anything_is_read(check, tmp_path, capsys):
    _write(tmp_path, val=[_record(_FIRST)])
    with pytest.raises(ValueError, match=r"--contact_sheet is sheet.jpg; .* must end in .png"):
        check("--contact_sheet=sheet.jpg")
    assert not capsys.readouterr().out


def test_memory_does_not_grow_with_what_records_hold():
    """Sixteen bytes for each record, besides counts."""
    statistics = split_statistics.SplitStatistics()
    record = _record(_FIRST)
    for _ in range(3):
        statistics.add(record, _DATASET)
    grown = [
        name
        for name, value in vars(statistics).items()
        if hasattr(value, "__len__") and len(value) == 3
    ]
    assert grown == ["digests", "hashes"]
    assert statistics.digests.itemsize == statistics.hashes.itemsize == 8


def test_a_part_of_a_split_is_spread_over_it(tmp_path):
    images = [jpeg(1, 8, seed=seed) for seed in range(7)]
    _write(
        tmp_path,
        train=[_record(_FIRST, image, name=str(index)) for index, image in enumerate(images)],
    )
    checked = split_statistics.check("train", str(tmp_path), _DATASET, most=3)
    assert checked.statistics.num_images == 3
    assert [checked.image_name(index) for index in range(3)] == ["0", "3", "6"]
    assert len(checked.records) == 7
