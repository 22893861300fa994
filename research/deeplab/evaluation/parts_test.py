import json

import pytest

from deeplab.evaluation import image_table, parts
from deeplab.sharing.teams import Share
from deeplab.testing import evaluated, tiny

_COUNT = 7


@pytest.fixture(scope="module")
def images():
    return list(evaluated.images(tiny.DATASET, _COUNT))


def _part(images, numbers, total=_COUNT):
    result = None
    for number in numbers:
        own = images[number].result
        result = own if result is None else result + own
    rows = [image_table.row(images[number]) for number in numbers]
    return json.loads(json.dumps(parts.describe(total, result, rows, None)))


@pytest.mark.parametrize("batch_size", [1, 2, 4])
@pytest.mark.parametrize("hosts", [1, 2, 5])
def test_the_parts_of_all_hosts_are_the_whole(images, hosts, batch_size):
    """Also where a host has no image."""
    shares = [Share(index, hosts).numbers(_COUNT, batch_size) for index in range(hosts)]
    result, rows = parts.merge([_part(images, numbers) for numbers in shares], batch_size)
    whole = sum((image.result for image in images[1:]), images[0].result)
    assert result.as_lists() == whole.as_lists()
    assert result.mean_iou == whole.mean_iou
    assert rows == [image_table.row(image) for image in images]


def test_hosts_with_other_records_are_an_error(images):
    found = [_part(images, [0, 2, 4, 6]), _part(images, [1, 3], total=4)]
    with pytest.raises(ValueError, match="--dataset_dir must .* 7 images on host 0, 4 images on"):
        parts.merge(found, 1)
