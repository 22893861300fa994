"""The record of the data and options with which a run began, stored beside its checkpoints.

They determine sample number n; see `training.state`. If data, seed or batch size have changed, a
resumed run does not give the same result, and a warning says so.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from absl import logging

from deeplab.core import error_text
from deeplab.core.options import ModelOptions, TrainingRun
from deeplab.datasets.data_generator import Dataset
from deeplab.training import guards
from deeplab.utils import files

# Name of the file.
FILE = "run_record.json"

_NUM_RECORDS = "number_of_records"
_BYTES = "bytes_of_records"
_DESCRIPTOR = "descriptor"
# Fields of a descriptor that affect training; names and colors do not.
_DECISIVE = ("num_classes", "ignore_label")
_RESIZING = ("min_resize_value", "max_resize_value", "resize_factor")


def describe(options: TrainingRun, model_options: ModelOptions, records: Dataset) -> dict[str, Any]:
    """Return everything that determines the samples of a run as JSON values, by name of the flag.

    Args:
        options: All options except those of the network.
        model_options: Options of the network.
        records: The records to train on.
    """
    found = {
        "seed": options.training.seed,
        "train_batch_size": options.training.train_batch_size,
        "train_crop_size": options.files.train_crop_size,
        "dataset": options.files.dataset,
        "train_split": options.files.train_split,
        **dataclasses.asdict(options.scales),
        **dataclasses.asdict(options.augmentation),
        **{name: getattr(model_options, name) for name in _RESIZING},
        _NUM_RECORDS: len(records),
        _BYTES: records.files.total_bytes,
        _DESCRIPTOR: dataclasses.asdict(records.descriptor),
    }
    return json.loads(json.dumps(found))


def keep(folder: str, now: Mapping[str, Any], records: Dataset, *, is_resumed: bool) -> None:
    """Warn of each difference between a resumed run and its record; store the record of a new run.

    A run without a record, of an earlier version, gets one.

    Args:
        folder: Folder of the run's checkpoints.
        now: The result of `describe`.
        records: The records to train on.
        is_resumed: Whether the run has made steps before.
    """
    path = os.path.join(folder, FILE)
    before = _read(path) if is_resumed else None
    if before is None:
        with guards.logged_errors(f"{path} could not be written"):
            files.write_text(path, json.dumps(now, indent=2) + "\n")
        return
    same = {"train_split": records.descriptor.split_names(now["train_split"])}
    if before.get(_DESCRIPTOR) == now[_DESCRIPTOR]:  # It may have been moved.
        same["dataset"] = (before.get("dataset"),)
    for name, value in now.items():
        if name not in before or before[name] in (value, *same.get(name, ())):
            continue
        if name == _NUM_RECORDS:
            logging.warning(
                "there are %s records, but the run began with %s: from now on the order of all"
                " samples is different (see --dataset_dir and --train_split)",
                *(value, before[name]),
            )
        elif name == _BYTES:
            if before.get(_NUM_RECORDS) == now[_NUM_RECORDS]:
                logging.warning(
                    "the records have %s bytes, but those that the run began with had %s: images or"
                    " labels have changed, so from now on it is a different run (see"
                    " --dataset_dir)",
                    *(value, before[name]),
                )
        elif name == _DESCRIPTOR:
            _compare_descriptors(value, before[name])
        else:
            logging.warning(
                "--%s is %s, but the run began with %s: from now on it is a different run",
                *(name, _text(value), _text(before[name])),
            )


def _compare_descriptors(now: Mapping[str, Any], before: Any) -> None:
    for name in _DECISIVE if isinstance(before, dict) else ():
        if name in before and before[name] != now[name]:
            logging.warning(
                "the dataset's %s is %s, but the run began with %s: from now on it is a different"
                " run (see --dataset)",
                *(name, _text(now[name]), _text(before[name])),
            )


def _read(path: str) -> dict[str, Any] | None:
    """Return the stored record; None if there is none, or if it is damaged, which is logged."""
    if not tf.io.gfile.exists(path):
        return None
    try:
        before = files.read_json(path)
        if not isinstance(before, dict):
            raise ValueError(f"{path} is not a JSON object")
    except (ValueError, OSError) as error:
        logging.warning(
            "the data and options with which the run began are unknown: %s",
            error_text.one_line(error),
        )
        return None
    return before


def _text(value: Any) -> str:
    """Return a value as text, in the form that its flag takes."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "not set" if value is None else str(value)
