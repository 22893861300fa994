"""A resumed run says what is no longer as it began, and nothing else."""

import dataclasses
import json
import logging
import re
import types

import pytest
import tensorflow as tf

from deeplab.core.options import ModelOptions, TrainingRun
from deeplab.datasets import descriptors
from deeplab.training import run_record
from deeplab.utils import checkpoint_integrity

_CITYSCAPES = descriptors.load("cityscapes")


class _Records:
    """Stands for the records of a split."""

    def __init__(self, count: int = 40, descriptor=_CITYSCAPES, total_bytes: int = 4000):
        self.descriptor = descriptor
        self.files = types.SimpleNamespace(total_bytes=total_bytes)
        self._count = count

    def __len__(self) -> int:
        return self._count


def _describe(records=None, model_options=None, **changes):
    options = TrainingRun()
    for part in dataclasses.fields(options):
        own = getattr(options, part.name)
        names = {field.name for field in dataclasses.fields(own)}
        own = dataclasses.replace(own, **{name: changes[name] for name in names & changes.keys()})
        options = dataclasses.replace(options, **{part.name: own})
    return run_record.describe(options, model_options or ModelOptions(), records or _Records())


@pytest.fixture(params=["local", "remote"])
def folder(request, tmp_path):
    if request.param == "local":
        return str(tmp_path)
    path = f"ram://{tmp_path.name}/run"
    tf.io.gfile.makedirs(path)
    return path


def _resume(folder, now, caplog, records=None) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="absl"):
        run_record.keep(folder, now, records or _Records(), is_resumed=True)
    return [record.getMessage() for record in caplog.records]


def test_each_difference_is_one_line_with_flag_and_both_values(folder, caplog):
    began = _describe(train_split="train_fine")
    run_record.keep(folder, began, _Records(), is_resumed=False)
    assert _resume(folder, began, caplog) == []
    for name, value, text in (
        ("seed", 7, "--seed is 7, but the run began with 0:"),
        ("train_batch_size", 4, "--train_batch_size is 4, but the run began with 8:"),
        ("train_crop_size", (65, 97), "--train_crop_size is 65,97, but the run began with 513,513"),
        ("train_split", "val", "--train_split is val, but the run began with train_fine:"),
        ("max_scale_factor", 1.75, "--max_scale_factor is 1.75, but the run began with 2.0:"),
        ("scale_factor_step_size", 0.0, "--scale_factor_step_size is 0.0, but the run began"),
    ):
        now = _describe(**{"train_split": "train_fine", name: value})
        (line,) = _resume(folder, now, caplog)
        assert line.startswith(text)
    now = _describe(model_options=ModelOptions(min_resize_value=65), train_split="train_fine")
    (line,) = _resume(folder, now, caplog)
    assert line.startswith("--min_resize_value is 65, but the run began with not set")
    other = dataclasses.replace(_CITYSCAPES, name="city")
    now = _describe(_Records(descriptor=other), train_split="train_fine", seed=3, dataset="a.json")
    first, second = _resume(folder, now, caplog, _Records(descriptor=other))
    assert first.startswith("--seed is 3")
    assert second.startswith("--dataset is a.json, but the run began with pascal_voc_seg:")
    # What it began with stays.
    assert _resume(folder, began, caplog) == []


def test_another_number_of_records_changes_the_order_of_all_samples(folder, caplog):
    run_record.keep(folder, _describe(), _Records(), is_resumed=False)
    (line,) = _resume(folder, _describe(_Records(41, total_bytes=4100)), caplog)
    assert line.startswith("there are 41 records, but the run began with 40: from now on the order")


def test_other_records_of_the_same_number_are_told_by_their_bytes(folder, caplog):
    began = _describe()
    run_record.keep(folder, began, _Records(), is_resumed=False)
    (line,) = _resume(folder, _describe(_Records(total_bytes=4001)), caplog)
    assert line.startswith("the records have 4001 bytes, but those that the run began with had")
    # A record of an earlier version does not have them.
    del began["bytes_of_records"]
    run_record.keep(folder, began, _Records(), is_resumed=False)
    assert _resume(folder, _describe(_Records(total_bytes=4001)), caplog) == []


def test_each_change_of_a_descriptor_that_decides_training_is_one_line(folder, caplog):
    run_record.keep(folder, _describe(dataset="a.json"), _Records(), is_resumed=False)
    other = dataclasses.replace(
        _CITYSCAPES,
        num_classes=20,
        ignore_label=0,
        class_names=None,
        train_id_to_eval_id=None,
        categories=None,
    )
    now = _describe(_Records(descriptor=other), dataset="a.json")
    classes, ignored = _resume(folder, now, caplog, _Records(descriptor=other))
    assert classes.startswith("the dataset's num_classes is 20, but the run began with 19: from")
    assert ignored.startswith("the dataset's ignore_label is 0, but the run began with 255: from")
    other = dataclasses.replace(_CITYSCAPES, categories=None, splits_to_sizes={})
    now = _describe(_Records(descriptor=other), dataset="a.json")
    assert _resume(folder, now, caplog, _Records(descriptor=other)) == []


def test_both_names_of_a_split_are_the_same_split(folder, caplog):
    run_record.keep(folder, _describe(train_split="train_fine"), _Records(), is_resumed=False)
    assert _resume(folder, _describe(train_split="train"), caplog) == []


def test_a_dataset_may_move(folder, caplog):
    run_record.keep(folder, _describe(dataset="a.json"), _Records(), is_resumed=False)
    assert _resume(folder, _describe(dataset="b.json"), caplog) == []
    other = _Records(descriptor=dataclasses.replace(_CITYSCAPES, class_names=None))
    (line,) = _resume(folder, _describe(other, dataset="b.json"), caplog, other)
    assert line.startswith("--dataset is b.json, but the run began with a.json:")


def test_what_a_killed_process_left_of_it_is_known():
    assert re.fullmatch(checkpoint_integrity.WRITTEN, run_record.FILE)


def test_a_run_of_an_earlier_version_gets_a_record(folder, caplog):
    assert _resume(folder, _describe(seed=1), caplog) == []
    (line,) = _resume(folder, _describe(seed=2), caplog)
    assert line.startswith("--seed is 2, but the run began with 1:")


@pytest.mark.parametrize("content", ["{", "[]", '{"seed": "\\ud800"'])
def test_a_damaged_record_is_one_line_and_is_replaced(folder, content, caplog):
    with tf.io.gfile.GFile(f"{folder}/{run_record.FILE}", "w") as file:
        file.write(content)
    (line,) = _resume(folder, _describe(), caplog)
    assert line.startswith(
        f"the data and options with which the run began are unknown: {folder}/{run_record.FILE} is "
    )
    assert _resume(folder, _describe(), caplog) == []


def test_a_new_run_in_the_folder_of_one_without_steps_replaces_the_record(folder, caplog):
    run_record.keep(folder, _describe(seed=1), _Records(), is_resumed=False)
    run_record.keep(folder, _describe(seed=2), _Records(), is_resumed=False)
    assert _resume(folder, _describe(seed=2), caplog) == []
    with tf.io.gfile.GFile(f"{folder}/{run_record.FILE}") as file:
        assert json.loads(file.read()) == _describe(seed=2)


def test_a_record_of_another_version_is_compared_as_far_as_it_goes(folder, caplog):
    with tf.io.gfile.GFile(f"{folder}/{run_record.FILE}", "w") as file:
        file.write('{"seed": 5, "from_the_future": true}')
    (line,) = _resume(folder, _describe(), caplog)
    assert line.startswith("--seed is 0, but the run began with 5:")


def test_a_record_that_cannot_be_written_does_not_stop_training(tmp_path, caplog):
    folder = tmp_path / "file"
    folder.write_text("no folder")
    run_record.keep(str(folder), _describe(), _Records(), is_resumed=False)
    assert "training continues" in caplog.text
