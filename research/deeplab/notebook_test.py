"""Tests of the fine-tuning notebook: it runs, and its network learns."""

import importlib
import json
import pathlib
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from deeplab import common, model
from deeplab.evaluation import keras_metrics
from deeplab.testing import golden, notebook, tiny
from deeplab.utils import checkpoint, checkpoint_files

_NOTEBOOK = pathlib.Path(__file__).parent / "g3doc/fine_tuning.ipynb"
_CHECKPOINT = "data/checkpoints/deeplabv3_mnv2_dm05_pascal"
# What is smaller here than in the notebook, so that it runs in seconds.
_SMALLER = {
    "--num_train=48 --num_val=16": "--num_train=24 --num_val=4",
    '\\"training_number_of_steps\\": 150': '\\"training_number_of_steps\\": 30',
    '\\"steps_per_epoch\\": 50': '\\"steps_per_epoch\\": 10',
    "crop_size=(97, 97)": "crop_size=(65, 65)",
    "training_number_of_steps=20": "training_number_of_steps=2",
}


def _code() -> list[str]:
    cells = json.loads(_NOTEBOOK.read_text())["cells"]
    return [notebook.code(cell) for cell in cells if cell["cell_type"] == "code"]


def test_fine_tuning_takes_fifteen_lines():
    (cell,) = [code for code in _code() if "net.fit" in code]
    lines = [line for line in cell.splitlines() if line]
    assert len(lines) == 15
    assert max(map(len, lines)) <= 100


def test_the_outputs_are_those_of_a_run():
    cells = [cell for cell in json.loads(_NOTEBOOK.read_text())["cells"] if "outputs" in cell]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {kind for cell in cells for out in cell["outputs"] for kind in out.get("data", [])}
    assert {"image/png", "text/html"} <= kinds
    assert _NOTEBOOK.stat().st_size < 150_000


def _constant_mean_iou(val) -> float:
    """Return the mean IoU of predicting 0 everywhere."""
    metric = keras_metrics.MeanIoU(6)
    for batch in val.evaluation(batch_size=8):
        zeros = tf.zeros(batch["label"].shape[:3], tf.int32)
        metric.update_state(batch["label"], tf.one_hot(zeros, 6))
    return float(metric.result())


@pytest.mark.slow
def test_the_network_of_the_notebook_learns(tmp_path, monkeypatch):
    """Run the notebook, from published weights if they are available; others learn more slowly."""
    folder = tmp_path / "checkpoints"
    published = golden.SHARED / _CHECKPOINT
    if published.is_dir():
        shutil.copytree(published, folder)
    else:
        net = model.DeepLab(common.ModelOptions(depth_multiplier=0.5, output_stride=8))
        golden.assign(checkpoint.official_variables(net))
        checkpoint.save(str(folder), 0, checkpoint.official_variables(net))
    text = _NOTEBOOK.read_text()
    for original, smaller in _SMALLER.items():
        assert text.count(original) == 1
        text = text.replace(original, smaller)
    (tmp_path / "fine_tuning.ipynb").write_text(text)
    monkeypatch.chdir(tmp_path)

    def run_module(module, arguments):
        with tiny.eager():
            tiny.run(importlib.import_module(module), *arguments)

    run, names = notebook.run("fine_tuning.ipynb", run_module)

    history = names["history"]
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    assert np.isfinite(history["val_loss"]).all()
    if published.is_dir():
        assert history["val_mean_iou"][-1] > 1.5 * _constant_mean_iou(names["val"])
    assert (tmp_path / "shapes.keras").is_file()
    assert names["net"].optimizer.iterations == 30
    assert names["run"].step == 2
    assert checkpoint_files.names("train_log") == ["model.ckpt-2"]
    assert checkpoint.load_options("train_log") == names["net"].options
    shown = run["cells"][-2]["outputs"][0]["data"]["text/html"]
    (page,) = re.findall(r'src="([^"]+)"', "".join(shown))
    result = json.loads((tmp_path / "eval_log/eval.json").read_text())
    assert f"mIoU {100 * result['miou']:.1f} %" in (tmp_path / page).read_text()
