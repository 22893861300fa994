"""Check some records before training or evaluation, which take long, begin."""

import numpy as np
from absl import logging

from deeplab.datasets import split_statistics
from deeplab.datasets.data_generator import Dataset

# How many records are decoded; photographs take about a second.
_RECORDS = 32
# A larger share of ignored pixels is usually a mistake.
_MUCH_IGNORED = 0.8


def check(records: Dataset) -> None:
    """Check records that are spread over a split; `check_data` checks all of them.

    Log how many classes they have and the share of pixels that are ignored. Warn if the share is
    large, or if there is only one class.

    Args:
        records: The records of the split.

    Raises:
        ValueError: A record is bad or has no label, a label is neither a class nor the ignore label
            (the message names file, image and values), or all pixels of these records are ignored.
    """
    files, descriptor = records.files, records.descriptor
    statistics = split_statistics.SplitStatistics()
    for index in np.unique(np.linspace(0, len(files) - 1, _RECORDS).astype(int)):
        record = files[int(index)]
        try:
            name = statistics.add(record, descriptor, check_sizes=False)
            if statistics.unlabeled.count:
                raise ValueError(f"({name}) has no label (is that the right split?)")
        except ValueError as error:
            raise ValueError(f"{files.describe(int(index))} {error}") from None
    where = f"{statistics.num_images} of the {len(records)} records of {records.split_name}"
    ignored = statistics.pixels[descriptor.ignore_label] / statistics.pixels.sum()
    seen = split_statistics.classes_seen(statistics, descriptor)
    if not seen:
        raise ValueError(
            f"every pixel is ignored (label {descriptor.ignore_label}) in {where}: there is nothing"
            " to learn or to count (are --dataset and its ignore_label right?)"
        )
    logging.info(
        "checked %s: %d of %d classes, %.1f %% of the pixels are ignored",
        *(where, len(seen), descriptor.num_classes, 100 * ignored),
    )
    if len(seen) == 1:
        logging.warning(
            "every pixel that counts is of class %s in %s: there is nothing else to learn"
            " (is --dataset right? deeplab.datasets.check_data checks all records)",
            *(split_statistics.class_name(descriptor, seen[0]), where),
        )
    elif ignored > _MUCH_IGNORED:
        logging.warning(
            "%.1f %% of the pixels are ignored (label %d) in %s: are --dataset and its ignore_label"
            " right? (deeplab.datasets.check_data checks all records)",
            *(100 * ignored, descriptor.ignore_label, where),
        )
