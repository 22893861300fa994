"""A card says what an export is, with numbers of that very checkpoint only."""

import hashlib
import json

import keras
import pytest

from deeplab import common
from deeplab.export import model_card
from deeplab.testing import tiny
from deeplab.utils import checkpoint

_OPTIONS = common.ModelOptions(num_classes=4, output_stride=8)
_RESULT = {
    "step": 7,
    "dataset": "tiny",
    "split": "val",
    "images": 3,
    "miou": 0.61234,
    "pixel_accuracy": 0.9,
    "classes": [
        {"id": 0, "name": "ground", "iou": 0.75},
        {"id": 1, "name": "disc", "iou": None},
    ],
}


@pytest.fixture
def trained(tmp_path):
    """The folder of a checkpoint of step 7."""
    folder = str(tmp_path / "train")
    checkpoint.save(folder, 7, {"weight": keras.Variable([1.0], name="weight")})
    return tmp_path / "train"


@pytest.fixture
def export(tmp_path):
    folder = tmp_path / "export" / "1"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.index").write_bytes(b"values")
    return folder


def _write(export_path, *arguments) -> None:
    with open(model_card.path_of(export_path), "w", encoding="utf-8") as file:
        file.write(model_card.text(export_path, *arguments))


def _card(path) -> tuple[dict[str, str], str]:
    """Return the metadata, as JSON where they are that, and the text."""
    before, metadata, text = path.read_text().split("---\n", 2)
    assert before == ""
    return dict(line.split(": ", 1) for line in metadata.splitlines()), text


@pytest.mark.parametrize("place", ["eval.json", "eval/eval-7.json"])
def test_a_card_has_the_metrics_of_its_checkpoint(trained, export, place):
    (trained / place).parent.mkdir(exist_ok=True)
    (trained / place).write_text(json.dumps(_RESULT))
    command = ["deeplab-export-model", "--export_path=a b"]
    _write(str(export), str(trained), _OPTIONS, tiny.DATASET, command)
    metadata, text = _card(export / "MODEL_CARD.md")
    assert metadata["pipeline_tag"] == "image-segmentation"
    (model,) = json.loads(metadata["model-index"])
    (result,) = model["results"]
    assert result["dataset"] == {"name": "tiny", "type": "tiny", "split": "val"}
    values = {each["type"]: each["value"] for each in result["metrics"]}
    assert values == {"mean_iou": 0.6123, "accuracy": 0.9}
    assert "`model.ckpt-7`, step 7" in text
    assert "0 ground, 1 disc, 2 square, 3 star" in text
    assert "| mIoU | 61.23 % |\n| pixel accuracy | 90.00 % |\n| IoU of ground | 75.00 % |" in text
    assert "IoU of disc" not in text
    assert "deeplab-export-model '--export_path=a b'" in text
    for name, data in (("saved_model.pb", b"graph"), ("variables/variables.index", b"values")):
        assert f"| {name} | `{hashlib.sha256(data).hexdigest()}` |" in text
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    front = (export / "MODEL_CARD.md").read_text().split("---\n")[1]
    assert yaml.safe_load(front)["model-index"] == [model]
    # A card does not list itself when it is written again.
    _write(str(export), str(trained), _OPTIONS, tiny.DATASET, command)
    assert _card(export / "MODEL_CARD.md") == (metadata, text)


def test_a_card_has_no_metrics_of_another_step(trained, export):
    (trained / "eval.json").write_text(json.dumps(_RESULT | {"step": 6}))
    (trained / "eval").mkdir()
    (trained / "eval" / "eval-7.json").write_text("{")
    _write(str(export), str(trained / "model.ckpt-7"), _OPTIONS)
    metadata, text = _card(export / "MODEL_CARD.md")
    assert "model-index" not in metadata
    assert "There was no evaluation of this step" in text
    assert "61.23" not in text
    assert "## Command" not in text


def test_a_metric_that_no_pixel_has_is_left_out(trained, export):
    empty = {"miou": None, "pixel_accuracy": None, "classes": []}
    (trained / "eval.json").write_text(json.dumps(_RESULT | empty))
    _write(str(export), str(trained), _OPTIONS)
    metadata, text = _card(export / "MODEL_CARD.md")
    assert "model-index" not in metadata
    assert "On the 3 images of `val`:\n\nNo pixel has a class." in text


@pytest.mark.parametrize(
    "change", [{"images": "many"}, {"classes": None}, {"classes": [3]}, {"miou": "x"}]
)
def test_a_damaged_evaluation_prevents_no_export(trained, export, caplog, change):
    (trained / "eval.json").write_text(json.dumps(_RESULT | change))
    _write(str(export), str(trained), _OPTIONS)
    assert "model-index" not in _card(export / "MODEL_CARD.md")[0]
    assert "eval.json is damaged; the model card has no metrics of it" in caplog.text


def test_names_of_any_letters_keep_metadata_and_tables_whole(trained, export):
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    change = {"dataset": "caf\u00e9 \U0001f333", "classes": [{"id": 0, "name": "a|b\nc", "iou": 1}]}
    (trained / "eval.json").write_text(json.dumps(_RESULT | change))
    _write(str(export), str(trained), _OPTIONS)
    front = (export / "MODEL_CARD.md").read_text(encoding="utf-8").split("---\n")[1]
    (model,) = yaml.safe_load(front)["model-index"]
    assert model["results"][0]["dataset"]["name"] == change["dataset"]
    assert "| IoU of a\\|b c | 100.00 % |" in _card(export / "MODEL_CARD.md")[1]


def test_the_card_of_a_frozen_graph_lies_beside_it(trained, tmp_path):
    graph = tmp_path / "frozen.pb"
    graph.write_bytes(b"graph")
    _write(str(graph), str(trained), _OPTIONS)
    _, text = _card(tmp_path / "frozen.MODEL_CARD.md")
    assert f"| frozen.pb | `{hashlib.sha256(b'graph').hexdigest()}` |" in text
