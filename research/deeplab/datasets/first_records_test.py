"""Tests what training notices before its first step."""

import numpy as np
import pytest

from deeplab.datasets import data_generator, first_records
from deeplab.input_preprocess import Preprocessing
from deeplab.testing import tiny


def _dataset(folder, labels, size=(20, 30)):
    samples = {
        f"image_{index}": (tiny.picture(*size, index), label) for index, label in enumerate(labels)
    }
    records = tiny.write_records(folder, samples, split="train")
    preprocessing = Preprocessing(crop_size=(33, 33), mean_pixel=(0, 0, 0))
    return data_generator.Dataset(tiny.DATASET, "train", records, preprocessing)


def _label(value, corner=None):
    label = np.full((20, 30), value, np.uint8)
    if corner is not None:
        label[:2, :2] = corner
    return label


def test_good_records_are_counted(tmp_path, caplog):
    with caplog.at_level("INFO", logger="absl"):
        first_records.check(_dataset(tmp_path, [_label(0, 1), _label(2), _label(255)]))
    assert "3 of the 3 records of train: 3 of 4 classes, 33.3 % of the pixels" in caplog.text
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_a_single_class_is_a_warning(tmp_path, caplog):
    first_records.check(_dataset(tmp_path, [_label(1), _label(1, 255)]))
    assert "every pixel that counts is of class 1 disc in 2 of the 2 records" in caplog.text


def test_much_that_is_ignored_is_a_warning(tmp_path, caplog):
    first_records.check(_dataset(tmp_path, [_label(255, 1), _label(255, 2)]))
    assert "99.3 % of the pixels are ignored (label 255) in 2 of the 2 records" in caplog.text


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (_label(0, 4), r"\(image_1\) has a label .* neither a class .*: 4 \(4 pixels\)"),
        (_label(0)[:5], r"\(image_1\) has a label that is 30x5 pixels"),
        (None, r"\(image_1\) has no label"),
    ],
    ids=["no class", "another size", "no label"],
)
def test_a_bad_label_is_an_error(tmp_path, label, message):
    with pytest.raises(ValueError, match=message):
        first_records.check(_dataset(tmp_path, [_label(0), label, _label(1)]))


def test_nothing_but_ignored_pixels_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"every pixel is ignored \(label 255\) in 2 of the 2"):
        first_records.check(_dataset(tmp_path, [_label(255)] * 2))


def test_records_from_all_over_the_split_are_looked_at(tmp_path):
    """The last one is, however many there are."""
    labels = [_label(0, 1)] * 99 + [_label(77)]
    with pytest.raises(ValueError, match=r"\(image_99\).*77"):
        first_records.check(_dataset(tmp_path, labels))
