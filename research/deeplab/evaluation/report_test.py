import json
import os

import numpy as np
import pytest

from deeplab.evaluation import report, segmentation
from deeplab.utils import reports

_NAMES = ("background", "cat", "dog")


def _result():
    # cat: 1 right, 1 taken for dog; a dog is in no label.
    return segmentation.SegmentationResult(np.array([[3, 1, 0], [0, 1, 1], [0, 0, 0]]))


class TestTable:
    def test_the_whole_text(self):
        assert report.segmentation_table(_result(), _NAMES).splitlines() == [
            "class           IoU  accuracy  of labels  of predictions",
            "------------  -----  --------  ---------  --------------",
            "0 background  75.00     75.00      66.67           50.00",
            "1 cat         33.33     50.00      33.33           33.33",
            "2 dog             -         -       0.00           16.67",
            "",
            "mIoU 36.11 %, pixel accuracy 66.67 %, mean class accuracy 62.50 %,"
            " frequency weighted IoU 61.11 %",
        ]

    def test_without_names(self):
        lines = report.segmentation_table(segmentation.SegmentationResult(np.eye(11))).splitlines()
        assert [line.split()[0] for line in lines[2:13]] == [str(index) for index in range(11)]
        assert lines[2].startswith(" 0 ")

    def test_without_pixels(self):
        text = report.segmentation_table(segmentation.SegmentationResult(np.zeros((2, 2), int)))
        assert text.splitlines()[2:4] == [
            "0        -         -       0.00            0.00",
            "1        -         -       0.00            0.00",
        ]
        assert text.endswith(
            "mIoU 0.00 %, pixel accuracy -, mean class accuracy -, frequency weighted IoU -"
        )

    def test_another_number_of_names(self):
        with pytest.raises(ValueError, match="2 class names for 3 classes"):
            report.segmentation_table(_result(), ("a", "b"))


class TestRemarks:
    def _remarks(self, confusion):
        result = segmentation.SegmentationResult(np.array(confusion))
        return report.segmentation_remarks(result, _NAMES)

    def test_nothing_to_say(self):
        assert self._remarks([[3, 1, 0], [0, 1, 1], [0, 0, 1]]) == []

    def test_predicted_but_absent(self):
        assert self._remarks([[3, 1, 0], [0, 1, 1], [0, 0, 0]]) == [
            "predicted but in no label, counted as 0 in the mIoU: 2 dog"
        ]

    def test_one_class_alone_is_predicted(self):
        (remark,) = self._remarks([[3, 0, 0], [2, 0, 0], [1, 0, 0]])
        assert remark.startswith("every pixel is predicted as class 0 (background)")

    def test_one_class_alone_is_labeled_as_well(self):
        assert self._remarks([[3, 0, 0], [0, 0, 0], [0, 0, 0]]) == []

    def test_no_pixel(self):
        assert self._remarks(np.zeros((3, 3), int)) == [
            "no pixel was counted: every label is the ignore label"
        ]


class TestJson:
    def test_round_trip_with_null_for_nan(self, tmp_path):
        path = tmp_path / "made" / "eval.json"
        facts = {"checkpoint": "model.ckpt-3", "step": 3}
        reports.write_json(path, facts | report.segmentation_facts(_result(), _NAMES))
        read = json.loads(path.read_text())
        assert read["checkpoint"] == "model.ckpt-3"
        assert read["step"] == 3
        assert read["miou"] == _result().mean_iou
        assert read["pixel_accuracy"] == _result().pixel_accuracy
        assert read["mean_class_accuracy"] == _result().mean_class_accuracy
        assert read["frequency_weighted_iou"] == _result().frequency_weighted_iou
        assert read["classes"][1] == {
            "id": 1,
            "name": "cat",
            "iou": 1 / 3,
            "accuracy": 0.5,
            "label_pixels": 2,
            "predicted_pixels": 2,
        }
        assert read["classes"][2]["iou"] is None
        assert read["confusion_matrix"] == [[3, 1, 0], [0, 1, 1], [0, 0, 0]]
        assert os.listdir(path.parent) == ["eval.json"]

    def test_lists_for_the_classes_with_their_means(self):
        label = np.array([[0, 0, 0, 1], [0, 0, 1, 1], [255, 0, 1, 1]])
        prediction = np.array([[0, 0, 2, 1], [0, 0, 0, 1], [0, 0, 1, 1]])
        result = segmentation.measure(label, prediction, 3, 255)
        facts = report.segmentation_facts(result, _NAMES, ("a", "b", "b"))
        nan = np.nan
        for key, values, mean in (
            ("dice", [10 / 12, 8 / 9, nan], (10 / 12 + 8 / 9) / 3),
            ("precision", [5 / 6, 1, 0], (5 / 6 + 1) / 3),
            ("recall", [5 / 6, 4 / 5, nan], (5 / 6 + 4 / 5) / 3),
            # Every pixel of so small an image is within five pixels of a border.
            ("trimap_miou", [5 / 7, 4 / 5, nan], (5 / 7 + 4 / 5) / 3),
        ):
            np.testing.assert_allclose(facts[key], values, err_msg=key)
            assert facts[f"mean_{key}"] == pytest.approx(mean)
        assert len(facts["boundary_iou"]) == 3
        assert facts["mean_boundary_iou"] == pytest.approx(np.nansum(facts["boundary_iou"]) / 3)
        assert [each["width"] for each in facts["trimaps"]] == [1, 3, 5, 10, 20, 40]
        assert facts["trimaps"][2]["miou"] == facts["mean_trimap_miou"]
        assert facts["categories"] == [{"name": "a", "iou": 5 / 7}, {"name": "b", "iou": 4 / 6}]
        assert facts["category_miou"] == pytest.approx((5 / 7 + 4 / 6) / 2)

    def test_without_names_there_are_none(self):
        assert "name" not in report.segmentation_facts(_result())["classes"][0]


class TestScalars:
    @pytest.mark.parametrize(
        ("scales", "flipped", "tag"),
        [
            ([1.0], False, "miou_1.0"),
            ([1], True, "miou_1.0_flipped"),
            ([0.5, 0.75, 1.0, 1.25], False, "miou_0.5_0.75_1.0_1.25"),
            ([0.5, 1.0], True, "miou_0.5_1.0_flipped"),
        ],
    )
    def test_official_tag(self, scales, flipped, tag):
        assert report.metric_tag(scales, flipped) == tag

    def test_official_names(self):
        scalars = report.segmentation_scalars(_result(), "miou_1.0")
        assert list(scalars) == [
            "eval/miou_1.0_overall",
            "eval/miou_1.0_class_0",
            "eval/miou_1.0_class_1",
            "eval/miou_1.0_class_2",
        ]
        assert scalars["eval/miou_1.0_overall"] == _result().mean_iou
        assert scalars["eval/miou_1.0_class_1"] == 1 / 3
        assert np.isnan(scalars["eval/miou_1.0_class_2"])

    def test_event_file(self, tmp_path):
        import tensorflow as tf

        scalars = report.segmentation_scalars(_result(), "miou_1.0")
        report.write_summaries(str(tmp_path / "logs"), scalars, step=1234)
        (path,) = (tmp_path / "logs").iterdir()
        read = {
            value.tag: (event.step, float(tf.make_ndarray(value.tensor)))
            for event in tf.compat.v1.train.summary_iterator(str(path))
            for value in event.summary.value
        }
        assert list(read) == list(scalars)
        for name, value in scalars.items():
            assert read[name][0] == 1234
            np.testing.assert_array_equal(read[name][1], np.float32(value))
