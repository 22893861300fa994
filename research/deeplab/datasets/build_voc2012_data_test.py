import os
import shutil

import numpy as np
import pytest

from deeplab.datasets import (
    build_voc2012_data,
    descriptors,
    label_files,
    mat_files,
    mat_files_test,
)
from deeplab.datasets.conftest import describe, jpeg, png, read_records
from deeplab.testing import golden

_OFFICIAL = golden.DATA / "misc" / "tfrecords_voc"


def _convert(run_script, folder, *more, labels="SegmentationClassRaw"):
    return run_script(
        build_voc2012_data,
        f"--image_folder={folder}/JPEGImages",
        f"--semantic_segmentation_folder={folder}/{labels}",
        f"--list_folder={folder}/ImageSets",
        "--image_format=jpg",
        *more,
    )


def _examples(path):
    import tensorflow as tf

    records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    return [describe(tf.train.Example.FromString(record)) for record in records]


def test_records_are_official(run_script, tmp_path):
    _convert(run_script, _OFFICIAL, f"--output_dir={tmp_path}")
    official, _ = golden.misc("tfrecords")
    assert sorted(os.listdir(tmp_path)) == sorted(official["voc"])
    for name, expected in official["voc"].items():
        assert _examples(tmp_path / name) == expected
        assert _examples(tmp_path / name) == _examples(_OFFICIAL / "tfrecord" / name)


@pytest.mark.parametrize(
    "more",
    [
        pytest.param((), id="local"),
        pytest.param(
            ("--runner=beam", "--beam_options=--runner=FnApiRunner"),
            id="beam",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_data_may_lie_in_another_file_system(run_script, tmp_path, more):
    import tensorflow as tf

    if more:
        pytest.importorskip("apache_beam", reason="needs the extra [beam]")
    remote = f"ram://build_voc2012_data_test/{len(more)}"
    for path in _OFFICIAL.rglob("*.*"):
        copy = f"{remote}/{path.relative_to(_OFFICIAL)}"
        tf.io.gfile.makedirs(os.path.dirname(copy))
        tf.io.gfile.copy(str(path), copy)
    _convert(run_script, remote, f"--output_dir={remote}/out", *more)
    _convert(run_script, _OFFICIAL, f"--output_dir={tmp_path}")
    written = sorted(path.name for path in tmp_path.iterdir())
    assert sorted(tf.io.gfile.listdir(f"{remote}/out")) == written
    for name in written:
        with tf.io.gfile.GFile(f"{remote}/out/{name}", "rb") as file:
            assert file.read() == (tmp_path / name).read_bytes()


def test_a_pipeline_has_processes_of_its_own(run_script):
    with pytest.raises(ValueError, match="--num_processes=2 belongs to --runner=local"):
        _convert(run_script, _OFFICIAL, "--runner=beam", "--num_processes=2")


def test_labels_with_a_palette_give_the_same_label_values(run_script, tmp_path):
    import tensorflow as tf

    _, official = golden.misc("tfrecords")
    _convert(run_script, _OFFICIAL, f"--output_dir={tmp_path}", labels="SegmentationClass")
    seen = 0
    for path in tmp_path.glob("train-*"):
        for record in read_records(path):
            name = record["image/filename"][0].decode()
            label = tf.io.decode_png(record["image/segmentation/class/encoded"][0], channels=1)
            np.testing.assert_array_equal(label[..., 0], official[f"gt_{name}"])
            seen += 1
    assert seen == 5


def test_a_second_run_gives_the_same_files(run_script, tmp_path):
    contents = []
    for _ in range(2):
        _convert(run_script, _OFFICIAL, f"--output_dir={tmp_path}")
        contents.append({path.name: path.read_bytes() for path in tmp_path.iterdir()})
    assert contents[0] == contents[1]


def test_a_label_that_is_no_class_is_named(run_script, tmp_path):
    shutil.copytree(_OFFICIAL, tmp_path / "voc")
    path = tmp_path / "voc" / "SegmentationClassRaw" / "2007_000001.png"
    path.write_bytes(png(np.full((14, 19), 21)))
    with pytest.raises(ValueError, match=r"2007_000001.png .* 21 \(266 pixels\); .*--dataset"):
        _convert(run_script, tmp_path / "voc", f"--output_dir={tmp_path}/out")


def test_another_descriptor_has_other_classes(run_script, tmp_path):
    descriptors.DatasetDescriptor("own", 12, 255).save(tmp_path / "own.json")
    with pytest.raises(ValueError, match=r"neither a class \(0 to 11\)"):
        _convert(
            run_script,
            _OFFICIAL,
            f"--output_dir={tmp_path}/out",
            f"--dataset={tmp_path}/own.json",
        )


def test_the_default_image_format_says_what_to_give(run_script, tmp_path):
    with pytest.raises(ValueError, match=r"5 of 5 images are bad.*--image_format=jpg"):
        _convert(run_script, _OFFICIAL, f"--output_dir={tmp_path}", "--image_format=png")


def test_lists_of_pairs_are_refused(run_script, tmp_path):
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "train.txt").write_text(
        "/JPEGImages/2007_000000.jpg /SegmentationClassAug/2007_000000.png\n"
    )
    message = (
        r"not found \(.*train.txt, line 1; a line is the name of one image: remove the other"
        r" columns\)"
    )
    with pytest.raises(FileNotFoundError, match=message):
        _convert(run_script, _OFFICIAL, f"--output_dir={tmp_path}/out", f"--list_folder={lists}")


def test_wrong_sizes_and_shared_images_are_reported(run_script, tmp_path, caplog):
    _convert(run_script, _OFFICIAL, f"--output_dir={tmp_path}")
    assert "train.txt has 5 names; the split train of pascal_voc_seg has 1464" in caplog.text
    assert "3 names of train.txt are also in val.txt, such as 2007_000000" in caplog.text


def test_train_aug_has_the_images_of_sbd_but_those_of_val(run_script, tmp_path):
    height, width = mat_files.find_labels(mat_files_test.FILE, "Segmentation").shape
    for part in ("JPEGImages", "SegmentationClassRaw", "ImageSets", "sbd/cls", "sbd/img"):
        (tmp_path / part).mkdir(parents=True)
    for name in "abcde":
        folder = tmp_path / ("sbd/img" if name == "e" else "JPEGImages")
        (folder / f"{name}.jpg").write_bytes(jpeg(height, width))
        (tmp_path / "sbd/cls" / f"{name}.mat").write_bytes(mat_files_test.FILE)
    for name in "abc":
        path = tmp_path / "SegmentationClassRaw" / f"{name}.png"
        path.write_bytes(png(np.ones((height, width), int)))
    for path, names in (
        ("ImageSets/train", "b"),
        ("ImageSets/val", "ac"),
        ("sbd/train", "dba"),
        ("sbd/val", "ec"),
    ):
        (tmp_path / f"{path}.txt").write_text("\n".join(names))
    arguments = (f"--output_dir={tmp_path}/out", f"--sbd_folder={tmp_path}/sbd")
    _convert(run_script, tmp_path, *arguments)
    paths = sorted((tmp_path / "out").glob("train_aug-*"))
    labels = {
        record["image/filename"][0].decode(): label_files.read_indices(
            record["image/segmentation/class/encoded"][0]
        )
        for path in paths
        for record in read_records(path)
    }
    assert list(labels) == ["b", "d", "e"]
    assert (labels["b"] == 1).all()
    assert labels["d"][0, 0] == labels["e"][0, 0] == 20
    os.remove(tmp_path / "sbd/cls/d.mat")
    with pytest.raises(ValueError, match="label .*cls/d.mat not found"):
        _convert(run_script, tmp_path, *arguments)
    os.remove(tmp_path / "sbd/val.txt")
    with pytest.raises(FileNotFoundError, match="val.txt not found; --sbd_folder is the folder"):
        _convert(run_script, tmp_path, *arguments)
    os.remove(tmp_path / "ImageSets/val.txt")
    with pytest.raises(ValueError, match="--sbd_folder makes train_aug of the lists train.txt and"):
        _convert(run_script, tmp_path, *arguments)
