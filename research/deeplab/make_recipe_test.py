import json
import os
import subprocess
import sys

import numpy as np
import pytest

from deeplab import eval as eval_script
from deeplab import export_model, make_recipe, model, train, vis
from deeplab.testing import tiny

_LIMITS = ("--minutes=0.5", "--memory_gb=8")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with records and a checkpoint of other classes."""
    folder = tmp_path_factory.mktemp("root")
    for split, count in (("train", 6), ("val", 2)):
        samples = {}
        for index in range(count):
            label = np.random.default_rng(index).integers(0, 3, (40, 60)).astype(np.uint8)
            samples[f"{split}_{index}"] = (tiny.picture(40, 60, index), label)
        tiny.write_records(folder, samples, split=split)
    three = tiny.DATASET.__class__("three", 3, 255, {}, ("a", "b", "c"))
    three.save(folder / "three.json")
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


@pytest.mark.slow
def test_a_recipe_is_made_and_every_script_takes_its_files(root, tmp_path):
    """The measured steps are made in another process, which a test cannot make shallow."""
    recipe = tmp_path / "recipe"
    done = subprocess.run(
        [sys.executable, "-m", "deeplab.make_recipe", *_flags(root, recipe)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(make_recipe.__file__))},
    )
    assert done.returncode == 0, done.stderr
    assert "next:\n  deeplab-train --flagfile=" in done.stdout
    assert sorted(os.listdir(recipe)) == [
        *("eval.txt", "export.txt", "facts.json", "train.txt", "vis.txt")
    ]
    facts = json.loads((recipe / "facts.json").read_text())["facts"]
    assert facts["measurements"][0]["peak_bytes"] > facts["idle_bytes"] > 0
    log = tmp_path / "log"
    steps = "--training_number_of_steps=2"
    tiny.run(train, f"--flagfile={recipe}/train.txt", f"--train_logdir={log}", steps)
    folder = f"--checkpoint_dir={log}"
    tiny.run(eval_script, f"--flagfile={recipe}/eval.txt", folder, f"--eval_logdir={tmp_path}/eval")
    assert json.loads((tmp_path / "eval/eval.json").read_text())["num_images"] == 2
    tiny.run(vis, f"--flagfile={recipe}/vis.txt", folder, f"--vis_logdir={tmp_path}/vis")
    tiny.run(
        export_model,
        f"--flagfile={recipe}/export.txt",
        f"--checkpoint_path={log}",
        f"--export_path={tmp_path}/export",
    )
    assert (tmp_path / "export/saved_model.pb").exists()


def test_images_without_labels_are_refused_before_steps_are_measured(root, tmp_path):
    tiny.write_records(tmp_path, {"bare": (tiny.picture(20, 20), None)}, split="train")
    with pytest.raises(ValueError, match="1 of the 1 images of --train_split=train have no label"):
        tiny.run(make_recipe, *_flags(root, tmp_path / "recipe", f"--dataset_dir={tmp_path}"))
    assert not (tmp_path / "recipe").exists()


def test_a_missing_split_is_named_before_steps_are_measured(root, tmp_path):
    with pytest.raises(FileNotFoundError, match="no file matches .*nothing-"):
        tiny.run(make_recipe, *_flags(root, tmp_path / "recipe", "--eval_split=nothing"))
