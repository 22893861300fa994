"""The contact sheet of predictions: what it shows, however images come."""

import numpy as np
import pytest

from deeplab.evaluation import prediction_sheet
from deeplab.testing import tiny

_SIZE = (30, 40)


def _sheet(total):
    return prediction_sheet.PredictionSheet(tiny.DATASET.legend(), total)


def _add(sheet, number, labeled=True):
    label = np.full(_SIZE, number % 4) if labeled else None
    sheet.add(number, f"{number:06d}", tiny.picture(*_SIZE, number), label, np.full(_SIZE, 1))


@pytest.mark.parametrize("total", [1, 5, 48, 1000])
def test_it_shows_images_from_the_first_to_the_last(total):
    sheet = _sheet(total)
    for number in range(total):
        _add(sheet, number)
    numbers = [each["number"] for each in sheet.as_json()]
    assert len(numbers) == min(total, 48)
    assert (numbers[0], numbers[-1]) == (0, total - 1)
    assert total == 1 or np.ptp(np.diff(numbers)) <= 1


@pytest.mark.parametrize("labeled", [True, False])
def test_the_order_of_images_and_the_number_of_hosts_make_no_difference(tmp_path, labeled):
    one, first, second = _sheet(7), _sheet(7), _sheet(7)
    for number in range(7):
        _add(one, number, labeled)
    for number in (6, 4, 0, 2):
        _add(first, number, labeled)
    for number in (5, 1, 3):
        _add(second, number, labeled)
    first.merge(second.as_json())
    one.write(tmp_path / "one.png", "step 7")
    first.write(tmp_path / "two.png", "step 7")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert tiny.files(tmp_path) == ["one.png", "two.png"]
    # Image and prediction; with a label that, too, and the errors.
    shown = {tuple(each["parts"]) for each in one.as_json()}
    assert shown == {
        ("image", "label", "prediction", "errors") if labeled else ("image", "prediction")
    }


def test_a_sheet_without_images_is_a_picture_still(tmp_path):
    _sheet(3).write(tmp_path / "none.png", "step 7")
    assert tiny.read_png(tmp_path / "none.png").size
