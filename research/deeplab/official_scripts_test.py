"""Tests of the official shell scripts: the commands that they run, and their flags."""

import importlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile

import pytest

from deeplab import common, model
from deeplab.testing import golden, tiny
from deeplab.utils import checkpoint, checkpoint_files
from deeplab.zoo import flag_files

_PACKAGE = pathlib.Path(__file__).resolve().parent
# Replaces Python: records its arguments, and makes the files of a download.
_RECORDER = """#!{python}
import json, os, pathlib, sys
with open({log!r}, "a") as file:
    print(json.dumps([os.getcwd(), *sys.argv[1:]]), file=file)
flags = dict(word[2:].split("=", 1) for word in sys.argv[3:] if "=" in word)
if "download" in flags:
    folder = pathlib.Path(flags["output_dir"], flags["download"], "unpacked")
    folder.mkdir(parents=True)
    (folder / "model.ckpt-30000.index").touch()
"""
_SCRIPTS = (
    "datasets/download_and_convert_voc2012.sh",
    "datasets/download_and_convert_ade20k.sh",
    "datasets/convert_cityscapes.sh",
    "local_test.sh",
    "local_test_mobilenetv2.sh",
)


@pytest.fixture
def package(tmp_path) -> pathlib.Path:
    """Copy the scripts, so that they do not write into the checkout."""
    folder = tmp_path / "research" / "deeplab"
    for script in _SCRIPTS:
        (folder / script).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(_PACKAGE / script, folder / script)
    (folder / "recipes").symlink_to(flag_files.RECIPES)
    return folder


def _commands(script: pathlib.Path, **environment: str) -> list[tuple[str, str, list[str]]]:
    """Run a script in its folder; return each module that it runs, where, and the arguments."""
    programs = script.parent / "programs"
    programs.mkdir()
    log = programs / "log"
    (programs / "python").write_text(_RECORDER.format(python=sys.executable, log=str(log)))
    (programs / "python").chmod(0o755)
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, **environment}
    subprocess.run(["bash", script.name], cwd=script.parent, env=environment, check=True)
    commands = []
    for line in log.read_text().splitlines():
        folder, option, module, *arguments = json.loads(line)
        assert option == "-m"
        commands.append((module, folder, arguments))
    return commands


def _record(script: pathlib.Path) -> list[tuple[str, dict[str, str]]]:
    """Run a script in its folder; return each module that it runs, and the flags."""
    commands = []
    for module, _, arguments in _commands(script):
        # Fails where a flag is unknown or has a wrong value.
        values = tiny.parse(importlib.import_module(module), arguments)
        given = (word.partition("=") for word in arguments if not word.startswith("--flagfile"))
        commands.append((module, {name[2:]: values[name[2:]].value for name, _, _ in given}))
    return commands


@pytest.mark.parametrize("script", _SCRIPTS)
def test_a_script_calls_commands_with_flags_that_they_have(package, script):
    assert _record(package / script)


@pytest.mark.parametrize(
    ("script", "url", "folder"),
    [
        (
            "voc2012",
            "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
            "./pascal_voc_seg",
        ),
        (
            "ade20k",
            "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
            "./ADE20K",
        ),
    ],
)
def test_data_comes_from_the_official_address_into_the_official_folder(
    package, script, url, folder
):
    (module, flags), *_, (_, converter) = _record(
        package / f"datasets/download_and_convert_{script}.sh"
    )
    assert module == "deeplab.datasets.download_data"
    assert flags == {"url": url, "output_dir": folder}
    assert converter["output_dir"] == f"{folder}/tfrecord"


@pytest.mark.parametrize(
    ("script", "variant", "experiment"),
    [
        ("local_test.sh", "xception65_coco_voc_trainaug", "train_on_trainval_set"),
        (
            "local_test_mobilenetv2.sh",
            "mobilenetv2_coco_voc_trainaug",
            "train_on_trainval_set_mobilenetv2",
        ),
    ],
)
def test_the_local_tests_have_the_official_settings_and_folders(
    package, script, variant, experiment
):
    commands = dict(_record(package / script))
    data = package / "datasets/pascal_voc_seg"
    folder = data / "exp" / experiment
    train = commands["deeplab.train"]
    assert train == {
        "train_split": "trainval",
        "train_batch_size": 4,
        "base_learning_rate": 0.0001,
        "training_number_of_steps": 10,
        "tf_initial_checkpoint": f"{data}/init_models/{variant}/unpacked/model.ckpt-30000",
        "train_logdir": f"{folder}/train",
        "dataset_dir": f"{data}/tfrecord",
    }
    assert commands["deeplab.eval"]["eval_logdir"] == f"{folder}/eval"
    assert commands["deeplab.vis"]["vis_logdir"] == f"{folder}/vis"
    assert commands["deeplab.export_model"] == {
        "checkpoint_path": f"{folder}/train/model.ckpt-10",
        "export_path": f"{folder}/export/frozen_inference_graph.pb",
    }


# The images have 40x50 pixels, not the hundreds of those that the commands are meant for.
_SMALL_CROPS = {
    "deeplab.train": ["--train_crop_size=33,33"],
    "deeplab.eval": ["--eval_crop_size=65,65"],
    "deeplab.vis": ["--vis_crop_size=65,65"],
    "deeplab.export_model": ["--crop_size=65", "--crop_size=65"],
}


@pytest.mark.slow
def test_the_local_test_of_mobilenetv2_runs(package, tmp_path, monkeypatch):
    """One step of training, from an archive and a checkpoint that need no download.

    The script's commands run in this process, where they find a minimal network.
    """
    data = package / "datasets/pascal_voc_seg"
    voc = tmp_path / "voc"
    samples = [tiny.picture(40, 50, seed) for seed in range(4)]
    root = voc / "VOCdevkit/VOC2012"
    for split, names in (("trainval", range(4)), ("val", range(2))):
        for name in names:
            for kind, extension, pixels in (
                ("JPEGImages", "jpg", samples[name]),
                ("SegmentationClass", "png", samples[name][..., 0] // 16),
            ):
                path = root / kind / f"{name}.{extension}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(tiny.png(pixels))
        path = root / f"ImageSets/Segmentation/{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(map(str, names)))
    data.mkdir()
    with tarfile.open(data / "VOCtrainval_11-May-2012.tar", "w") as archive:
        archive.add(voc / "VOCdevkit", "VOCdevkit")
    commands = _commands(package / "local_test_mobilenetv2.sh", NUM_ITERATIONS="1")
    with tiny.minimal(), tiny.eager():
        net = model.DeepLab(common.ModelOptions(), random_weights=False)
        golden.assign(checkpoint.official_variables(net))
        folder = data / "init_models/mobilenetv2_coco_voc_trainaug/unpacked"
        tiny.save(net, folder, 30000, with_options=False)
        for module, folder, arguments in commands:
            monkeypatch.chdir(folder)
            small = _SMALL_CROPS.get(module, [])
            tiny.run(importlib.import_module(module), *arguments, *small)
    results = data / "exp/train_on_trainval_set_mobilenetv2"
    assert checkpoint_files.names(str(results / "train"))[-1] == "model.ckpt-1"
    assert (results / "eval/eval.json").is_file()
    assert list((results / "vis/segmentation_results").glob("*_prediction.png"))
    assert (results / "export/frozen_inference_graph.pb").is_file()
