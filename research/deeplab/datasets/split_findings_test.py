import re

import numpy as np
import pytest

from deeplab.datasets import split_findings
from deeplab.datasets.descriptors import DatasetDescriptor
from deeplab.datasets.split_statistics import CheckedSplit, SplitStatistics

_DATASET = DatasetDescriptor("roofs", 3, 255, {}, ("ground", "roof", "road"))


def _statistics(shares, brightness=100.0, size=(100, 100), seed=0):
    """Statistics of images with about such shares of ground, roof and road."""
    found, random = SplitStatistics(), np.random.default_rng(seed)
    for _ in range(40):
        counts = np.zeros(256, np.int64)
        noise = random.uniform(0.5, 1.5, 3)
        mixed = np.array(shares) * noise
        counts[:3] = np.round(10000 * mixed / mixed.sum())
        found._add_label(counts, _DATASET, "photo")
        found.num_images += 1
        found.sizes[size] += 1
        found.looks.add(
            np.array([np.log2(size[0] * size[1]), 0.0, brightness + random.normal(0, 20)])
        )
    return found


class _Named(CheckedSplit):
    def image_name(self, index):
        return f"{self.name}_{index}"


def _between(train, val, names=("train", "val")):
    splits = [
        _Named(name, None, found, range(99))
        for name, found in zip(names, (train, val), strict=True)
    ]
    return {finding.kind: finding for finding in split_findings.between(splits, _DATASET)}


def _of_split(statistics, split="train"):
    return {each.kind: each for each in split_findings.of_split(split, statistics, _DATASET)}


def test_splits_that_differ_by_chance_do_not_drift():
    for seed in range(8):
        found = _between(_statistics((5, 3, 2), seed=seed), _statistics((5, 3, 2), seed=seed + 8))
        assert not found


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"shares": (5, 1, 4)}, r"road \([34]\d\.. % of an image, 2\d\.. %\)"),
        ({"brightness": 150.0}, r"brightness \(1[45]\d of 255, (9\d|10\d)\)"),
        ({"size": (200, 200)}, r"size \(0.04 megapixels, 0.01\)"),
    ],
)
def test_a_drift_is_named_with_both_values(changed, message):
    val = _statistics(**{"shares": (5, 3, 2), "seed": 9, **changed})
    (finding,) = _between(_statistics((5, 3, 2)), val).values()
    assert finding.kind == "drift"
    assert (finding.split, finding.other, finding.level) == ("val", "train", "warning")
    assert re.search(message, finding.message), finding.message


def test_few_images_do_not_tell_a_drift():
    few, val = SplitStatistics(), _statistics((5, 1, 4))
    few._add_label(np.bincount([0, 0, 1], minlength=256), _DATASET, "photo")
    assert "drift" not in _between(few, val)


def test_copies_and_near_duplicates_are_counted_once_each():
    train, val = _statistics((5, 3, 2)), _statistics((5, 3, 2), seed=1)
    train.digests.extend([1, 2, 3])
    train.hashes.extend([0xF0F0F0F0, 2**63 + 7, 99 << 40])
    val.digests.extend([3, 4, 5])
    # A copy, a near-duplicate, and another image.
    val.hashes.extend([99 << 40, 0xF0F0F0F3, 0xFFFF << 30])
    found = _between(train, val)
    assert found["copies"].count == found["near_duplicates"].count == 1
    assert "(val_1 like train_0, 2 of 64 bits differ)" in found["near_duplicates"].message
    # CVAT's names.
    assert set(_between(train, val, ("Train", "Validation"))) == set(found)
    assert not _between(train, val, ("trainval", "val"))
    assert not _between(train, val, ("train", "train_more"))
    # What is chosen by val is tested with test; of folds none may have a name of training.
    found = _between(train, val, ("val", "test"))
    assert {kind: each.level for kind, each in found.items()} == {
        "copies": "note",
        "near_duplicates": "note",
    }
    assert "looks too good with the other" in found["near_duplicates"].message


def test_a_class_that_training_lacks_is_named():
    found = _between(_statistics((5, 5, 0)), _statistics((5, 5, 1)))
    assert "classes that train never has: 2 road" in found["missing_class"].message


def test_tiny_and_few_objects_and_labels_of_one_value_are_found():
    found = _statistics((5, 3, 2))
    counts = np.zeros(256, np.int64)
    counts[0] = 10000
    found._add_label(counts, _DATASET, "empty")
    assert _of_split(found)["single_value"].message.startswith("1 of 41 labels has one value")
    assert _of_split(found)["single_value"].level == "note"
    rare = SplitStatistics()
    for index in range(40):
        counts[:2] = 9990, 10 * (index < 3)
        rare._add_label(counts, _DATASET, "photo")
    kinds = _of_split(rare)
    assert "1 roof has fewer than 256 pixels" in kinds["tiny_class"].message
    assert "1 roof is in fewer than 10 images" in kinds["few_images"].message
    assert "few_images" not in _of_split(rare, "val")
    assert kinds["never_seen"].message == "never seen: 2 road"
