"""Splits are written whole or not at all, and what is bad in them is told."""

import os
import pathlib

import numpy as np
import pytest

from deeplab.datasets import conversion, descriptors, label_files
from deeplab.datasets.conftest import jpeg, png, read_records, write_pairs
from deeplab.datasets.samples import FileSamples

_READER = label_files.LabelReader(descriptors.DatasetDescriptor("test", 3, 255))


def _convert(split, sources, folder, num_shards, num_processes=None):
    samples = FileSamples(sources, _READER)
    conversion.convert({split: samples}, folder, num_shards, num_processes)


def _read_all(folder):
    paths = sorted(folder.glob("*.tfrecord"))
    return [record for path in paths for record in read_records(path)]


@pytest.mark.slow
def test_several_processes_write_the_same_records(tmp_path):
    sources = write_pairs(tmp_path, 9)
    _convert("train", sources, str(tmp_path / "one"), 2, 1)
    _convert("train", sources, str(tmp_path / "two"), 2, 2)
    one, two = _read_all(tmp_path / "one"), _read_all(tmp_path / "two")
    assert [record["image/filename"] for record in one] == [
        [source.name.encode()] for source in sources
    ]
    assert one == two


def test_remarks_are_logged_up_to_a_number(tmp_path, caplog):
    sources = write_pairs(tmp_path, 25)
    for source in sources:
        pathlib.Path(source.image).write_bytes(jpeg(8, 9, orientation=3))
    _convert("train", sources, str(tmp_path / "out"), 2)
    assert caplog.text.count("is stored as it is, although EXIF turns it (orientation 3)") == 20
    assert "train: 5 more such remarks" in caplog.text


def test_masks_in_the_alpha_channel_are_reported(tmp_path, caplog):
    sources = write_pairs(tmp_path, 3)
    alpha = np.arange(72).reshape(8, 9)
    for source, color_type, channels in zip(sources[:2], (4, 6), (1, 3), strict=True):
        pixels = np.dstack([np.zeros((8, 9, channels), int), alpha])
        pathlib.Path(source.label).write_bytes(png(pixels, 8, color_type))
    pathlib.Path(sources[2].label).write_bytes(png(np.zeros((8, 9, 2), int), 8, 4))
    _convert("train", sources, str(tmp_path / "out"), 2)
    assert "train: every pixel of 2 labels has one value, such as in that of 00" in caplog.text
    assert "alpha channel varies" in caplog.text


def test_one_bad_file_is_the_error_and_nothing_is_written(tmp_path):
    sources = write_pairs(tmp_path, 4)
    pathlib.Path(sources[2].label).write_bytes(png(np.full((8, 9), 3)))
    with pytest.raises(ValueError, match=r"02/label.png has values.* 3 \(72 pixels\)"):
        _convert("train", sources, str(tmp_path / "out"), 2)
    assert not list((tmp_path / "out").iterdir())


def test_several_bad_files_are_all_logged(tmp_path, caplog):
    sources = write_pairs(tmp_path, 4)
    pathlib.Path(sources[1].label).write_bytes(png(np.full((8, 9), 3)))
    os.remove(sources[3].image)
    with pytest.raises(ValueError, match=r"2 of 4 images are bad.*01/label.png"):
        _convert("train", sources, str(tmp_path / "out"), 2)
    assert "01/label.png has values" in caplog.text
    assert "03/photo.jpg not found" in caplog.text


def test_only_labels_of_test_splits_may_be_missing(tmp_path):
    sources = write_pairs(tmp_path, 2)
    os.remove(sources[1].label)
    with pytest.raises(FileNotFoundError, match="01/label.png"):
        _convert("val", sources, str(tmp_path / "out"), 1)
    _convert("test_fine", sources, str(tmp_path / "out"), 1)
    with_label, without = _read_all(tmp_path / "out")
    label = "image/segmentation/class/encoded"
    assert label in with_label and label not in without


def test_a_split_without_images_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="split val has no images"):
        _convert("val", [], str(tmp_path), 4)
