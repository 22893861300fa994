import os

import numpy as np
import pytest

from deeplab.datasets import build_ade20k_data
from deeplab.datasets.conftest import jpeg, png, read_records
from deeplab.testing import golden


def _write(root, count=5, label=150):
    for folder, prefix in (("training", "train"), ("validation", "val")):
        for part in ("images", "annotations"):
            (root / part / folder).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            name = f"ADE_{prefix}_{index:08d}"
            (root / "images" / folder / f"{name}.jpg").write_bytes(jpeg(6, 8))
            (root / "annotations" / folder / f"{name}.png").write_bytes(png(np.full((6, 8), label)))


def _convert(run_script, root, output_dir, *more):
    run_script(
        build_ade20k_data,
        f"--train_image_folder={root}/images/training",
        f"--train_image_label_folder={root}/annotations/training",
        f"--val_image_folder={root}/images/validation",
        f"--val_image_label_folder={root}/annotations/validation",
        f"--output_dir={output_dir}",
        *more,
    )


def _names(folder, split):
    paths = sorted(folder.glob(f"{split}-*"))
    return [r["image/filename"][0].decode() for path in paths for r in read_records(path)]


def test_files_and_features_are_official_and_the_format_is_true(run_script, tmp_path):
    _write(tmp_path / "ade")
    _convert(run_script, tmp_path / "ade", tmp_path / "out")
    official = golden.misc("tfrecords")[0]["ade20k"]
    assert sorted(os.listdir(tmp_path / "out")) == sorted(official)
    first, _ = read_records(tmp_path / "out" / "train-00000-of-00004.tfrecord")
    assert set(first) == set(official["train-00000-of-00004.tfrecord"][0])
    assert first["image/format"] == [b"jpeg"]


def test_the_order_is_shuffled_and_always_the_same(run_script, tmp_path):
    _write(tmp_path / "ade", 8)
    for run in ("one", "two"):
        _convert(run_script, tmp_path / "ade", tmp_path / run)
    names = _names(tmp_path / "one", "train")
    folder = tmp_path / "ade" / "images" / "training"
    assert sorted(names) == [str(folder / f"ADE_train_{index:08d}.jpg") for index in range(8)]
    assert names != sorted(names)
    assert names == _names(tmp_path / "two", "train")


def test_a_label_that_is_no_class_is_named(run_script, tmp_path):
    _write(tmp_path / "ade", 1, label=151)
    with pytest.raises(ValueError, match=r"ADE_train_00000000.png .* 151 \(48 pixels\)"):
        _convert(run_script, tmp_path / "ade", tmp_path / "out")


def test_a_flag_without_effect_says_so(run_script, tmp_path, caplog):
    _write(tmp_path / "ade", 1)
    with caplog.at_level("INFO"):
        _convert(run_script, tmp_path / "ade", tmp_path / "out", "--image_format=jpg")
    assert "--image_format has no effect" in caplog.text


def test_a_wrong_folder_is_named_before_anything_is_written(run_script, tmp_path):
    _write(tmp_path / "ade")
    os.rename(tmp_path / "ade" / "images" / "validation", tmp_path / "elsewhere")
    with pytest.raises(
        ValueError, match=r"no image \(\*.jpg\) in .*validation .--val_image_folder"
    ):
        _convert(run_script, tmp_path / "ade", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_upper_case_is_found_and_other_files_are_named(run_script, tmp_path, caplog):
    _write(tmp_path / "ade", 3)
    folder = tmp_path / "ade" / "images" / "training"
    os.rename(folder / "ADE_train_00000001.jpg", folder / "ADE_train_00000001.JPG")
    os.rename(folder / "ADE_train_00000002.jpg", folder / "ADE_train_00000002.jpeg")
    for name in ("more.png", "notes.txt", "._ADE_train_00000000.jpg", ".DS_Store"):
        (folder / name).touch()
    _convert(run_script, tmp_path / "ade", tmp_path / "out")
    assert len(_names(tmp_path / "out", "train")) == 3
    assert f"passed over 2 files in {folder} (--train_image_folder)" in caplog.text
    assert "(.jpg, .jpeg), such as more.png" in caplog.text
