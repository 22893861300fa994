"""Every script works in a folder with any name, and in other file systems than the local one."""

import functools
import json
import os

import numpy as np
import pytest
import tensorflow as tf

from deeplab import convert_to_tflite, export_model, model, predict, train, vis
from deeplab import eval as eval_script
from deeplab.testing import tiny
from deeplab.utils import checkpoint, checkpoint_files

_NETWORK = ("--depth_multiplier=0.1", "--aspp_convs_filters=8", "--train_crop_size=33,33")


@functools.cache
def _network() -> model.DeepLab:
    return tiny.network()


def _write_data(folder: str) -> None:
    for split, count in (("train", 4), ("val", 2)):
        samples = {}
        for index in range(count):
            label = np.random.default_rng(index).integers(0, 4, (33, 33)).astype(np.uint8)
            samples[f"{split}_{index}"] = (tiny.picture(33, 33, index), label)
        tiny.write_records(folder, samples, split=split)
    tiny.DATASET.save(os.path.join(folder, "tiny.json"))


def _copy(source: str, target: str) -> None:
    tf.io.gfile.makedirs(target)
    for name in os.listdir(source):
        tf.io.gfile.copy(os.path.join(source, name), f"{target}/{name}")


@pytest.fixture(autouse=True)
def _minimal():
    with tiny.minimal():
        yield


# Folders of which a pattern would match nothing, or others; and a file system of TensorFlow.
@pytest.fixture(
    params=["run [1]*?/a{b}", "ram://folders_test/run"],
    ids=["wildcards", "remote"],
)
def root(request, tmp_path):
    """A folder that holds a dataset."""
    path = request.param
    if "://" in path:
        # It lives as long as the process.
        path += f"_{request.node.originalname}"
    if "://" not in path:
        path = os.path.join(tmp_path, path)
        # What patterns would match.
        os.makedirs(os.path.join(tmp_path, "run 1xy", "a{b}"))
    _write_data(os.path.join(tmp_path, "data"))
    _copy(os.path.join(tmp_path, "data"), f"{path}/data")
    return path


def _read_json(path: str) -> dict:
    with tf.io.gfile.GFile(path) as file:
        return json.load(file)


@pytest.mark.slow
def test_a_network_is_trained_resumed_evaluated_shown_and_exported(root, tmp_path, caplog):
    caplog.set_level("INFO", logger="absl")
    data = (f"--dataset={root}/data/tiny.json", f"--dataset_dir={root}/data")
    logdir = f"{root}/train"
    for steps in (2, 4):
        with tiny.eager():
            tiny.run(
                train,
                *data,
                *_NETWORK,
                f"--train_logdir={logdir}",
                "--train_batch_size=2",
                f"--training_number_of_steps={steps}",
                "--save_interval_secs=0",
                "--eval_every=2",
                "--eval_crop_size=33,33",
            )
    assert "step 2 of " in caplog.text
    # Saved after each step, of which five stay; the second run went on from the second step.
    assert checkpoint_files.names(logdir) == [f"model.ckpt-{step}" for step in range(1, 5)]
    assert checkpoint.global_step(checkpoint.read(logdir)) == 4
    assert tf.io.gfile.exists(f"{logdir}/model_options.json")
    assert _read_json(f"{logdir}/run_record.json")["train_batch_size"] == 2
    assert "the run began with" not in caplog.text
    best = _read_json(f"{logdir}/best/eval.json")
    assert checkpoint_files.names(f"{logdir}/best") == [f"model.ckpt-{best['step']}"]

    with tiny.eager():
        tiny.run(
            eval_script,
            *data,
            f"--checkpoint_dir={logdir}",
            f"--eval_logdir={root}/eval",
            "--eval_crop_size=33,33",
            "--max_number_of_evaluations=1",
        )
        tiny.run(
            vis,
            *data,
            f"--checkpoint_dir={logdir}/model.ckpt-3",
            f"--vis_logdir={root}/vis",
            "--vis_crop_size=33,33",
            "--also_save_raw_predictions",
            "--max_number_of_iterations=1",
        )
    assert _read_json(f"{root}/eval/eval.json")["step"] == 4
    pictures = tf.io.gfile.listdir(f"{root}/vis/segmentation_results")
    assert len(pictures) == 8
    assert len(tf.io.gfile.listdir(f"{root}/vis/raw_segmentation_results")) == 2
    with tiny.few_signatures(), tiny.unoptimized():
        for name in ("1", "graph.pb"):
            tiny.run(
                export_model,
                f"--dataset={root}/data/tiny.json",
                f"--checkpoint_path={logdir}",
                f"--export_path={root}/export/{name}",
            )
        tiny.run(
            convert_to_tflite,
            f"--quantized_graph_def_path={root}/export/graph.pb",
            f"--output_tflite_path={root}/export/model.tflite",
        )
    assert tf.io.gfile.stat(f"{root}/export/model.tflite").length > 1000
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(tiny.png(tiny.picture(33, 33)))
    with tiny.unoptimized():
        tiny.run(
            predict,
            f"--export_path={root}/export/1",
            f"--images={tmp_path}/photos",
            f"--output_dir={root}/predictions",
        )
    assert len(tf.io.gfile.listdir(f"{root}/predictions")) == 4
    # Nothing is left in a folder of that name on this machine, nor in those that patterns match.
    assert not os.path.exists("ram:")
    assert sorted(os.listdir(tmp_path)) in (
        ["data", "photos"],
        ["data", "photos", "run 1xy", "run [1]*?"],
    )
    assert tiny.files(tmp_path / "run 1xy") == []


def test_no_more_checkpoints_stay_than_asked_for(root):
    variables = {"value": tf.Variable(1.0)}
    for step in range(4):
        checkpoint.save(f"{root}/few", step, variables, max_to_keep=2)
    assert checkpoint_files.names(f"{root}/few") == ["model.ckpt-2", "model.ckpt-3"]


def test_a_remote_export_is_not_replaced(root):
    if "://" not in root:
        pytest.skip("folders of this file system are replaced")
    path = tiny.save(_network(), f"{root}/trained", 1)
    tf.io.gfile.makedirs(f"{root}/served/1")
    with tf.io.gfile.GFile(f"{root}/served/1/saved_model.pb", "w") as file:
        file.write("an earlier export")
    with pytest.raises(ValueError, match=r"--export_path=ram://.*/served/1 is there.*cannot be"):
        tiny.run(export_model, f"--checkpoint_path={path}", f"--export_path={root}/served/1")
    assert tf.io.gfile.listdir(f"{root}/served/1") == ["saved_model.pb"]


@pytest.mark.parametrize("script", ["train", "eval", "vis", "export_model"])
def test_an_unknown_file_system_is_named_and_no_folder_made(tmp_path, monkeypatch, script):
    monkeypatch.chdir(tmp_path)
    _write_data(str(tmp_path / "data"))
    path = tiny.save(_network(), tmp_path / "trained", 1)
    data = (f"--dataset={tmp_path}/data/tiny.json", f"--dataset_dir={tmp_path}/data")
    module, flags = {
        "train": (train, (*data, *_NETWORK, "--train_logdir=xyz://a/b")),
        "eval": (eval_script, (*data, f"--checkpoint_dir={path}", "--eval_logdir=xyz://a/b")),
        "vis": (vis, (*data, f"--checkpoint_dir={path}", "--vis_logdir=xyz://a/b")),
        "export_model": (export_model, (f"--checkpoint_path={path}", "--export_path=xyz://a/b")),
    }[script]
    before = sorted(os.listdir(tmp_path))
    with pytest.raises((ValueError, tf.errors.OpError), match="scheme 'xyz' not implemented"):
        tiny.run(module, *flags)
    assert sorted(os.listdir(tmp_path)) == before
