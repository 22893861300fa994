import json

import numpy as np
import pytest

from deeplab.evaluation import image_table, report
from deeplab.evaluation.earlier_evaluation import EarlierEvaluation
from deeplab.testing import evaluated, tiny
from deeplab.utils import reports

_NAMES = tiny.DATASET.class_names


@pytest.fixture(scope="module")
def images():
    return list(evaluated.images(tiny.DATASET, 24))


def _write(folder, images, name="eval.json", step=7):
    """Write the result of an evaluation of some images, as the evaluator does."""
    total = images[0].result
    for image in images[1:]:
        total += image.result
    facts = {"checkpoint": f"model.ckpt-{step}", "step": step}
    reports.write_json(folder / name, facts | report.segmentation_facts(total, _NAMES))
    rows = map(image_table.row, images)
    image_table.write(image_table.path(str(folder), step), _NAMES, rows)
    return str(folder / name)


def _row(image):
    return image_table.parse(image_table.row(image))


def _renamed(image, name):
    return evaluated.EvaluatedImage(
        name, image.image, image.label, image.prediction, image.result, image.confidence
    )


def test_each_image_is_compared_with_itself(images, tmp_path):
    # Every image has the result of the next one, as if it had changed.
    before = [
        _renamed(images[(number + 1) % 20], image.name) for number, image in enumerate(images[:20])
    ]
    compared = EarlierEvaluation(_write(tmp_path, before), _NAMES, num_changes=3)
    for image in images:
        compared.add(_row(image))
    differences = {
        image.name: image.result.mean_iou - other.result.mean_iou
        for image, other in zip(images[:20], before, strict=True)
    }
    values = np.array(list(differences.values()))
    assert compared.unmatched == 4
    assert compared.better == (values >= 5e-4).sum() > 3
    assert compared.worse == (values <= -5e-4).sum() > 3
    assert compared.equal == (np.abs(values) < 5e-4).sum()
    changes = compared.changes()
    found = [change.after - change.before for change in changes]
    ordered = np.sort(values)
    np.testing.assert_allclose(found, [*ordered[:3], *ordered[-3:]])
    for change in changes:
        assert change.after - change.before == pytest.approx(differences[change.name])


def test_few_changes_are_kept_of_many_images(images, tmp_path):
    before = [_renamed(images[index % 24], str(index)) for index in range(100)]
    after = [_renamed(images[(index * 7 + 3) % 24], str(index)) for index in range(100)]
    path = _write(tmp_path, before)
    few, all_ = EarlierEvaluation(path, _NAMES, 2), EarlierEvaluation(path, _NAMES, 100)
    for image in after:
        few.add(_row(image))
        all_.add(_row(image))
        assert len(few._changes) <= 16
    found = [change.after - change.before for change in few.changes()]
    everything = [change.after - change.before for change in all_.changes()]
    np.testing.assert_allclose(found, [*everything[:2], *everything[-2:]])


def test_images_of_the_same_name_are_compared_in_order(images, tmp_path):
    same = [_renamed(image, "same") for image in images[:4]]
    compared = EarlierEvaluation(_write(tmp_path, same), _NAMES)
    for image in same:
        compared.add(_row(image))
    assert (compared.better, compared.worse, compared.equal) == (0, 0, 4)


def test_classes_and_metrics_of_the_other_one(images, tmp_path):
    compared = EarlierEvaluation(_write(tmp_path, images[:3]), _NAMES)
    total = images[0].result + images[1].result + images[2].result
    np.testing.assert_allclose(compared.class_iou(), total.class_iou)
    assert compared.metric("miou") == total.mean_iou
    assert np.isnan(compared.metric("absent"))


def test_without_its_table_images_are_not_compared(images, tmp_path):
    path = _write(tmp_path, images[:3])
    (tmp_path / "eval-7-images.csv").unlink()
    compared = EarlierEvaluation(path, _NAMES)
    compared.add(_row(images[0]))
    assert not compared.has_images
    assert compared.changes() == []


class TestBadFiles:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("[1]", "is not a result of an evaluation: give its eval.json"),
            ('{"miou": 1, "step": 3, "classes": [{"id": 0}]}', "is not a result of an evaluation"),
            ('{"miou": 1, "classes": []}', "is not a result of an evaluation"),
            ("{", "eval.json"),
        ],
    )
    def test_no_result(self, tmp_path, content, message):
        path = tmp_path / "eval.json"
        path.write_text(content)
        with pytest.raises(ValueError, match=message) as error:
            EarlierEvaluation(str(path), _NAMES)
        assert "\n" not in str(error.value)

    def test_other_classes(self, images, tmp_path):
        path = _write(tmp_path, images[:2])
        facts = json.loads((tmp_path / "eval.json").read_text())
        facts["classes"][1]["name"] = "ball"
        (tmp_path / "eval.json").write_text(json.dumps(facts))
        with pytest.raises(ValueError, match=r"has other classes \(4: ground, ball, .*than the"):
            EarlierEvaluation(path, _NAMES)

    def test_absent(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="--compare_with=.*no.json does not exist"):
            EarlierEvaluation(str(tmp_path / "no.json"), _NAMES)
        with pytest.raises(ValueError, match="is a folder: give the eval.json in it"):
            EarlierEvaluation(str(tmp_path), _NAMES)
