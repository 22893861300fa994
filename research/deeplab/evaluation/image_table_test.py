import csv
import io

import numpy as np
import pytest

from deeplab.evaluation import image_table, segmentation
from deeplab.evaluation.evaluator import EvaluatedImage

_NAMES = ("ground", 'disc, "round"', "<b>\nstar")


def _image(name, label, prediction):
    label, prediction = np.array([label]), np.array([prediction])
    result = segmentation.measure(label, prediction, 3, 255)
    return EvaluatedImage(name, np.zeros((*label.shape, 3), np.uint8), label, prediction, result)


def test_each_image_has_its_numbers_and_every_name_survives(tmp_path):
    path = tmp_path / "made" / "eval-7-images.csv"
    names = ["a.png", 'b, "c"\n=1+1', ""]
    images = (
        _image(names[0], [0, 0, 0, 1, 255], [0, 0, 1, 1, 2]),
        _image(names[1], [0, 0, 1, 1, 1], [0, 0, 1, 1, 2]),
        _image(names[2], [255, 255], [0, 1]),
    )
    image_table.write(path, _NAMES, map(image_table.row, images))
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    header, *rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline=""))
    assert header == ["image", "miou", "accuracy", "pixels", *(f"iou_{name}" for name in _NAMES)]
    assert [row[0] for row in rows] == names
    assert [float(cell) for cell in rows[0][1:6]] == pytest.approx(
        [(2 / 3 + 1 / 2) / 2, 3 / 4, 4, 2 / 3, 1 / 2]
    )
    assert rows[0][6] == ""
    assert [float(cell) for cell in rows[1][1:6]] == pytest.approx(
        [(1 + 2 / 3 + 0) / 3, 4 / 5, 5, 1, 2 / 3]
    )
    assert rows[2][1:] == ["", "", "0", "", "", ""]

    read = list(image_table.read(path))
    assert [row.name for row in read] == names
    np.testing.assert_allclose([row.miou for row in read], [7 / 12, (5 / 3) / 3, np.nan])


def test_nothing_is_left_of_an_evaluation_that_breaks_off(tmp_path):
    path = tmp_path / "eval-7-images.csv"

    def rows():
        yield image_table.row(_image("a", [0], [0]))
        raise KeyError

    with pytest.raises(KeyError):
        image_table.write(path, _NAMES, rows())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "name,miou\na,1\n", "image,miou,accuracy,pixels\na,x\n"])
def test_another_file_is_an_error_that_names_it(tmp_path, text):
    path = tmp_path / "other.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"other\.csv is not a table of an evaluation's images"):
        list(image_table.read(path))
