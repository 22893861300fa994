"""The worst images of an evaluation in TensorBoard: which ones, and what their pictures show."""

import json

import numpy as np
import pytest

from deeplab.evaluation.worst_images import WorstImages
from deeplab.testing import evaluated, tiny

_COUNT = 9


@pytest.fixture(scope="module")
def images():
    return list(evaluated.images(tiny.DATASET, _COUNT))


def _worst(images, count=3, numbers=None):
    numbers = range(len(images)) if numbers is None else numbers
    worst = WorstImages(tiny.DATASET, count, numbers)
    for number in numbers:
        worst.add(images[number])
    return worst


def test_they_are_those_with_the_lowest_miou(images):
    order = sorted(range(_COUNT), key=lambda number: (images[number].result.mean_iou, number))
    found = [tuple(each["key"]) for each in _worst(images).as_json()]
    assert found == [(images[number].result.mean_iou, number) for number in order[:3]]
    for each, number in zip(_worst(images).as_json(), order, strict=False):
        miou = 100 * images[number].result.mean_iou
        assert each["name"] == f"{images[number].name}: mIoU {miou:.2f} %"
        assert each["parts"] == ("image", "label", "prediction", "errors")


def test_hosts_find_those_of_one(images):
    first = _worst(images, numbers=[0, 1, 4, 5, 8])
    second = _worst(images, numbers=[2, 3, 6, 7])
    first.merge(json.loads(json.dumps(second.as_json())))
    whole = _worst(images)
    assert [each["key"] for each in first.as_json()] == [each["key"] for each in whole.as_json()]
    for one, other in zip(first.pictures(), whole.pictures(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_picture_shows_image_label_prediction_and_errors(images):
    (picture,) = _worst(images[:1]).pictures()
    # Four pictures of 320x240 beside each other, with a name and a legend below.
    assert picture.shape[1] >= 4 * 320
    assert picture.shape[0] >= 240
    colors = tiny.DATASET.label_colors()
    for value in np.unique(images[0].prediction):
        assert (picture == colors[value]).all(axis=-1).sum() > 100


def test_images_without_a_labeled_pixel_and_no_images_do_not_count(images):
    from deeplab.evaluation import segmentation

    ignored = np.full((48, 64), 255)
    result = segmentation.measure(ignored, ignored * 0, 4, 255)
    nothing = evaluated.EvaluatedImage("", images[0].image, ignored, ignored * 0, result)
    worst = _worst([nothing])
    assert worst.as_json() == worst.pictures() == []
