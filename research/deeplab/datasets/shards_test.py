import os
import subprocess
import sys

import pytest
import tensorflow as tf

from deeplab.datasets import shards


def _write(folder, split, records, num_shards):
    with shards.writing(str(folder), split, len(records), num_shards) as write:
        for record in records:
            write(record)


def _contents(folder):
    return {
        path.name: list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
        for path in sorted(folder.iterdir())
    }


@pytest.mark.parametrize(
    ("count", "expected"),
    [(5, [2, 2, 1, 0]), (3, [1, 1, 1, 0]), (8, [2, 2, 2, 2]), (9, [3, 3, 3, 0]), (1, [1, 0, 0, 0])],
)
def test_every_shard_takes_its_official_part(tmp_path, count, expected):
    records = [bytes([index]) for index in range(count)]
    _write(tmp_path / "new" / "folder", "val", records, 4)
    contents = _contents(tmp_path / "new" / "folder")
    assert list(contents) == [f"val-{index:05d}-of-00004.tfrecord" for index in range(4)]
    assert [len(shard) for shard in contents.values()] == expected
    assert sum(contents.values(), []) == records


def test_earlier_shards_stay_until_all_new_ones_are_whole(tmp_path):
    _write(tmp_path, "train", [b"old"] * 4, 2)
    old = _contents(tmp_path)
    with shards.writing(str(tmp_path), "train", 4, 2) as write:
        for _ in range(4):
            write(b"new")
            seen = {name: value for name, value in _contents(tmp_path).items() if name in old}
            assert seen == old
            assert not set(tmp_path.glob("train-*")) - {tmp_path / name for name in old}
    assert _contents(tmp_path) == {name: [b"new"] * 2 for name in old}


def test_an_error_leaves_earlier_shards_and_nothing_else(tmp_path):
    _write(tmp_path, "train", [b"old"] * 4, 2)
    old = _contents(tmp_path)
    with pytest.raises(KeyboardInterrupt), shards.writing(str(tmp_path), "train", 4, 2) as write:
        write(b"new")
        raise KeyboardInterrupt
    assert _contents(tmp_path) == old


def test_what_a_killed_run_left_is_removed(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    left_over = tmp_path / f".train-00001-of-00002.tfrecord.{process.pid}.tmp"
    other = tmp_path / f".val-00001-of-00002.tfrecord.{process.pid}.tmp"
    for path in (left_over, other):
        path.write_bytes(b"half")
    _write(tmp_path, "train", [b"new"], 2)
    assert not left_over.exists()
    assert other.exists()


def test_another_number_of_shards_is_refused(tmp_path):
    _write(tmp_path, "train", [b"old"], 2)
    _write(tmp_path, "trainval", [b"old"], 3)
    old = _contents(tmp_path)
    with pytest.raises(ValueError, match="train in 2 shards .train-00000-of-00002.tfrecord"):
        _write(tmp_path, "train", [b"new"], 4)
    assert _contents(tmp_path) == old


def test_shards_with_another_extension_are_refused(tmp_path):
    (tmp_path / "train-00000-of-00001.record").touch()
    with pytest.raises(ValueError, match="another extension .train-00000-of-00001.record"):
        _write(tmp_path, "train", [b"new"], 1)


def test_a_split_cannot_be_written_outside_its_folder(tmp_path):
    with pytest.raises(ValueError, match=r"split '\.\./train': the name must not"):
        _write(tmp_path / "out", "../train", [b"new"], 1)
    assert not list(tmp_path.iterdir())


def test_a_missing_record_is_an_error(tmp_path):
    with (
        pytest.raises(ValueError, match="1 records written, 2 promised"),
        shards.writing(str(tmp_path), "train", 2, 1) as write,
    ):
        write(b"new")
    assert not list(tmp_path.iterdir())


def test_splits_are_found_by_their_shards(tmp_path):
    assert shards.splits(str(tmp_path / "nowhere")) == []
    _write(tmp_path, "val", [b"a"], 1)
    _write(tmp_path, "train_fine", [b"a"], 2)
    (tmp_path / "dataset.json").write_text("{}")
    (tmp_path / ".train-00001-of-00002.tfrecord.4242.tmp").write_bytes(b"half")
    assert shards.splits(str(tmp_path)) == ["train_fine", "val"]


def _touch(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()


def _found(folder, *names):
    return [os.path.basename(path) for path in shards.find(folder, names)]


def test_a_split_is_exactly_its_own_shards(tmp_path):
    own = [f"train-{index:05d}-of-00002.tfrecord" for index in range(2)]
    _touch(tmp_path, *own, "train-extra-00000-of-00001.tfrecord", "train-notes.txt", "val-00000")
    _touch(tmp_path, "train_aug-00000-of-00001.tfrecord", ".train-00002-of-00003.tfrecord.1.tmp")
    assert _found(tmp_path, "train") == own
    assert _found(tmp_path, "train-extra") == ["train-extra-00000-of-00001.tfrecord"]


@pytest.mark.parametrize("extension", ["", ".tfrecord", ".record", ".tfrecord.v2"])
def test_shards_may_have_any_extension(tmp_path, extension):
    names = [f"val-{index:05d}-of-00002{extension}" for index in range(2)]
    _touch(tmp_path, *names, "val-small-00000-of-00001")
    assert _found(tmp_path, "val") == names


def test_without_shards_other_files_are_taken_but_not_shards_of_other_splits(tmp_path):
    _touch(tmp_path, "val-b", "val-a.tfrecord", "val-small-00000-of-00001.tfrecord")
    (tmp_path / "val-folder").mkdir()
    assert _found(tmp_path, "val") == ["val-a.tfrecord", "val-b"]


def test_the_first_name_with_shards_is_taken(tmp_path):
    _touch(tmp_path, "train_fine-old", "train-00000-of-00001.tfrecord")
    assert _found(tmp_path, "train_fine", "train") == ["train-00000-of-00001.tfrecord"]
    _touch(tmp_path, "train_fine-00000-of-00001.tfrecord")
    assert _found(tmp_path, "train_fine", "train") == ["train_fine-00000-of-00001.tfrecord"]


@pytest.mark.parametrize("folder", ["a[bc]", "a*", "a?", "[!x]", "ab"])
def test_a_folder_is_no_pattern(tmp_path, folder):
    _touch(tmp_path / "ab", "val-00000-of-00001.tfrecord", "val-b")
    _touch(tmp_path / folder, "val-00000-of-00001.tfrecord")
    path = str(tmp_path / folder / "val-00000-of-00001.tfrecord")
    assert shards.find(tmp_path / folder, ["val"]) == [path]
    assert shards.splits(str(tmp_path / folder)) == ["val"]


def test_a_split_is_no_pattern(tmp_path):
    _touch(tmp_path, "train-00000-of-00001.tfrecord")
    with pytest.raises(FileNotFoundError, match="no file matches"):
        shards.find(tmp_path, ["tr*"])


def test_files_of_any_file_system_are_found():
    path = "ram://shards_test/train-00000-of-00001.tfrecord"
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(b"record")
    assert shards.find("ram://shards_test", ["train"]) == [path]
    assert len(shards.open_split("ram://shards_test", ["train"])) == 1


def test_no_file_of_the_split(tmp_path):
    message = "train-[*] or .*tr-[*]; the folder holds nothing$"
    with pytest.raises(FileNotFoundError, match=message):
        shards.find(tmp_path, ["train", "tr"])
    _touch(tmp_path, *(f"val-{number:02}" for number in range(12)))
    with pytest.raises(FileNotFoundError, match="holds val-00, .*, val-09 and 2 more$"):
        shards.find(tmp_path, ["train"])
    _touch(tmp_path, "train-extra-00000-of-00001.tfrecord")
    message = r"holds train-extra-00000.* \(shards of other splits and folders do not count\)$"
    with pytest.raises(FileNotFoundError, match=message):
        shards.find(tmp_path, ["train"])


def test_no_such_folder(tmp_path):
    folder = tmp_path / "none"
    with pytest.raises(FileNotFoundError, match=f"{folder}/train-[*]: there is no such folder"):
        shards.find(folder, ["train"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["s-00000-of-00003", "s-00002-of-00003"], "1 of the 3 shards .*first is 00001-of-00003:"),
        (["s-00000-of-00001", "s-00000-of-00002", "s-00001-of-00002"], "1 and 2 shards of one"),
        (["s-00000-of-00001", "s-00000-of-00001.bak"], "the same shard .* read twice; delete one"),
        (["s-00001-of-00001"], "s-00001-of-00001 cannot be one of 1 shard:"),
        ([f"s-00000-of-{10**20}"], f"{10**20 - 1} of the {10**20} shards .*first is 00001-of-1"),
    ],
)
def test_shards_must_be_one_complete_set(tmp_path, names, message):
    _touch(tmp_path, *names)
    with pytest.raises(ValueError, match=message):
        shards.find(tmp_path, ["s"])


def test_only_the_last_shards_may_be_empty(tmp_path):
    _write(tmp_path, "val", [b"a"] * 5, 4)
    files = shards.open_split(tmp_path, ["val"])
    assert list(files.counts) == [2, 2, 1, 0]
    (tmp_path / "val-00001-of-00004.tfrecord").write_bytes(b"")
    message = "val-00001-of-00004.tfrecord is empty, but .*val-00002-of-00004.tfrecord holds"
    with pytest.raises(ValueError, match=message):
        shards.open_split(tmp_path, ["val"])


def test_a_split_without_records_is_an_error(tmp_path):
    _touch(tmp_path, "val-00000-of-00001.tfrecord")
    with pytest.raises(ValueError, match="there is no record in .*val-00000-of-00001"):
        shards.open_split(tmp_path, ["val"])


def test_another_split_in_another_number_of_shards_is_no_obstacle(tmp_path):
    _write(tmp_path, "train-extra", [b"a"], 3)
    _write(tmp_path, "train", [b"b"], 2)
    assert len(shards.open_split(tmp_path, ["train"])) == 1
