import json
import os
import re

import cv2
import numpy as np
import pytest
import tensorflow as tf

from deeplab.datasets import (
    build_custom_data,
    check_data,
    custom_options,
    descriptors,
    label_colors,
)
from deeplab.datasets.conftest import jpeg, png, read_records
from deeplab.testing import golden

_LABEL = np.array([[0, 1, 2, 255]] * 3)
_CLASSES = "--class_names=ground, roof,road"


@pytest.fixture
def folder(tmp_path):
    """Images train/{a,b} and val/c with labels of the classes 0, 1, 2 and 255, and lists."""
    for split, name in (("train", "a"), ("train", "b"), ("val", "c")):
        for part in ("images", "labels"):
            (tmp_path / part / split).mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / split / f"{name}.jpg").write_bytes(jpeg(3, 4))
        (tmp_path / "labels" / split / f"{name}.png").write_bytes(png(_LABEL))
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "train.txt").write_text("train/b\ntrain/a\n")
    (tmp_path / "lists" / "val.txt").write_text("val/c\n")
    return tmp_path


@pytest.fixture
def convert(run_script, folder):
    """Runs the script on the folder."""

    def run(*more, lists=True, labels=True):
        arguments = [f"--image_folder={folder}/images", f"--output_dir={folder}/out"]
        arguments += [f"--list_folder={folder}/lists"] * lists
        arguments += [f"--label_folder={folder}/labels"] * labels
        run_script(build_custom_data, *arguments, *more)

    return run


def _records(folder, split):
    paths = sorted((folder / "out").glob(f"{split}-*"))
    return [record for path in paths for record in read_records(path)]


def _names(folder, split):
    return [record["image/filename"][0].decode() for record in _records(folder, split)]


def _label(record):
    data = record["image/segmentation/class/encoded"][0]
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def test_lists_become_splits_and_a_descriptor(convert, folder):
    convert(_CLASSES)
    assert descriptors.load(f"{folder}/out/dataset.json") == descriptors.DatasetDescriptor(
        name="dataset",
        num_classes=3,
        ignore_label=255,
        splits_to_sizes={"train": 2, "val": 1},
        class_names=("ground", "roof", "road"),
    )
    assert len(list((folder / "out").glob("train-*-of-00004.tfrecord"))) == 4
    assert _names(folder, "train") == ["train/b", "train/a"]
    assert _names(folder, "val") == ["val/c"]
    np.testing.assert_array_equal(_label(_records(folder, "val")[0]), _LABEL)


def test_patterns_become_splits(convert, folder):
    convert(_CLASSES, "--split=train=train/*", "--split=val=val/c.*", "--num_shards=1", lists=False)
    assert _names(folder, "train") == ["train/a", "train/b"]
    assert _names(folder, "val") == ["val/c"]


def test_the_descriptor_may_lie_elsewhere_and_gives_the_name(convert, folder):
    convert("--num_classes=3", f"--descriptor={folder}/roofs.json")
    descriptor = descriptors.load(f"{folder}/roofs.json")
    assert (descriptor.name, descriptor.class_names) == ("roofs", None)


def test_colors_become_labels_and_the_descriptor_has_them(convert, folder):
    colors = {"ground": [0, 0, 0], "roof": [[200, 0, 0], [100, 0, 0]], "ignore": [255, 255, 255]}
    (folder / "colors.json").write_text(json.dumps(colors))
    pixels = np.array([[[0, 0, 0], [200, 0, 0], [100, 0, 0], [255, 255, 255]]] * 3)
    for path in (folder / "labels").glob("*/*"):
        path.write_bytes(png(pixels, 8, 2))
    convert(f"--colormap={folder}/colors.json")
    descriptor = descriptors.load(f"{folder}/out/dataset.json")
    assert descriptor.class_names == ("ground", "roof")
    assert descriptor.colormap == ((0, 0, 0), (200, 0, 0))
    np.testing.assert_array_equal(_label(_records(folder, "val")[0]), [[0, 1, 1, 255]] * 3)


def test_a_list_of_colors_has_no_names(tmp_path):
    (tmp_path / "colors.json").write_text("[[0, 0, 0], [1, 2, 3]]")
    colors = label_colors.read_colors(str(tmp_path / "colors.json"), 255)
    assert colors.labels == {(0, 0, 0): 0, (1, 2, 3): 1}
    assert colors.names is None


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("{", "colors.json is not JSON"),
        ("3", "colors.json holds 3"),
        ("[[0, 0]]", r"colors.json: the color of 0 is \[0, 0\]"),
        ('{"roof": "red"}', "the color of roof is 'red'"),
        ('{"roof": [0, 0, 256]}', "the color of roof is"),
        ('{"roof": []}', "the color of roof is"),
        pytest.param(
            f'{{"roof": {"[" * 900}{"]" * 900}}}', "the color of roof is", id="nested in the limit"
        ),
        ('{"a": [1, 2, 3], "b": [1, 2, 3]}', r"the color \[1, 2, 3\] of b is also another's"),
    ],
)
def test_malformed_colors_are_named(tmp_path, entries, message):
    (tmp_path / "colors.json").write_text(entries)
    with pytest.raises(ValueError, match=message):
        label_colors.read_colors(str(tmp_path / "colors.json"), 255)


def test_label_values_are_replaced(convert, folder):
    for path in (folder / "labels").glob("*/*"):
        path.write_bytes(png(np.array([[0, 255, 128, 0]] * 3)))
    convert("--num_classes=2", "--label_map=255:1,128:255")
    np.testing.assert_array_equal(_label(_records(folder, "val")[0]), [[0, 1, 255, 0]] * 3)


@pytest.mark.parametrize(
    "entry", ["255->1", "70000:1", "1:256", "1:-1", "-1:1", "1:nan", "\u00b2:1", "1:2:3", ":", ""]
)
def test_a_malformed_label_map_is_named(entry):
    with pytest.raises(ValueError, match=f"--label_map has {re.escape(repr(entry))}; it takes"):
        _ = custom_options.CustomOptions(label_map=["1:2", entry]).replacements


@pytest.mark.parametrize("name", ["file/roofs.json", "folder.json"])
def test_a_descriptor_that_cannot_be_written_is_found_before_the_shards_are(convert, folder, name):
    (folder / "file").touch()
    (folder / "folder.json").mkdir()
    with pytest.raises(ValueError, match="--descriptor"):
        convert("--num_classes=3", f"--descriptor={folder}/{name}")
    assert not (folder / "out").exists()


def test_images_may_have_no_labels(convert, folder):
    convert("--num_classes=3", labels=False)
    assert "image/segmentation/class/encoded" not in _records(folder, "val")[0]


def test_labels_may_have_a_suffix(convert, folder):
    for path in (folder / "labels").glob("*/*"):
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    convert(_CLASSES, "--label_suffix=_mask")
    assert _names(folder, "val") == ["val/c"]


def test_images_and_labels_may_share_a_folder(convert, folder, run_script):
    for path in (folder / "labels").glob("*/*"):
        path.rename(folder / "images" / path.relative_to(folder / "labels"))
    arguments = (f"--label_folder={folder}/images", _CLASSES)
    with pytest.raises(
        ValueError, match="have the same name; choose one format, such as --image_format=jpg"
    ):
        convert(*arguments, labels=False)
    convert(*arguments, "--image_format=jpg", labels=False)
    assert _names(folder, "val") == ["val/c"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the classes are unknown: set --class_names, --num_classes or --colormap"),
        (("--num_classes=4", _CLASSES), "--num_classes has 4, --class_names has 3"),
        (("--num_classes=2",), r"neither a class \(0 to 1\).* 2 \(3 pixels\); .*--label_map"),
        (("--num_classes=3", "--ignore_label=300"), "ignore_label is 300"),
        (("--num_classes=3", "--descriptor=a.txt"), "--descriptor is a.txt"),
        (("--num_classes=3", "--split=val=*"), "--list_folder or from --split"),
        (("--class_names=roof",), "--class_names has 1 class; there must be 2 to 256"),
        (("--class_names=a,,b",), "--class_names=a,,b has an empty name"),
        (("--class_names=a, b,b",), "--class_names=a,b,b has 'b' twice"),
        (("--num_classes=3", "--label_map=1:2,1:0"), "value 1 two labels: '1:0' is another"),
    ],
)
def test_bad_flags_are_named(convert, arguments, message):
    with pytest.raises(ValueError, match=message):
        convert(*arguments)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("val", "--split is 'val'; it takes <split>=<pattern>"),
        ("val=nowhere/*", r"--split=val=nowhere/\*: no image nowhere/\* in"),
        ("../val=val/*", r"--split=../val=val/\*: the split's name must not .* contain /"),
        (".val=val/*", "the split's name must not begin with a dot"),
    ],
)
def test_bad_splits_are_named_before_anything_is_written(convert, folder, split, message):
    with pytest.raises(ValueError, match=message):
        convert(_CLASSES, f"--split={split}", lists=False)
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("val.txt", "\n \n", "split val has no images"),
        ("val\\a.txt", "val/c\n", r"split 'val\\\\a': the name must not"),
    ],
)
def test_no_split_is_written_before_all_can_be(convert, folder, name, content, message):
    (folder / "lists" / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        convert(_CLASSES)
    assert not (folder / "out").exists()


def test_images_that_are_not_there_are_named(convert, folder):
    (folder / "lists" / "val.txt").write_text("val/c\nval/d\n")
    message = r"1 of the 2 images of val .*the first is val/d \(.*lists/val.txt, line 2\)$"
    with pytest.raises(FileNotFoundError, match=message):
        convert(_CLASSES)


def test_an_image_in_another_format_is_named_with_its_flag(convert):
    message = r"line 1\); there is .*images/train/b.jpg: set --image_format=jpg$"
    with pytest.raises(FileNotFoundError, match=message):
        convert(_CLASSES, "--image_format=png")


def test_a_label_in_another_format_is_named_without_the_flag_of_images(convert, folder):
    os.rename(folder / "labels" / "val" / "c.png", folder / "labels" / "val" / "c.jpg")
    message = (
        r"label .*val/c.png not found \(.*val.txt, line 1\), but there is .*val/c.jpg; labels are"
        " .png or .tif files$"
    )
    with pytest.raises(FileNotFoundError, match=message):
        convert(_CLASSES)


def test_repeated_lines_are_records(convert, folder):
    (folder / "lists" / "train.txt").write_text("train/b\ntrain/a\ntrain/b\n")
    convert(_CLASSES)
    assert _names(folder, "train") == ["train/b", "train/a", "train/b"]
    assert descriptors.load(f"{folder}/out/dataset.json").splits_to_sizes["train"] == 3


@pytest.mark.parametrize("listed", ["val/c.jpg", "images/val/c", "images\\val\\c.jpg"])
def test_names_may_have_extension_and_folder(convert, folder, listed):
    (folder / "lists" / "val.txt").write_text(listed)
    convert(_CLASSES)
    assert _names(folder, "val") == ["val/c"]


@pytest.mark.parametrize("name", ["my photo (1), v1.2", "фото", "[ab]*?", "._c"])
def test_names_and_folders_may_have_any_characters(convert, folder, run_script, name):
    for part, extension in (("images", "jpg"), ("labels", "png")):
        (folder / part / name).mkdir()
        (folder / part / name / f"{name}.{extension}").write_bytes(
            (folder / part / "val" / f"c.{extension}").read_bytes()
        )
    (folder / "lists" / "val.txt").write_text(f"{name}/{name}\n", encoding="utf-8")
    convert(_CLASSES)
    assert _names(folder, "val") == [f"{name}/{name}"]
    if not name.startswith("."):
        os.remove(folder / "out" / "dataset.json")
        for path in (folder / "out").iterdir():
            path.unlink()
        convert(_CLASSES, f"--split=val={name}", lists=False)
        assert _names(folder, "val") == [f"{name}/{name}"]


def test_a_descriptor_replaces_nothing_but_a_descriptor(convert, folder):
    """An annotation file with the default name may lie in the folder of the results."""
    convert("--num_classes=3")
    convert("--num_classes=3")
    for path in (folder / "out" / "dataset.json", folder / "coco.json"):
        path.write_text('{"images": [], "annotations": [], "categories": []}')
        with pytest.raises(ValueError, match=f"--descriptor={path} would replace a file that is n"):
            convert("--num_classes=3", *([] if "out" in str(path) else [f"--descriptor={path}"]))
        assert "categories" in path.read_text()


def test_after_an_error_there_is_no_descriptor(convert, folder):
    os.remove(folder / "labels" / "val" / "c.png")
    with pytest.raises(FileNotFoundError, match=r"val/c.png"):
        convert(_CLASSES)
    assert not (folder / "out" / "dataset.json").exists()


def test_camvid_is_converted_and_passes_the_check(run_script, tmp_path, capsys):
    camvid = golden.shared("data/camvid")
    names = "sky,building,column_pole,road,sidewalk,tree,sign,fence,car,pedestrian,bicyclist"
    run_script(
        build_custom_data,
        f"--image_folder={camvid}/JPEGImages",
        f"--label_folder={camvid}/SegmentationClassRaw",
        "--split=val=0016E5_080*",
        f"--class_names={names}",
        "--ignore_label=11",
        f"--output_dir={tmp_path}",
    )
    run_script(check_data, f"--dataset={tmp_path}/dataset.json", f"--dataset_dir={tmp_path}")
    count = len(list(camvid.glob("JPEGImages/0016E5_080*")))
    assert count > 10
    assert f"val: {count} images, {count} with a label" in capsys.readouterr().out


def test_records_are_written_to_and_checked_in_another_file_system(
    convert, run_script, folder, capsys, monkeypatch
):
    monkeypatch.chdir(folder)
    remote = "ram://build_custom_data_test"
    for _ in range(2):  # Earlier records are replaced.
        convert(_CLASSES, f"--output_dir={remote}/out", "--num_shards=1")
    assert sorted(tf.io.gfile.listdir(f"{remote}/out")) == [
        "dataset.json",
        *(f"{split}-00000-of-00001.tfrecord" for split in ("train", "val")),
    ]
    run_script(check_data, f"--dataset={remote}/out/dataset.json", f"--dataset_dir={remote}/out")
    assert "train: 2 images" in capsys.readouterr().out
    with pytest.raises(ValueError, match="in 1 shard .* delete them or choose another"):
        convert(_CLASSES, f"--output_dir={remote}/out", "--num_shards=2")
    assert sorted(os.listdir(folder)) == ["images", "labels", "lists"]


def test_images_and_lists_may_lie_in_another_file_system(run_script, folder):
    remote = "ram://build_custom_data_test_images"
    for path in folder.rglob("*.*"):
        copy = f"{remote}/{path.relative_to(folder)}"
        tf.io.gfile.makedirs(os.path.dirname(copy))
        tf.io.gfile.copy(str(path), copy)
    flags_of = "--image_folder={0}/images", "--label_folder={0}/labels", "--list_folder={0}/lists"
    for root, out in ((folder, "local"), (remote, "remote")):
        given = [flag.format(root) for flag in flags_of]
        run_script(build_custom_data, *given, _CLASSES, f"--output_dir={folder}/{out}")
    files = {path.name: path.read_bytes() for path in (folder / "local").glob("*.tfrecord")}
    assert files == {
        path.name: path.read_bytes() for path in (folder / "remote").glob("*.tfrecord")
    }
    with pytest.raises(ValueError, match="--image_folder=ram://.*: --split_fractions needs these"):
        run_script(
            build_custom_data,
            f"--image_folder={remote}/images",
            "--split_fractions=train:1.0",
            _CLASSES,
            f"--output_dir={folder}/none",
        )
