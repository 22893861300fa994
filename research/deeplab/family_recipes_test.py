"""Tests of the recipes of the DeepLab family, from training to export, on a drawn image."""

import json

import numpy as np
import pytest

from deeplab import eval as eval_script
from deeplab import export_model, recipes_test, train, vis
from deeplab.testing import tiny
from deeplab.zoo import flag_files

# The recipes of the family, and v3+ as its paper compares it with v3.
_FOLDERS = [*recipes_test.FAMILY, "resnet_v1_101_beta_imagenet"]
# An export takes as long as everything else, so only these are exported.
_EXPORTED = ("deeplab_v1_msc_largefov", "deeplab_v3_resnet101_cascade")


@pytest.fixture(autouse=True)
def _quick():
    """Use fewer units per block and filters, and no tracing, which takes longer than a step.

    An export has few signatures for the same reason.
    """
    with tiny.shallow(), tiny.narrow(), tiny.eager(), tiny.few_signatures():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> list[str]:
    """Return the flags of a dataset with the splits that the recipes name."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    label = np.kron(random.integers(0, 3, (3, 3)), np.ones((11, 14), int))[:, :41]
    for split in ("train_aug", "val"):
        sample = tiny.picture(33, 41), label.astype(np.uint8)
        tiny.write_records(folder, {"drawn": sample}, split)
    description = {"name": "drawn", "num_classes": 3, "ignore_label": 255}
    (folder / "drawn.json").write_text(json.dumps(description))
    return [f"--dataset={folder / 'drawn.json'}", f"--dataset_dir={folder}"]


@pytest.mark.slow
@pytest.mark.parametrize("folder", _FOLDERS)
def test_a_recipe_trains_evaluates_shows_and_exports(folder, data, tmp_path):
    recipe, trained = flag_files.RECIPES / folder, tmp_path / "train"

    def run(script, file, *arguments):
        tiny.run(script, f"--flagfile={recipe / file}", *arguments)

    run(
        train,
        "train.txt",
        *data,
        f"--train_logdir={trained}",
        "--train_crop_size=33,33",
        "--train_batch_size=1",
        "--training_number_of_steps=1",
    )
    for file in ("eval.txt", "eval_crf.txt"):
        results = tmp_path / file
        run(
            eval_script,
            file,
            *data,
            f"--checkpoint_dir={trained}",
            f"--eval_logdir={results}",
            "--eval_crop_size=33,41",
            "--max_number_of_evaluations=1",
        )
        assert 0 <= json.loads((results / "eval.json").read_text())["miou"] <= 1
    run(
        vis,
        "vis_crf.txt" if (recipe / "vis_crf.txt").exists() else "vis.txt",
        *data,
        f"--checkpoint_dir={trained}",
        f"--vis_logdir={tmp_path / 'vis'}",
        "--vis_crop_size=33,41",
        "--max_number_of_iterations=1",
    )
    assert len(list((tmp_path / "vis" / "segmentation_results").glob("*.png"))) >= 4
    if folder not in _EXPORTED:
        return
    # Its crop size is that of photographs; the export is compared with the network at it.
    network = [flag for flag in flag_files.read(recipe / "export.txt") if "crop_size=" not in flag]
    tiny.run(
        export_model,
        *network,
        "--crop_size=33",
        "--crop_size=33",
        data[0],
        "--num_classes=3",
        f"--checkpoint_path={trained}",
        f"--export_path={tmp_path / 'export'}",
    )
    assert (tmp_path / "export" / "saved_model.pb").exists()
