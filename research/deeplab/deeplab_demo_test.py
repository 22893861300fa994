"""Tests of the demo notebook: its commands, its links, and a run."""

import importlib
import json
import pathlib
import re
import shlex
import shutil

import numpy as np
import pytest

from deeplab import common, model, model_zoo
from deeplab.testing import golden, notebook, tiny
from deeplab.utils import checkpoint
from deeplab.zoo import published_checkpoints

_NOTEBOOK = pathlib.Path(__file__).parent / "deeplab_demo.ipynb"
_NAME = "mobilenetv2_coco_voc_trainaug"
_CELLS = json.loads(_NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def _commands() -> dict[str, list[str]]:
    """Return the arguments of each command in the code, by module."""
    (cell,) = [cell for cell in _CELLS if notebook.code(cell).startswith("!")]
    lines = notebook.code(cell).replace("\\\n", " ").splitlines()
    words = [shlex.split(line.removeprefix("!")) for line in lines]
    return {module: arguments for python, option, module, *arguments in words}


def test_the_commands_take_their_flags_and_name_a_published_network():
    parsed = {
        module: tiny.parse(importlib.import_module(module), arguments)
        for module, arguments in _commands().items()
    }
    published = published_checkpoints.get(_NAME)
    assert parsed["deeplab.model_zoo"].download == published.name
    assert published.name in parsed["deeplab.export_model"].checkpoint_path
    assert parsed["deeplab.export_model"].model_variant == published.model_variant


def test_the_links_lead_somewhere():
    text = "".join(notebook.code(cell) for cell in _CELLS if cell["cell_type"] == "markdown")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    for link in links:
        assert (_NOTEBOOK.parent / link).exists(), link


def test_the_notebook_is_without_outputs():
    """Outputs would show photographs of other owners."""
    assert not [cell for cell in _CELLS if cell.get("outputs") or cell.get("execution_count")]


@pytest.mark.slow
def test_the_notebook_labels_photographs(tmp_path, monkeypatch):
    """Published weights and photographs are used if they are available."""
    (prefix,) = [
        word.partition("=")[2]
        for word in _commands()["deeplab.export_model"]
        if word.startswith("--checkpoint_path=")
    ]
    folder = (tmp_path / prefix).parent
    folder.mkdir(parents=True)
    published = golden.SHARED / "data/checkpoints/deeplabv3_mnv2_pascal"
    if published.is_dir():
        for file in published.glob("model.ckpt.*"):
            shutil.copy(file, tmp_path / (prefix + file.name.removeprefix("model.ckpt")))
    else:
        net = model.DeepLab(common.ModelOptions())
        golden.assign(checkpoint.official_variables(net))
        checkpoint.save(str(folder), 30000, checkpoint.official_variables(net))
    images = tmp_path / "images"
    images.mkdir()
    photographs = golden.SHARED / "data/voc_mini/VOCdevkit/VOC2012/JPEGImages"
    if photographs.is_dir():
        shutil.copy(photographs / "2011_000025.jpg", images)
    else:
        (images / "picture.png").write_bytes(tiny.png(tiny.picture(50, 60)))
    # Images of the crop size are what an export is compared on.
    text = _NOTEBOOK.read_text(encoding="utf-8")
    assert text.count("--crop_size=513") == 2
    (tmp_path / _NOTEBOOK.name).write_text(text.replace("--crop_size=513", "--crop_size=129"))
    monkeypatch.chdir(tmp_path)

    def run_module(module, arguments):
        tiny.run(importlib.import_module(module), *arguments)

    with tiny.unoptimized():
        run, names = notebook.run(_NOTEBOOK.name, run_module)

    labels = names["labels"]
    assert labels.ndim == 2
    kinds = {
        kind
        for cell in run["cells"]
        for out in cell.get("outputs", [])
        for kind in out.get("data", {})
    }
    assert "image/png" in kinds
    assert model_zoo.find_checkpoints(_NAME) == [prefix]
    if published.is_dir() and photographs.is_dir():
        seen = {names["classes"].class_names[label] for label in np.unique(labels)}
        assert {"background", "bus", "car"} <= seen
