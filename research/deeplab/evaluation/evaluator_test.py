"""Evaluation: every pixel counted once, and every report under its official name."""

import json
import logging
import re

import numpy as np
import pytest
import tensorflow as tf

from deeplab.core.options import CrfOptions, InferenceOptions, WindowOptions
from deeplab.datasets.data_generator import Dataset
from deeplab.evaluation import evaluator, predictor, report, segmentation
from deeplab.input_preprocess import Preprocessing
from deeplab.testing import golden, tiny

_SIZES = ((20, 30), (33, 33), (31, 12), (25, 33), (33, 21))


@pytest.fixture(scope="module")
def trained():
    return predictor.NetworkPredictor(tiny.OPTIONS, net=tiny.shared_network())


def _records(folder, samples, **options):
    return Dataset(
        tiny.DATASET,
        "val",
        tiny.write_records(folder, samples),
        Preprocessing(
            crop_size=tiny.OPTIONS.crop_size, mean_pixel=(127.5, 127.5, 127.5), **options
        ),
    )


def _padded_prediction(network, image):
    """Return the network's answer for an image on a canvas of the crop size, cut back."""
    canvas = np.full((1, 33, 33, 3), 127.5, np.float32)
    height, width = image.shape[:2]
    canvas[0, :height, :width] = image
    return network(canvas)[0, :height, :width]


def _samples(network, right=1.0):
    """Images whose labels are the network's own predictions, a share of them made wrong."""
    samples = {}
    random = np.random.default_rng(0)
    for index, size in enumerate(_SIZES):
        image = tiny.picture(*size)
        label = _padded_prediction(network, image).astype(np.uint8)
        wrong = random.random(size) > right
        label[wrong] = (label[wrong] + 1) % 4
        label[random.random(size) < 0.1] = 255
        samples[f"image_{index}"] = (image, label)
    return samples


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_its_own_predictions_as_labels_give_a_miou_of_one(trained, tmp_path, batch_size):
    samples = _samples(trained)
    records = _records(tmp_path, samples)
    result = evaluator.Evaluator(trained, records, batch_size).evaluate()
    assert result.mean_iou == 1.0
    labels = np.concatenate([label.ravel() for _, label in samples.values()])
    expected = np.bincount(labels[labels != 255], minlength=4)
    np.testing.assert_array_equal(result.label_pixels, expected)


def test_the_confusion_matrix_is_that_of_all_images(trained, tmp_path):
    samples = _samples(trained, right=0.7)
    result = evaluator.Evaluator(trained, _records(tmp_path, samples), 2).evaluate()
    expected = np.zeros((4, 4), int)
    for image, label in samples.values():
        counts = label != 255
        np.add.at(expected, (label[counts], _padded_prediction(trained, image)[counts]), 1)
    np.testing.assert_array_equal(result.confusion_matrix, expected)
    assert 0 < result.mean_iou < 1


def test_images_larger_than_the_crop_are_evaluated_whole_and_told_once(trained, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    samples = {}
    for name, size in (("small", (20, 20)), ("large", (50, 41)), ("larger", (60, 60))):
        image = tiny.picture(*size)
        whole = trained(image[np.newaxis])[0].astype(np.uint8)
        samples[name] = (image, whole if name != "small" else np.full(size, 255, np.uint8))
    evaluation = evaluator.Evaluator(trained, _records(tmp_path, samples))
    for _ in range(2):
        result = evaluation.evaluate()
        assert result.mean_iou == 1.0
        assert result.label_pixels.sum() == 50 * 41 + 60 * 60
    (message,) = [message for message in caplog.messages if "larger than" in message]
    assert message.startswith(
        "large is 50x41 pixels (height x width), larger than --eval_crop_size=33,33"
    )


@pytest.mark.parametrize(
    "inference",
    [
        InferenceOptions(),
        pytest.param(InferenceOptions(crf=CrfOptions(iterations=1)), marks=pytest.mark.slow),
        pytest.param(InferenceOptions(window=WindowOptions(size=(40, 25))), marks=pytest.mark.slow),
    ],
    ids=["network", "crf", "windows"],
)
def test_the_result_does_not_depend_on_the_batch_size(trained, tmp_path, inference):
    """Images larger than the crop size are not padded to the size of their neighbors."""
    network = predictor.NetworkPredictor(tiny.OPTIONS, inference, net=trained.net)
    random = np.random.default_rng(0)
    sizes = ((20, 20), (50, 41), (33, 60), (20, 33), (60, 33), (50, 41))
    samples = {
        f"{index}": (tiny.picture(*size, index), random.integers(0, 4, size).astype(np.uint8))
        for index, size in enumerate(sizes)
    }
    records = _records(tmp_path, samples)
    with tiny.unoptimized():
        alone, *matrices = (
            evaluator.Evaluator(network, records, batch_size).evaluate().confusion_matrix
            for batch_size in (1, 2, 3, 6)
        )
    assert (alone.sum(axis=0) > 0).sum() > 1
    for matrix in matrices:
        assert np.abs(matrix - alone).sum() <= 2e-5 * alone.sum()


def test_every_image_is_seen_in_order_as_it_is_alone(trained, tmp_path):
    samples = _samples(trained, right=0.7)
    records = _records(tmp_path, samples)
    seen = []
    result = evaluator.Evaluator(trained, records, 2).evaluate(observers=[seen.append])
    assert [image.name for image in seen] == list(samples)
    for image, (pixels, label) in zip(seen, samples.values(), strict=True):
        np.testing.assert_array_equal(image.image, pixels)
        np.testing.assert_array_equal(image.label, label)
        np.testing.assert_array_equal(image.prediction, _padded_prediction(trained, pixels))
        alone = segmentation.measure(label, image.prediction, 4, 255)
        np.testing.assert_array_equal(image.result.confusion_matrix, alone.confusion_matrix)
        np.testing.assert_array_equal(
            image.result.borders.boundary.hits, alone.borders.boundary.hits
        )
    hits = sum(image.result.borders.boundary.hits for image in seen)
    np.testing.assert_array_equal(result.borders.boundary.hits, hits)


def test_progress_is_logged(trained, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    evaluator.Evaluator(trained, _records(tmp_path, _samples(trained))).evaluate()
    assert any(message.startswith("evaluated 5 images in ") for message in caplog.messages)


def test_a_label_that_is_no_class_is_an_error_that_names_the_image(trained, tmp_path):
    samples = _samples(trained)
    samples["image_3"][1][5, 5] = 128
    with pytest.raises(ValueError, match=r"image image_3: label 128 \(1 pixels\) is not a class"):
        evaluator.Evaluator(trained, _records(tmp_path, samples), 2).evaluate()


def test_a_record_without_a_label_is_an_error_that_names_it(trained, tmp_path):
    samples = _samples(trained)
    samples["image_2"] = (samples["image_2"][0], None)
    with pytest.raises(ValueError, match=r"record 2 of .*image_2\) has no label \(feature "):
        evaluator.Evaluator(trained, _records(tmp_path, samples)).evaluate()


def test_a_batch_has_an_image(trained, tmp_path):
    with pytest.raises(ValueError, match="--eval_batch_size is 0; it must be at least 1"):
        evaluator.Evaluator(trained, _records(tmp_path, _samples(trained)), 0)


# --- The report ---


def _report(trained, tmp_path, matrix, step=7):
    records = _records(tmp_path / "records", {"a": (tiny.picture(20, 20), None)})
    # A picture of one row, with so many pixels of each pair of classes.
    pairs = np.indices((4, 4)).reshape(2, 1, -1).repeat(np.ravel(matrix), axis=2)
    result = segmentation.measure(*pairs, 4)
    logdir = tmp_path / "log"
    evaluator.Evaluator(trained, records).report(result, "train/model.ckpt-7", step, str(logdir))
    return result, logdir


_MATRIX = [[8, 2, 0, 0], [0, 10, 0, 0], [0, 0, 0, 0], [0, 5, 0, 5]]


def test_the_report_is_a_table_with_class_names(trained, tmp_path, capsys):
    _report(trained, tmp_path, _MATRIX)
    text = capsys.readouterr().out
    assert "train/model.ckpt-7 (step 7) on 1 image of tiny/val" in text
    assert "1 disc" in text
    assert "mIoU 62.94 %" in text


def test_one_predicted_class_is_remarked(trained, tmp_path, capsys):
    _report(trained, tmp_path, [[10, 0, 0, 0], [5, 0, 0, 0], [0] * 4, [0] * 4])
    assert "every pixel is predicted as class 0 (ground)" in capsys.readouterr().out


def test_json_files_hold_the_result_and_how_it_came_about(trained, tmp_path):
    result, logdir = _report(trained, tmp_path, _MATRIX)
    facts = json.loads((logdir / "eval-7.json").read_text())
    assert facts["miou"] == pytest.approx(result.mean_iou)
    assert facts["confusion_matrix"] == _MATRIX
    assert facts["classes"][3]["name"] == "star"
    assert facts["checkpoint"] == "train/model.ckpt-7"
    expected = {"step": 7, "dataset": "tiny", "split": "val", "images": 1, "crop_size": [33, 33]}
    expected |= {"output_stride": 8, "eval_scales": [1.0], "add_flipped_images": False}
    assert {key: facts[key] for key in expected} == expected
    page = golden.DATA.parents[1] / "g3doc/evaluation.md"
    section = page.read_text().partition("### Keys of `eval.json`")[2].partition("In the row")[0]
    keys = re.findall(r"^\| (.*?) \|", section, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(keys))) == {*facts, "categories", "category_miou"}
    assert set(facts["classes"][0]) <= set(re.findall(r"`(\w+)`", section))
    _report(trained, tmp_path, _MATRIX, step=8)
    assert json.loads((logdir / "eval.json").read_text())["step"] == 8
    assert json.loads((logdir / "eval-7.json").read_text())["step"] == 7


def test_tensorboard_has_the_official_names_and_the_confusion_matrix(trained, tmp_path):
    result, logdir = _report(trained, tmp_path, _MATRIX)
    found, (path,) = {}, logdir.glob("events*")
    for event in tf.compat.v1.train.summary_iterator(str(path)):
        for value in event.summary.value:
            assert event.step == 7
            found[value.tag] = tf.make_ndarray(value.tensor)
    _, _, png = found.pop("eval/confusion_matrix")
    picture = tf.io.decode_png(png).numpy()
    expected = report.confusion_picture(result, tiny.DATASET.class_names)
    np.testing.assert_array_equal(picture, expected)
    expected = {f"eval/miou_1.0_class_{i}": iou for i, iou in enumerate(result.class_iou)}
    expected["eval/miou_1.0_overall"] = result.mean_iou
    assert {tag: float(value) for tag, value in found.items()} == pytest.approx(
        expected, nan_ok=True
    )


def test_an_image_that_cannot_be_counted_ends_it_while_others_are_predicted(trained, tmp_path):
    """Those before it are seen, in order, and none after it."""
    random = np.random.default_rng(0)
    samples = {
        f"{index}": (tiny.picture(20, 30, index), random.integers(0, 4, (20, 30)).astype(np.uint8))
        for index in range(9)
    }
    samples["5"][1][3, 3] = 7
    seen = []
    with pytest.raises(ValueError, match=r"image 5: label 7 \(1 pixels\) is not a class"):
        evaluator.Evaluator(trained, _records(tmp_path, samples)).evaluate(
            observers=[lambda image: seen.append(image.name)]
        )
    assert seen == ["0", "1", "2", "3", "4"]
