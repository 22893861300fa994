"""Random access to TFRecord files, whole and damaged."""

import gzip
import pathlib
import struct

import numpy as np
import pytest
import tensorflow as tf

from deeplab.datasets import record_files
from deeplab.testing import golden


def _write(path, contents):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for content in contents:
            writer.write(content)
    return str(path)


@pytest.fixture
def contents():
    random = np.random.default_rng(0)
    return [random.bytes(size) for size in (5, 0, 70000, 1, 333, 40)]


@pytest.fixture
def paths(tmp_path, contents):
    """Four files, of which two hold no record."""
    return [
        _write(tmp_path / "train-0", contents[:0]),
        _write(tmp_path / "train-1", contents[:4]),
        _write(tmp_path / "train-2", contents[:0]),
        _write(tmp_path / "train-3", contents[4:]),
    ]


@pytest.mark.parametrize("loaded", [False, True])
def test_reads_every_record_in_any_order(paths, contents, loaded):
    found = record_files.RecordFiles(paths)
    if loaded:
        found.load()
    assert len(found) == 6
    assert found.total_bytes == sum(map(len, contents))
    assert [found[i] for i in reversed(range(6))] == contents[::-1]
    order = [3, 0, 5, 1, 2, 4, 2]
    dataset = tf.data.Dataset.from_tensor_slices(order).map(found.read, num_parallel_calls=4)
    assert list(dataset.as_numpy_iterator()) == [contents[i] for i in order]


def test_says_where_a_record_is(paths):
    found = record_files.RecordFiles(paths)
    assert found.describe(0) == f"record 0 of {paths[1]} (at byte 0)"
    assert found.describe(2) == f"record 2 of {paths[1]} (at byte {5 + 16 + 16})"
    assert found.describe(4) == f"record 0 of {paths[3]} (at byte 0)"


@pytest.mark.parametrize("number", [-1, 6])
def test_there_are_no_other_records(paths, number):
    with pytest.raises(IndexError):
        record_files.RecordFiles(paths)[number]


def test_reads_files_that_are_not_local(contents):
    """Any file system of `tf.io.gfile`: here the one in memory."""
    path = _write("ram://records_test/train-0", contents)
    found = record_files.RecordFiles([path])
    assert [found[i] for i in range(6)] == contents


def test_reads_official_files():
    folder = golden.DATA / "misc/tfrecords_voc/tfrecord"
    paths = sorted(str(path) for path in pathlib.Path(folder).glob("train-*"))
    assert len(paths) == 4
    expected = list(tf.data.TFRecordDataset(paths).as_numpy_iterator())
    found = record_files.RecordFiles(paths)
    assert [found[i] for i in range(len(found))] == expected


def test_no_record_at_all(tmp_path):
    path = _write(tmp_path / "train-0", [])
    with pytest.raises(ValueError, match=f"there is no record in {path}"):
        record_files.RecordFiles([path])


# Files that are not what they should be.


def _damaged(path, change):
    with open(path, "rb") as file:
        data = bytearray(file.read())
    data = change(data)
    with open(path, "wb") as file:
        file.write(data)
    return str(path)


def _flip_bit(position):
    def change(data):
        data[position] ^= 1
        return data

    return change


def test_truncated_within_a_record(paths):
    _damaged(paths[1], lambda data: data[:100])
    with pytest.raises(
        ValueError,
        match=rf"{paths[1]} is truncated: the record at byte 37 ends at byte 70053, the file at"
        " byte 100",
    ):
        record_files.RecordFiles(paths)


def test_truncated_within_a_header(paths):
    _damaged(paths[1], lambda data: data[: 37 + 11])
    with pytest.raises(
        ValueError, match=f"{paths[1]} is truncated: it ends within the header .* byte 37;"
    ):
        record_files.RecordFiles(paths)


@pytest.mark.parametrize("position", [37, 37 + 7, 37 + 8, 37 + 11])
def test_corrupt_header(paths, position):
    _damaged(paths[1], _flip_bit(position))
    with pytest.raises(
        ValueError, match=f"{paths[1]} is not a TFRecord file, or corrupt: .* at byte 37 differs"
    ):
        record_files.RecordFiles(paths)


def test_no_tfrecord_file(tmp_path):
    path = tmp_path / "train-0.txt"
    path.write_text("2007_000032\n2007_000039\n")
    with pytest.raises(ValueError, match=f"{path} is not a TFRecord file, .* byte 0 differs"):
        record_files.RecordFiles([path])


@pytest.mark.parametrize("position", [37 + 12, 37 + 12 + 70000 - 1, 37 + 12 + 70000])
def test_corrupt_data(paths, position):
    _damaged(paths[1], _flip_bit(position))
    found = record_files.RecordFiles(paths)
    message = rf"record 2 of {paths[1]} \(at byte 37\) is corrupt"
    assert len(found[3]) == 1
    with pytest.raises(ValueError, match=message):
        found[2]
    with pytest.raises(ValueError, match=message):
        found.load()
    dataset = tf.data.Dataset.range(6).map(found.read)
    with pytest.raises(tf.errors.DataLossError):
        list(dataset)


def test_file_that_became_shorter(paths):
    found = record_files.RecordFiles(paths)
    _damaged(paths[3], lambda data: data[:-1])
    with pytest.raises(ValueError, match=f"record 1 of {paths[3]} .* is corrupt"):
        found[5]
    _damaged(paths[3], lambda data: data[:0])
    with pytest.raises(ValueError, match=f"record 1 of {paths[3]} .* is corrupt"):
        found[5]


def test_gzip(tmp_path, contents):
    path = _write(tmp_path / "train-0", contents)
    _damaged(path, gzip.compress)
    with pytest.raises(ValueError, match=f"{path} is compressed with gzip"):
        record_files.RecordFiles([path])


def test_a_length_that_looks_like_gzip_is_none(tmp_path):
    (length,) = struct.unpack("<H", b"\x1f\x8b")
    path = _write(tmp_path / "train-0", [bytes(length)])
    assert record_files.RecordFiles([path])[0] == bytes(length)
