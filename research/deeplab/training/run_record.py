"""The record of a run's beginning: the data, and how sample number n is made of it.

With other data, another seed or another batch size, a resumed run is another run; see
`training.state`. So this is stored beside the checkpoints.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from absl import logging

from deeplab.core.options import ModelOptions, TrainingRun
from deeplab.datasets.data_generator import Dataset
from deeplab.training import guards
from deeplab.utils import error_text, files

# Name of the file.
FILE = "run_record.json"

_NUM_RECORDS = "number_of_records"
_BYTES = "bytes_of_records"
_DESCRIPTOR = "descriptor"
# What decides training in a descriptor; names and colors do not.
_DECISIVE = ("num_classes", "ignore_label")
_RESIZING = ("min_resize_value", "max_resize_value", "resize_factor")


def describe(options: TrainingRun, model_options: ModelOptions, records: Dataset) -> dict[str, Any]:
    """Return what decides the samples of a run, by the names of the flags, as JSON holds it.

    Args:
        options: All options but those of the network.
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
    """Compare a resumed run with what it began with, and warn of each difference; else store it.

    A run without a record, of an earlier version, gets one.

    Args:
        folder: Folder of the run's checkpoints.
        now: What `describe` returned.
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
                " samples is another one (see --dataset_dir and --train_split)",
                *(value, before[name]),
            )
        elif name == _BYTES:
            if before.get(_NUM_RECORDS) == now[_NUM_RECORDS]:
                logging.warning(
                    "the records have %s bytes, but those that the run began with had %s: images or"
                    " labels are others, so from now on it is another run (see --dataset_dir)",
                    *(value, before[name]),
                )
        elif name == _DESCRIPTOR:
            _compare_descriptors(value, before[name])
        else:
            logging.warning(
                "--%s is %s, but the run began with %s: from now on it is another run",
                *(name, _text(value), _text(before[name])),
            )


def _compare_descriptors(now: Mapping[str, Any], before: Any) -> None:
    for name in _DECISIVE if isinstance(before, dict) else ():
        if name in before and before[name] != now[name]:
            logging.warning(
                "the dataset's %s is %s, but the run began with %s: from now on it is another run"
                " (see --dataset)",
                *(name, _text(now[name]), _text(before[name])),
            )


def _read(path: str) -> dict[str, Any] | None:
    """Return what is stored; None without a file, or with a damaged one, which is logged."""
    if not tf.io.gfile.exists(path):
        return None
    try:
        before = files.read_json(path)
        if not isinstance(before, dict):
            raise ValueError(f"{path} is not a JSON object")
    except (ValueError, OSError) as error:
        logging.warning("what the run began with is unknown: %s", error_text.one_line(error))
        return None
    return before


def _text(value: Any) -> str:
    """Return a value as its flag has it."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "not set" if value is None else str(value)
