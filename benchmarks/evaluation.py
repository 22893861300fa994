r"""Measures images per second of evaluation and of pictures, with and without overlap.

Both forms process the same images with the same network, in turns. Without overlap, each batch is
predicted, then counted (eval) or drawn and written (vis), before the next one is read. With
overlap, threads finish batches while the next ones are predicted, as in `eval.py` and `vis.py`. The
results of both must be equal.

Example:
    PYTHONPATH=research python benchmarks/evaluation.py --dataset=camvid.json \
        --dataset_dir=camvid_tfrecord --checkpoint_dir=train_log --crop_size=361,481
"""

import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

from absl import flags

from deeplab.cli import script
from deeplab.datasets import descriptors
from deeplab.datasets.data_generator import Dataset
from deeplab.evaluation.evaluator import Evaluator
from deeplab.evaluation.predictor import NetworkPredictor
from deeplab.evaluation.visualizer import Visualizer
from deeplab.sharing import parallel
from deeplab.utils import checkpoint, reports


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the script's flags."""
    for name, default, help_text in (
        ("dataset", "pascal_voc_seg", "Name or descriptor of the dataset."),
        ("dataset_dir", None, "Folder of the TFRecords."),
        ("split", "val", "The split."),
        ("checkpoint_dir", None, "The checkpoint, or its folder."),
    ):
        flags.DEFINE_string(name, default, help_text, flag_values=flag_values)
    flags.DEFINE_list("crop_size", ["513", "513"], "Height,width.", flag_values=flag_values)
    flags.DEFINE_integer("rounds", 5, "How often each form is timed.", flag_values=flag_values)


def main(argv: Sequence[str]) -> None:
    """Print a table."""
    del argv
    values = flags.FLAGS
    height, width = map(int, values.crop_size)
    descriptor = descriptors.load(values.dataset)
    options = checkpoint.load_options(values.checkpoint_dir).replace(crop_size=(height, width))
    predictor = NetworkPredictor(options)
    predictor.restore(values.checkpoint_dir)
    records = Dataset(descriptor, values.split, values.dataset_dir, predictor.net.preprocessing())
    evaluator = Evaluator(predictor, records)

    def draw() -> dict[str, bytes]:
        with tempfile.TemporaryDirectory() as folder:
            Visualizer(predictor, descriptor, folder).run(records.evaluation(1), len(records))
            return {path.name: path.read_bytes() for path in pathlib.Path(folder).rglob("*.png")}

    def predict() -> int:
        return sum(len(predictor(batch["image"])) for batch in records.evaluation(1))

    print(f"{len(records)} images, load {os.getloadavg()[0]:.1f}", flush=True)
    header = ("script", "without overlap", "with overlap", "ratio", "range")
    rows = [
        _compare("eval", lambda: evaluator.evaluate().as_lists(), len(records)),
        _compare("vis", draw, len(records)),
    ]
    print(reports.format_table(header, rows))
    alone = statistics.median(_secs(predict, True)[0] for _ in range(values.rounds))
    print(f"\nonly reading and the network: {len(records) / alone:.1f} images/s")


def _compare(name: str, function: Callable[[], Any], images: int) -> tuple[str, ...]:
    """Time a function in both orders, in turns; return the cells of its row."""
    # The first call builds graphs.
    in_turn, overlapped = _secs(function, True)[1], _secs(function, False)[1]
    if in_turn != overlapped:
        raise ValueError(f"the results of {name} differ with overlap")
    pairs = [
        (_secs(function, True)[0], _secs(function, False)[0]) for _ in range(flags.FLAGS.rounds)
    ]
    ratios = [before / after for before, after in pairs]
    before, after = (images / statistics.median(secs) for secs in zip(*pairs, strict=True))
    return (
        *(name, f"{before:.1f} images/s", f"{after:.1f} images/s"),
        *(f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}"),
    )


def _secs(function: Callable[[], Any], in_turn: bool) -> tuple[float, Any]:
    """Return the seconds that a function takes, and its result."""
    # Without its threads, an item is finished before the next one is predicted.
    finish = map if in_turn else parallel.finish_in_order
    with mock.patch.object(parallel, "finish_in_order", finish):
        start = time.perf_counter()
        result = function()
        return time.perf_counter() - start, result


if __name__ == "__main__":
    script.run(main, define_flags, required=("dataset_dir", "checkpoint_dir"))
