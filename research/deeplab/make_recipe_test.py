import json

import numpy as np
import pytest

from deeplab import eval as eval_script
from deeplab import make_recipe, model, train
from deeplab.datasets.descriptors import DatasetDescriptor
from deeplab.testing import tiny
from deeplab.training.recipe import measuring
from deeplab.training.recipe.facts import Measurement

_LIMITS = ("--minutes=0.5", "--memory_gb=8")


@pytest.fixture(autouse=True)
def minimal():
    """Build minimal networks, the checkpoint's and those of the scripts."""
    with tiny.minimal():
        yield


@pytest.fixture
def root(tmp_path_factory):
    """A folder with records and a checkpoint of other classes; made once."""
    folder = tmp_path_factory.getbasetemp() / "recipe_root"
    if folder.exists():
        return folder
    for split, count in (("train", 6), ("val", 2)):
        samples = {}
        for index in range(count):
            label = np.random.default_rng(index).integers(0, 3, (40, 60)).astype(np.uint8)
            samples[f"{split}_{index}"] = (tiny.picture(40, 60, index), label)
        tiny.write_records(folder, samples, split=split)
    DatasetDescriptor("three", 3, 255, {}, ("a", "b", "c")).save(folder / "three.json")
    tiny.save(model.DeepLab(tiny.OPTIONS), folder / "start", 0)
    return folder


def _flags(root, output_dir, *more):
    return (
        f"--dataset={root}/three.json",
        f"--dataset_dir={root}",
        f"--tf_initial_checkpoint={root}/start",
        f"--output_dir={output_dir}",
        *_LIMITS,
        *more,
    )


def _measured(request):
    step = Measurement(
        crop_size=request.crop_size, batch_size=4, seconds=0.01, peak_bytes=2 * 10**9
    )
    return measuring.Measured(memory_bytes=request.memory_bytes, measurements=[step])


@pytest.mark.slow
def test_training_and_evaluation_take_the_files(root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measuring, "measure", _measured)
    recipe, log = tmp_path / "recipe", tmp_path / "log"
    tiny.run(make_recipe, *_flags(root, recipe))
    assert f"next:\n  deeplab-train --flagfile={recipe}/train.txt" in capsys.readouterr().out
    names = ["eval.txt", "export.txt", "facts.json", "train.txt", "vis.txt"]
    assert tiny.files(recipe) == names
    written = [(recipe / name).read_bytes() for name in names]
    tiny.run(make_recipe, *_flags(root, recipe))
    assert [(recipe / name).read_bytes() for name in names] == written
    steps = "--training_number_of_steps=2"
    with tiny.eager():
        tiny.run(train, f"--flagfile={recipe}/train.txt", f"--train_logdir={log}", steps)
        tiny.run(
            eval_script,
            f"--flagfile={recipe}/eval.txt",
            f"--checkpoint_dir={log}",
            f"--eval_logdir={tmp_path}/eval",
        )
    assert json.loads((tmp_path / "eval/eval.json").read_text())["images"] == 2


def test_a_network_without_memory_is_refused(root, tmp_path, monkeypatch):
    sizes = []

    def killed(request):
        sizes.append(request.crop_size)
        return measuring.Measured()

    monkeypatch.setattr(measuring, "measure", killed)
    with pytest.raises(ValueError, match="one crop of 17x17 pixels does not fit"):
        tiny.run(make_recipe, *_flags(root, tmp_path / "recipe"))
    # The smallest crops were tried, too.
    assert sizes == [33, 17]
    assert not (tmp_path / "recipe").exists()


def test_few_steps_are_told(root, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(measuring, "measure", _measured)
    tiny.run(make_recipe, *_flags(root, tmp_path / "recipe", "--minutes=0.001"))
    assert "0.001 minutes are enough for 83 steps; new classes take 250 or more" in caplog.text


def test_images_without_labels_are_refused_before_steps_are_measured(root, tmp_path):
    for split in ("train", "val"):
        tiny.write_records(tmp_path, {"bare": (tiny.picture(20, 20), None)}, split=split)
    with pytest.raises(ValueError, match="1 of 1 image of --train_split=train has no label"):
        tiny.run(make_recipe, *_flags(root, tmp_path / "recipe", f"--dataset_dir={tmp_path}"))
    assert not (tmp_path / "recipe").exists()


def test_a_folder_that_cannot_be_written_is_named_before_anything_is_read(root, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="--output_dir=.*/file/recipe cannot be written: "):
        tiny.run(make_recipe, *_flags(root, tmp_path / "file/recipe", "--dataset_dir=nowhere"))


def test_a_missing_split_is_named_before_steps_are_measured(root, tmp_path):
    with pytest.raises(FileNotFoundError, match="no file matches .*nothing-"):
        tiny.run(make_recipe, *_flags(root, tmp_path / "recipe", "--eval_split=nothing"))
