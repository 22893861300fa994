"""The evaluation script: from flags to results."""

import csv
import json
import logging
import subprocess
import sys
import time
import types

import numpy as np
import pytest
import tensorflow as tf

from deeplab import eval as eval_script
from deeplab.evaluation import checkpoint_waiter
from deeplab.testing import tiny


@pytest.fixture(scope="module", autouse=True)
def _eager():
    """Trace no network: the images are few."""
    with tiny.eager():
        yield


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    samples = {}
    for index, size in enumerate([(20, 30), (33, 33), (31, 12)]):
        label = np.random.default_rng(index).integers(0, 4, size).astype(np.uint8)
        samples[f"image_{index}"] = (tiny.picture(*size), label)
    return tiny.write_records(tmp_path_factory.mktemp("records"), samples)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("dataset") / "tiny.json"
    tiny.DATASET.save(path)
    return path


@pytest.fixture
def net():
    """A network; those of its checkpoints are built with few blocks."""
    with tiny.shallow():
        yield tiny.shared_network()


def _flags(records, dataset, train, tmp_path, *more):
    return (
        f"--dataset_dir={records}",
        f"--dataset={dataset}",
        f"--checkpoint_dir={train}",
        f"--eval_logdir={tmp_path / 'log'}",
        *more,
    )


def _result(tmp_path, name="eval.json"):
    return json.loads((tmp_path / "log" / name).read_text())


@pytest.mark.slow
def test_the_newest_checkpoint_is_evaluated_once(records, dataset, net, tmp_path, capsys):
    train = tmp_path / "train"
    for step in (3, 7):
        tiny.save(net, train, step)
    flags = _flags(records, dataset, train, tmp_path, "--max_number_of_evaluations=1")
    tiny.run(eval_script, *flags, "--eval_batch_size=2", "--eval_crop_size=33,33")
    result = _result(tmp_path)
    assert result["step"] == 7
    assert result["images"] == 3
    assert result["output_stride"] == 8
    assert sum(map(sum, result["confusion_matrix"])) == 20 * 30 + 33 * 33 + 31 * 12
    assert f"mIoU {100 * result['miou']:.2f} %" in capsys.readouterr().out
    assert len(result["boundary_iou"]) == len(result["trimap_miou"]) == 4
    rows = list(csv.DictReader((tmp_path / "log/eval-7-images.csv").open()))
    assert [row["image"] for row in rows] == ["image_0", "image_1", "image_2"]
    assert [int(row["pixels"]) for row in rows] == [20 * 30, 33 * 33, 31 * 12]
    right = sum(float(row["accuracy"]) * int(row["pixels"]) for row in rows)
    assert right == pytest.approx(np.trace(result["confusion_matrix"]))
    assert "iou_disc" in rows[0]


@pytest.mark.slow
def test_a_report_shows_the_result_and_what_has_changed(records, dataset, net, tmp_path):
    train = tiny.save(net, tmp_path / "train", 7)
    more = (f"--report_dir={tmp_path / 'page'}", "--eval_crop_size=33,33", "--eval_scales=1")
    more += ("--summary_images=2",)
    tiny.run(eval_script, *_flags(records, dataset, train, tmp_path, *more, "--report_images=2"))
    first, (log,) = (tmp_path / "page/report.html").read_text(), tmp_path.glob("log/eval.json")
    assert f">{100 * _result(tmp_path)['miou']:.1f}<" in first
    for argument in (f"--checkpoint_dir={train}", *more, "--report_images=2"):
        assert argument in first
    assert "What has changed" not in first
    (events,) = tmp_path.glob("log/events*")
    tags = {
        value.tag
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
    }
    assert {tag for tag in tags if "worst" in tag} == {"eval/worst_image_1", "eval/worst_image_2"}
    tiny.run(
        eval_script, *_flags(records, dataset, train, tmp_path, *more, f"--compare_with={log}")
    )
    assert (
        "better: 0, worse: 0, equal: 3, not in both: 0."
        in (tmp_path / "page/report.html").read_text()
    )


@pytest.mark.slow
def test_an_official_checkpoint_is_evaluated_with_flags(records, dataset, net, tmp_path):
    """It gives what the same network with its stored options gives."""
    path = tiny.save(net, tmp_path / "official", 3, with_options=False)
    more = ("--eval_crop_size=33,33", "--add_flipped_images")
    flags = _flags(records, dataset, path, tmp_path / "a", *more)
    tiny.run(eval_script, *flags, *tiny.NETWORK_FLAGS)
    stored = tiny.save(net, tmp_path / "train", 3)
    tiny.run(eval_script, *_flags(records, dataset, stored, tmp_path / "b", *more))
    ours, theirs = _result(tmp_path / "a"), _result(tmp_path / "b")
    assert ours["confusion_matrix"] == theirs["confusion_matrix"]
    assert ours["add_flipped_images"] is True


@pytest.mark.slow
def test_a_crf_refines_what_is_evaluated(records, dataset, tmp_path):
    """Not the padding: images in one batch give what they give alone."""
    # With fewer blocks, a CRF would change little.
    train = tiny.save(tiny.network(), tmp_path / "train", 7)
    more = ("--eval_crop_size=33,33", "--crf", "--crf_iterations=2", "--crf_bi_w=5")
    for batch_size, folder in ((1, "a"), (3, "b")):
        flags = _flags(records, dataset, train, tmp_path / folder, *more)
        tiny.run(eval_script, *flags, f"--eval_batch_size={batch_size}")
    alone, together = _result(tmp_path / "a"), _result(tmp_path / "b")
    matrices = [np.array(each["confusion_matrix"]) for each in (alone, together)]
    assert matrices[0].sum() == 20 * 30 + 33 * 33 + 31 * 12
    assert np.abs(matrices[0] - matrices[1]).sum() <= 4
    assert alone["crf"]["bi_w"] == 5
    tiny.run(eval_script, *_flags(records, dataset, train, tmp_path / "c", more[0]))
    without = _result(tmp_path / "c")
    assert without["crf"] is None
    assert np.abs(matrices[0] - without["confusion_matrix"]).sum() > 100


@pytest.mark.slow
def test_large_images_are_evaluated_in_windows(records, dataset, net, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    train = tiny.save(net, tmp_path / "train", 7)
    more = ("--eval_crop_size=25,25", "--window=25,25", "--eval_batch_size=3")
    tiny.run(eval_script, *_flags(records, dataset, train, tmp_path, *more))
    result = _result(tmp_path)
    assert result["window"] == {"size": [25, 25], "overlap": 0.5}
    assert sum(map(sum, result["confusion_matrix"])) == 20 * 30 + 33 * 33 + 31 * 12
    assert "evaluated whole" not in caplog.text
    (events,) = (tmp_path / "log").glob("events*")
    assert b"eval/miou_1.0_windows_overall" in events.read_bytes()


def test_it_waits_for_training_and_evaluates_what_comes(
    records, dataset, net, tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.INFO)
    train, steps = tmp_path / "train", iter([5, 10])

    def sleep(seconds):
        if seconds > 0:
            tiny.save(net, train, next(steps))

    clock = types.SimpleNamespace(monotonic=time.monotonic, sleep=sleep)
    monkeypatch.setattr(checkpoint_waiter, "time", clock)
    flags = _flags(records, dataset, train, tmp_path, "--max_number_of_evaluations=2")
    tiny.run(eval_script, *flags, "--eval_crop_size=33,33", "--eval_interval_secs=1")
    assert (_result(tmp_path, "eval-5.json")["step"], _result(tmp_path)["step"]) == (5, 10)
    assert any("waiting for the first checkpoint" in message for message in caplog.messages)


@pytest.mark.parametrize(
    "change, message",
    [
        (
            "--dataset_dir=/nowhere/tfrecord",
            "no file matches /nowhere/tfrecord/val-.*no such folder",
        ),
        ("--eval_split=test", "no file matches .*test-.*holds val-00000"),
        ("--dataset=unknown", "unknown dataset 'unknown'"),
        ("--checkpoint_dir=/nowhere/model.ckpt-5", "no checkpoint at /nowhere/model.ckpt-5"),
        ("--num_clones=99", "--num_clones is 99, but TensorFlow can use"),
        ("--compare_with=a.json", "--compare_with=a.json has no effect without --report_dir"),
        ("--report_images=501", "--report_images is 501; it must be .* at most 500"),
        ("--crf_bi_w=5", "--crf_bi_w has no effect without --crf"),
        ("--window=33", "--window is .'33'.; it must be height,width: two whole numbers"),
        ("--window_overlap=0.5", "--window_overlap has no effect without --window"),
        ("--eval_scales=0", "--eval_scales is .*above 0"),
        ("--eval_crop_size=33", "must be height,width: two whole numbers, each at least 1"),
        ("--dataset=ade20k", "trained for 4 classes, but --dataset=ade20k has 151"),
        ("--model_variant=xception_65", "--model_variant is 'xception_65', but the checkpoint"),
    ],
)
def test_what_cannot_be_is_one_error(records, dataset, net, tmp_path, change, message):
    flags = _flags(records, dataset, tiny.save(net, tmp_path / "train", 7), tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        tiny.run(eval_script, *flags, change)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "log").exists()


def test_what_will_not_do_is_told_before_a_long_wait(records, dataset, tmp_path):
    with pytest.raises(FileNotFoundError, match="no file matches"):
        tiny.run(eval_script, *_flags("/nowhere", dataset, tmp_path / "later", tmp_path))
    flags = _flags(records, dataset, tmp_path / "later", tmp_path)
    for flag in ("eval_logdir", "report_dir"):
        with pytest.raises(ValueError, match=f"--{flag}=/proc/x cannot be written: /proc: "):
            tiny.run(eval_script, *flags, f"--{flag}=/proc/x")


@pytest.mark.slow
def test_it_runs_as_a_script(records, dataset, tmp_path):
    # Another process builds it with all its blocks, which are few.
    net = tiny.network(tiny.OPTIONS.replace(model_variant="resnet_v1_18"))
    train = tiny.save(net, tmp_path / "train", 7)
    flags = _flags(records, dataset, train, tmp_path, "--eval_crop_size=33,33")
    command = [sys.executable, eval_script.__file__, *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "mIoU" in done.stdout
    # Before it imports TensorFlow.
    failed = subprocess.run([*command, "--eval_crop_size=33"], capture_output=True, text=True)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("error: --eval_crop_size is ")
