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


def test_sets_of_shards_must_be_one_and_complete():
    names = [shards.shard_name("train", index, 3) for index in range(3)]
    shards.check_complete(names)
    shards.check_complete(["train-all.tfrecord"])
    with pytest.raises(ValueError, match="1 of the 3 shards .*the first is 00001-of-00003"):
        shards.check_complete([names[0], names[2]])
    with pytest.raises(ValueError, match="1 and 3 shards of one split"):
        shards.check_complete([*names, shards.shard_name("train", 0, 1)])
