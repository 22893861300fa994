import numpy as np
import pytest

from deeplab.datasets import split_fractions
from deeplab.datasets.split_fractions import Division

_FRACTIONS = {"train": 0.8, "val": 0.2}


def _data(count=100, seed=0):
    """Names of images, and their classes: 0 in all, 1 in half of them, 2 in a tenth."""
    random = np.random.default_rng(seed)
    names = [f"p{index % 20:02}_{index:03}" for index in range(count)]
    drawn = random.random((count, 2)) < (0.5, 0.1)
    return names, [frozenset({0, *(np.flatnonzero(row) + 1).tolist()}) for row in drawn]


def test_splits_have_their_sizes_and_each_image_once():
    names, classes = _data()
    splits = split_fractions.divide(names, classes, Division(_FRACTIONS))
    assert {split: len(images) for split, images in splits.items()} == {"train": 80, "val": 20}
    assert sorted(image for images in splits.values() for image in images) == list(range(100))
    for images in splits.values():
        assert [names[image] for image in images] == sorted(names[image] for image in images)


@pytest.mark.parametrize("seed", range(5))
def test_every_class_is_divided_as_the_images_are(seed):
    names, classes = _data(seed=seed)
    splits = split_fractions.divide(names, classes, Division(_FRACTIONS, seed))
    for label in range(3):
        total = sum(label in found for found in classes)
        in_val = sum(label in classes[image] for image in splits["val"])
        assert abs(in_val - 0.2 * total) <= 1, label


def test_the_result_depends_on_the_seed_and_not_on_the_order():
    names, classes = _data()
    order = np.random.default_rng(1).permutation(100)
    first = split_fractions.divide(names, classes, Division(_FRACTIONS, 1))
    again = split_fractions.divide(
        [names[i] for i in order], [classes[i] for i in order], Division(_FRACTIONS, 1)
    )
    assert first["val"] == [order[image] for image in again["val"]]
    other = split_fractions.divide(names, classes, Division(_FRACTIONS, 2))
    assert first["val"] != other["val"]


@pytest.mark.parametrize("pattern", ["^p[0-9]+", "^p([0-9]+)_"])
def test_images_of_a_group_stay_together(pattern):
    names, classes = _data()
    splits = split_fractions.divide(names, classes, Division(_FRACTIONS, 0, pattern))
    patients = [{names[image][:3] for image in images} for images in splits.values()]
    assert not patients[0] & patients[1]
    assert [len(images) for images in splits.values()] == [80, 20]


def test_a_large_group_does_not_fill_a_small_split():
    names = [f"video_1/{i}" for i in range(60)] + [f"v{i}/0" for i in range(40)]
    splits = split_fractions.divide(
        names, [frozenset()] * 100, Division({"val": 0.2, "train": 0.8}, 0, "^([^/]+)/")
    )
    assert [len(images) for images in splits.values()] == [20, 80]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sizes", [(9, 9), (20, 1), (5, 6, 7), (1, 1, 30, 2)])
def test_no_split_is_empty_if_there_are_groups_enough(sizes, seed):
    names = [f"video_{v}/{i}" for v, size in enumerate(sizes) for i in range(size)]
    fractions = {"train": 0.85, "val": 0.15}
    if len(sizes) > 2:
        fractions = {"train": 0.8, "val": 0.1, "test": 0.1}
    division = Division(fractions, seed, "^([^/]+)/")
    splits = split_fractions.divide(names, [frozenset([0])] * len(names), division)
    videos = [{names[image].split("/")[0] for image in images} for images in splits.values()]
    assert all(videos) and sum(map(len, videos)) == len(sizes)
    # The largest ones are for training.
    assert len(splits["train"]) >= max(sizes[1:])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["train"], "--split_fractions has 'train'; it takes <split>:<fraction>"),
        (["train:0.8", "val:0"], "has 'val:0'"),
        (["train:nan"], "has 'train:nan'"),
        (["a/b:1"], "--split_fractions=a/b:1: the split's name must not"),
        (["train:0.5", "train:0.5"], "has the split 'train' twice"),
        (["train:0.8", "val:0.1"], "train:0.8,val:0.1: the sum is 0.9; it must be 1"),
    ],
)
def test_malformed_fractions_are_named(entries, message):
    with pytest.raises(ValueError, match=message):
        split_fractions.parse_fractions(entries)


def test_fractions_are_read():
    assert split_fractions.parse_fractions(["train:0.7", "val:.2", "test:0.1"]) == {
        "train": 0.7,
        "val": 0.2,
        "test": 0.1,
    }


@pytest.mark.parametrize(
    ("division", "message"),
    [
        (Division(_FRACTIONS, 0, "("), r"--group_by=\( is not a regular expression"),
        (Division(_FRACTIONS, 0, "q"), "--group_by=q does not match the image 'a'"),
        (
            Division({"train": 0.8, "val": 0.1, "test": 0.1}),
            "leaves no image for test: there are 2 images in 2 groups",
        ),
        (Division(_FRACTIONS, 0, "."), "leaves no image for val: there are 2 images in 1 group"),
    ],
)
def test_impossible_divisions_are_named(division, message):
    names = ["a", "a2"] if division.group_by == "." else ["a", "b"]
    with pytest.raises(ValueError, match=message):
        split_fractions.divide(names, [frozenset()] * 2, division)
