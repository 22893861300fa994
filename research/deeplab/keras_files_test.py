"""Every script takes a DeepLab saved by Keras where it takes a checkpoint."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from deeplab import convert_to_tflite, export_model, model_info, predict, train, vis
from deeplab import eval as eval_script
from deeplab.testing import tiny
from deeplab.utils import checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a network in each form, and a tiny dataset."""
    folder = tmp_path_factory.mktemp("saved")
    with tiny.minimal():
        net = tiny.network()
    tiny.save(net, folder / "train_log", 7)
    net.save(folder / "net.keras")
    os.mkdir(folder / "weights")
    net.save_weights(folder / "weights" / "net.weights.h5")
    samples = {}
    for index in range(2):
        label = np.random.default_rng(index).integers(0, 4, (36, 40)).astype(np.uint8)
        samples[f"val_{index}"] = (tiny.picture(36, 40, index), label)
    tiny.write_records(folder / "records", samples)
    tiny.DATASET.save(folder / "tiny.json")
    return folder


@pytest.fixture
def data(folder):
    return f"--dataset={folder}/tiny.json", f"--dataset_dir={folder}/records"


_FORMS = {
    "train_log/model.ckpt-7": (),
    "net.keras": (),
    "weights/net.weights.h5": tiny.NETWORK_FLAGS,
}


@pytest.mark.slow
def test_evaluation_has_the_same_counts(folder, data, tmp_path):
    results = []
    for name, flags in _FORMS.items():
        log = tmp_path / os.path.basename(name)
        with tiny.minimal(), tiny.eager():
            tiny.run(
                eval_script,
                *data,
                *flags,
                f"--checkpoint_dir={folder}/{name}",
                f"--eval_logdir={log}",
                "--eval_crop_size=49,49",
            )
        results.append(json.loads((log / "eval.json").read_text())["confusion_matrix"])
    assert results[0] == results[1] == results[2]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["net.keras", "weights/net.weights.h5"])
def test_it_is_shown_exported_and_trained_on(folder, data, tmp_path, name):
    path, flags = f"{folder}/{name}", _FORMS[name]
    with tiny.minimal(), tiny.few_signatures(), tiny.unoptimized():
        tiny.run(
            export_model,
            *flags,
            "--num_classes=4",
            f"--checkpoint_path={path}",
            f"--export_path={tmp_path}/export",
        )
    assert checkpoint.load_options(f"{tmp_path}/export").num_classes == 4
    with tiny.minimal(), tiny.eager():
        tiny.run(
            vis,
            *data,
            *flags,
            f"--checkpoint_dir={path}",
            f"--vis_logdir={tmp_path}/vis",
            "--vis_split=val",
            "--vis_crop_size=49,49",
        )
        assert len(os.listdir(tmp_path / "vis/segmentation_results")) == 8
        tiny.run(
            train,
            *data,
            *tiny.NETWORK_FLAGS,
            "--train_split=val",
            "--train_batch_size=1",
            "--train_crop_size=33,33",
            "--training_number_of_steps=1",
            "--base_learning_rate=0",
            f"--tf_initial_checkpoint={path}",
            f"--train_logdir={tmp_path}/train",
        )
    first, last = checkpoint.read(path, tiny.OPTIONS), checkpoint.read(f"{tmp_path}/train")
    weights = "logits/semantic/weights"
    with tiny.minimal():
        np.testing.assert_array_equal(first.get_tensor(weights), last.get_tensor(weights))


def test_model_info_reads_the_options(folder, capsys):
    with tiny.minimal():
        tiny.run(model_info, f"--checkpoint_dir={folder}/net.keras", "--crop_size=33,33")
    assert "4 classes" in capsys.readouterr().out
    (folder / "net.pth").write_bytes(b"\x80\x02")
    with pytest.raises(ValueError, match="net.pth is a file of PyTorch; give a checkpoint"):
        tiny.run(model_info, f"--checkpoint_dir={folder}/net.pth")


@pytest.mark.parametrize("name", _FORMS)
def test_predict_takes_it_and_what_needs_an_export_says_how_to_make_one(folder, tmp_path, name):
    path = f"{folder}/{name}"
    (tmp_path / "a.png").write_bytes(tiny.png(tiny.picture(33, 33)))
    arguments = f"--export_path={path}", f"--images={tmp_path}", f"--output_dir={tmp_path}/out"
    with tiny.minimal(), tiny.eager():
        if _FORMS[name]:
            with pytest.raises(ValueError, match="the network is not known: export it with"):
                tiny.run(predict, *arguments)
        else:
            tiny.run(predict, *arguments, "--outputs=labels")
            assert tiny.read_png(tmp_path / "out" / "a_labels.png").shape == (33, 33)
    export = (
        f"is a checkpoint.*: export it first, with deeplab-export-model --checkpoint_path={path}"
    )
    with pytest.raises(ValueError, match=export):
        tiny.run(convert_to_tflite, f"--quantized_graph_def_path={path}")


def test_a_folder_with_files_of_keras_only_is_no_endless_wait(folder, data, tmp_path, monkeypatch):
    monkeypatch.setattr("deeplab.evaluation.checkpoint_waiter._LOOK_EVERY_SECS", 0.01)
    message = f"name one checkpoint: --checkpoint_dir={folder}/weights/net.weights.h5"
    with pytest.raises(FileNotFoundError, match=message):
        tiny.run(
            eval_script,
            *data,
            f"--checkpoint_dir={folder}/weights",
            f"--eval_logdir={tmp_path}",
        )


@pytest.mark.slow
def test_a_command_shows_no_remarks_of_tensorflow():
    root = os.path.dirname(os.path.dirname(os.path.abspath(model_info.__file__)))
    environment = {
        name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"
    }
    done = subprocess.run(
        [sys.executable, "-m", "deeplab.model_info", "--depth_multiplier=0.1", "--crop_size=33,33"],
        env={**environment, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert "mobilenet_v2" in done.stdout
