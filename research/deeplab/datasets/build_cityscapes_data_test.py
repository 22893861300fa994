import os

import cv2
import numpy as np
import pytest

from deeplab.datasets import build_cityscapes_data
from deeplab.datasets.conftest import png, read_records
from deeplab.testing import golden

_NAMES = ("aachen_000000_000019", "aachen_000001_000019", "bochum_000000_000019")


def _write(root, kind="labelTrainIds", label=None, folders=("train", "val"), part="gtFine"):
    label = np.full((6, 8), 18) if label is None else label
    image = cv2.imencode(".png", np.zeros((6, 8, 3), np.uint8))[1].tobytes()
    for folder in folders:
        for name in _NAMES:
            city = name.split("_")[0]
            for each in ("leftImg8bit", part):
                (root / each / folder / city).mkdir(parents=True, exist_ok=True)
            (root / "leftImg8bit" / folder / city / f"{name}_leftImg8bit.png").write_bytes(image)
            (root / part / folder / city / f"{name}_{part}_{kind}.png").write_bytes(png(label))


def _convert(run_script, root, output_dir, *more):
    run_script(
        build_cityscapes_data, f"--cityscapes_root={root}", f"--output_dir={output_dir}", *more
    )


def _label(record):
    data = record["image/segmentation/class/encoded"][0]
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def test_files_names_and_features_are_official(run_script, tmp_path):
    _write(tmp_path / "city", folders=("train", "val", "test"))
    _convert(run_script, tmp_path / "city", tmp_path / "out")
    official = golden.misc("tfrecords")[0]["cityscapes"]
    assert sorted(os.listdir(tmp_path / "out")) == sorted(official)
    for index, name in enumerate(_NAMES):
        (record,) = read_records(tmp_path / "out" / f"val_fine-{index:05d}-of-00010.tfrecord")
        (expected,) = official[f"val_fine-{index:05d}-of-00010.tfrecord"]
        assert set(record) == set(expected)
        assert record["image/filename"] == [name.encode()]
        assert record["image/format"] == [b"png"]
        assert (_label(record) == 18).all()


def test_label_ids_become_training_ids(run_script, tmp_path):
    # Every id that a labelIds file may have, 0 (unlabeled) to 33 (bicycle).
    _write(tmp_path / "city", "labelIds", np.arange(48).reshape(6, 8) % 34)
    _convert(run_script, tmp_path / "city", tmp_path / "out")
    (record,) = read_records(tmp_path / "out" / "train_fine-00000-of-00010.tfrecord")
    ids = _label(record).ravel()[:34]
    eval_ids = golden.misc("datasets_and_colormaps")[0]["cityscapes_train_id_to_eval_id"]
    assert [int(np.flatnonzero(ids == train_id)[0]) for train_id in range(19)] == eval_ids
    assert (np.delete(ids, eval_ids) == 255).all()


def test_label_ids_in_place_of_training_ids_are_refused(run_script, tmp_path):
    _write(tmp_path / "city", label=np.full((6, 8), 33))
    with pytest.raises(ValueError, match=r"labelTrainIds.png .* 33 \(48 pixels\)"):
        _convert(run_script, tmp_path / "city", tmp_path / "out")


def test_the_test_images_need_no_labels(run_script, tmp_path):
    _write(tmp_path / "city", folders=("train", "val", "test"))
    for path in (tmp_path / "city" / "gtFine" / "test").glob("*/*"):
        path.unlink()
    _convert(run_script, tmp_path / "city", tmp_path / "out")
    (record,) = read_records(tmp_path / "out" / "test_fine-00000-of-00010.tfrecord")
    assert "image/segmentation/class/encoded" not in record


def test_a_missing_label_is_named(run_script, tmp_path):
    _write(tmp_path / "city")
    path = tmp_path / "city" / "gtFine" / "val" / "bochum" / f"{_NAMES[2]}_gtFine_labelTrainIds.png"
    path.unlink()
    with pytest.raises(FileNotFoundError, match=str(path)):
        _convert(run_script, tmp_path / "city", tmp_path / "out")


def test_a_wrong_root_is_named(run_script, tmp_path):
    with pytest.raises(ValueError, match=r"no image in .*leftImg8bit/train.*--cityscapes_root"):
        _convert(run_script, tmp_path, tmp_path / "out")


def test_coarse_labels_are_those_of_all_training_images(run_script, tmp_path):
    root = tmp_path / "city"
    _write(root)
    _write(root, "labelIds", np.full((6, 8), 7), ("train", "train_extra"), "gtCoarse")
    _convert(run_script, root, tmp_path / "out")
    assert not list((tmp_path / "out").glob("train_coarse*"))
    _convert(run_script, root, tmp_path / "out", "--coarse")
    paths = sorted((tmp_path / "out").glob("train_coarse-*"))
    records = [record for path in paths for record in read_records(path)]
    assert [record["image/filename"][0].decode() for record in records] == list(_NAMES) * 2
    # Road is 7 as a label id and 0 as a training id.
    assert not any(_label(record).any() for record in records)
