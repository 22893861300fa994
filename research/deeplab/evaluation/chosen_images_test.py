"""Tests the examples of a report against a choice that sees all images at once."""

import collections
import json

import cv2
import numpy as np
import pytest

from deeplab.evaluation import chosen_images
from deeplab.sharing.teams import Share
from deeplab.testing import evaluated, tiny

_COUNT = 30


@pytest.fixture(scope="module")
def images():
    return list(evaluated.images(tiny.DATASET, _COUNT))


def _chosen(images, num_images):
    chosen = chosen_images.ChosenImages(tiny.DATASET, num_images, len(images))
    for image in images:
        chosen.add(image)
    return chosen


@pytest.mark.parametrize("num_images", [0, 1, 6, 500])
def test_the_worst_and_the_best_images(images, num_images):
    lists = _chosen(images, num_images).images()
    order = np.argsort([image.result.mean_iou for image in images], kind="stable")
    shown = min(num_images, _COUNT)
    assert [each.number for each in lists["worst"]] == list(order[: -(-shown // 2)])
    best = np.argsort([-image.result.mean_iou for image in images], kind="stable")
    assert [each.number for each in lists["best"]] == list(best[: shown // 2])
    for example in lists["worst"]:
        assert example.name == images[example.number].name
    if num_images == 500:
        everything = lists["worst"] + lists["best"]
        assert {each.number for each in everything} == set(range(_COUNT))


def test_the_worst_and_the_best_image_of_each_class(images):
    lists = _chosen(images, 2).images()
    for index in range(4):
        known = []
        for number, image in enumerate(images):
            labeled, predicted = image.label == index, image.prediction == index
            predicted &= image.label != 255
            if labeled.any():
                iou = (labeled & predicted).sum() / (labeled | predicted).sum()
                known.append((iou, -int(labeled.sum() + predicted.sum()), number))
        if not known:
            assert lists[f"class-{index}"] == []
            continue
        worst = min(known)[2]
        best = min((-iou, pixels, number) for iou, pixels, number in known)[2]
        found = [each.number for each in lists[f"class-{index}"]]
        assert found == list(dict.fromkeys([worst, best]))


def test_the_largest_confusions_and_their_largest_regions(images):
    totals, largest = collections.Counter(), {}
    for image in images:
        for pair in np.ndindex(4, 4):
            mask = (image.label == pair[0]) & (image.prediction == pair[1])
            if pair[0] != pair[1] and mask.any():
                totals[pair] += int(mask.sum())
                # Regions one by one, by flooding from pixel to pixel.
                rest = np.pad(mask, 1).astype(np.uint8)
                while rest.any():
                    row, column = np.argwhere(rest)[0]
                    size, *_ = cv2.floodFill(rest, None, (int(column), int(row)), 0, flags=8)
                    largest[pair] = max(largest.get(pair, 0), size)
    found = _chosen(images, 2).confusions()
    assert len(found) == min(chosen_images.NUM_CONFUSIONS, len(totals))
    for label, prediction, pixels, region in found:
        assert totals[label, prediction] == pixels
        assert (region.label, region.prediction) == (label, prediction)
        assert region.pixels == largest[label, prediction]
    counts = [pixels for _, _, pixels, _ in found]
    assert counts == sorted(totals.values(), reverse=True)[: len(found)]


def test_labels_that_may_be_wrong(images):
    """A disagreement that is sure, and away from borders: nothing else."""
    found = _chosen(images, 2).suspects()
    assert 0 < len(found) <= chosen_images.NUM_SUSPECTS
    by_name = {image.name: image for image in images}
    assert [each.pixels for each in found] == sorted((each.pixels for each in found), reverse=True)
    assert len({each.image for each in found}) == len(found)
    for each in found:
        image = by_name[each.image]
        assert each.confidence == pytest.approx(image.confidence[0, 0])
        assert each.confidence >= 0.9
        away = np.zeros(image.label.shape, bool)
        rows, columns = image.label.shape
        for row, column in np.ndindex(rows, columns):
            near = image.label[max(0, row - 5) : row + 6, max(0, column - 5) : column + 6]
            away[row, column] = (near == near[0, 0]).all()
        doubtful = away & (image.label == each.label) & (image.prediction == each.prediction)
        assert 0 < each.pixels <= doubtful.sum()


def test_an_image_that_is_ignored_altogether_is_not_shown(images):
    chosen = chosen_images.ChosenImages(tiny.DATASET, 4, 2)
    first = images[0]
    label = np.full_like(first.label, 255)
    result = evaluated.segmentation.measure(label, first.prediction, 4, 255)
    ignored = evaluated.EvaluatedImage(
        "void", first.image, label, first.prediction, result, first.confidence
    )
    for image in (ignored, first):
        chosen.add(image)
    assert [each.number for each in chosen.images()["worst"]] == [1]


@pytest.mark.parametrize("hosts", [2, 3])
def test_what_hosts_choose_of_their_shares_is_what_one_chooses(images, hosts):
    """Confusions are counted on each host, and the largest regions are found on one of them."""
    one = _chosen(images, 6)
    shares = [Share(index, hosts).numbers(_COUNT, 2) for index in range(hosts)]
    parts = []
    for numbers in shares:
        parts.append(chosen_images.ChosenImages(tiny.DATASET, 6, _COUNT, numbers))
        for number in numbers:
            parts[-1].add(images[number])
    merged, *others = parts
    for other in others:
        merged.merge(json.loads(json.dumps(other.as_lists())))
    expected, found = one.images(), merged.images()
    assert found.keys() == expected.keys()
    for name, chosen in expected.items():
        assert [each.number for each in found[name]] == [each.number for each in chosen]
        assert [each.layers for each in found[name]] == [each.layers for each in chosen]
        for ours, theirs in zip(found[name], chosen, strict=True):
            assert ours.result.as_lists() == theirs.result.as_lists()
    assert merged.confusions() == one.confusions()
    assert merged.suspects() == one.suspects()
