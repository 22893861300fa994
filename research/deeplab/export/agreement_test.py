"""Labels of an export are counted against those of its network, and against the truth."""

import numpy as np
import pytest

from deeplab.export import agreement, photographs
from deeplab.testing import tiny

FIRST = np.zeros((4, 5), np.int32)
SECOND = np.repeat([[1], [0], [0], [0]], 5, axis=1)


def test_equal_pixels_are_those_of_all_images():
    found = agreement.measure([(FIRST, FIRST, None)] * 2, 2)
    assert found == agreement.Agreement(2, 1.0)
    found = agreement.measure([(FIRST, SECOND, None)] * 2, 2)
    assert found == agreement.Agreement(2, 0.75)
    assert str(found) == "75.00% of the pixels of 2 images have the same label"


def test_labels_give_the_miou_of_both():
    label = SECOND.astype(np.uint8)
    label[3] = 255
    label[2, 0] = 200
    found = agreement.measure([(FIRST, SECOND, label)], 2)
    # 14 pixels count: 5 of class 1, 9 of class 0.
    assert found.network_miou == pytest.approx((9 / 14 + 0) / 2)
    assert found.miou == pytest.approx(1.0)
    assert str(found).endswith("same label, mIoU 100.00% (32.14% before)")
    ignored = agreement.measure([(FIRST, SECOND, label)], 2, ignore_label=1)
    assert ignored.network_miou == pytest.approx(1.0)


def test_too_many_others_are_an_error_that_says_how_many():
    agreement.require("net.onnx", agreement.Agreement(1, 0.999))
    message = "net.onnx: 99.80% of the pixels of 1 image have the same label, less than 99.9%"
    with pytest.raises(ValueError, match=message):
        agreement.require("net.onnx", agreement.Agreement(1, 0.998))


class TestPhotographs:
    def test_a_folder(self, tmp_path):
        pictures = [tiny.picture(8, 9, seed) for seed in range(5)]
        for number, picture in enumerate(pictures):
            (tmp_path / f"{number}.png").write_bytes(tiny.png(picture))
        found = photographs.read("test_images", str(tmp_path), 3)
        for each, number in zip(found, (0, 2, 4), strict=True):
            np.testing.assert_array_equal(each.image, pictures[number])
            assert each.label is None
        assert len(photographs.read("test_images", str(tmp_path), 99)) == 5

    def test_a_split_of_records(self, tmp_path):
        label = np.arange(72, dtype=np.uint8).reshape(8, 9)
        picture = tiny.picture(8, 9)
        tiny.write_records(tmp_path, {"a": (picture, label), "b": (picture, None)})
        with_label, without = photographs.read("test_images", f"{tmp_path}/val", 9)
        np.testing.assert_array_equal(with_label.image, picture)
        np.testing.assert_array_equal(with_label.label, label)
        assert without.label is None

    def test_what_is_not_there_names_the_flag(self, tmp_path):
        with pytest.raises(
            FileNotFoundError, match="--test_images: there is no file .*no;? .*split"
        ):
            photographs.read("test_images", f"{tmp_path}/no", 9)

    def test_drawn_ones_have_the_size_that_is_asked_for(self):
        found = photographs.drawn((33, 41))
        assert {each.image.shape for each in found} == {(33, 41, 3)}
        assert all(each.image.std() > 10 for each in found)
