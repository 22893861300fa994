"""Paths in other file systems: every script names what it cannot reach, before it does anything."""

import importlib
import pathlib
import re

import pytest
from absl import flags

from deeplab.cli import path_flags, script
from deeplab.testing import tiny

_SETUP = pathlib.Path(__file__).resolve().parents[3] / "setup.py"
_SCRIPTS = re.findall(r'"deeplab-[\w-]+": "([\w.]+)"', _SETUP.read_text())
# Scripts read what these name with other libraries than TensorFlow.
_LOCAL = {
    "deeplab.datasets.build_voc2012_data": "sbd_folder",
    "deeplab.datasets.build_custom_data": "annotations",
    "deeplab.datasets.remove_gt_colormap": "original_gt_folder",
    "deeplab.datasets.download_data": "output_dir",
    "deeplab.evaluation.eval_coco_format": "pred_folder",
    "deeplab.model_zoo": "output_dir",
}


@pytest.fixture
def check(monkeypatch):
    """Does what `script.run` does before the script itself."""

    def call(module: str, *arguments: str) -> None:
        given = {}
        monkeypatch.setattr(script, "run", lambda *_, **named: given.update(named))
        imported = importlib.import_module(module)
        imported.run()
        assert set(given.get("local", ())) <= set(tiny.parse(imported))
        path_flags.check_file_systems(tiny.parse(imported, arguments), given.get("local", ()))

    return call


def _texts(module: str) -> list[str]:
    """Return the flags of a script that may name files."""
    values = tiny.parse(importlib.import_module(module))
    kinds = ("string", "multi string", "comma separated list of strings")
    return [name for name in values if values[name].flag_type() in kinds]


@pytest.mark.parametrize("module", _SCRIPTS)
def test_an_unknown_file_system_is_named_with_its_flag(check, module):
    names = set(_texts(module)) - {"master", "server", "url", "beam_options"}
    assert names
    for name in names:
        with pytest.raises(ValueError, match=f"--{name}=xyz://a/b: TensorFlow knows no .* 'xyz'"):
            check(module, f"--{name}=xyz://a/b")


@pytest.mark.parametrize(("module", "name"), _LOCAL.items())
def test_what_must_be_on_this_machine_is_named(check, module, name):
    with pytest.raises(ValueError, match=f"--{name}=ram://a/b: this script needs these files on"):
        check(module, f"--{name}=ram://a/b")


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("train_logdir", "ram://a/b"),
        ("train_logdir", "/a/b:c"),
        ("dataset_dir", "file:///a/b"),
        ("master", "grpc://localhost:2222"),
    ],
)
def test_other_values_pass(check, flag, value):
    check("deeplab.train", f"--{flag}={value}")


@pytest.mark.parametrize(
    ("module", "argument"),
    [
        ("deeplab.predict", "--server=http://localhost:8501"),
        ("deeplab.predict", "--beam_options=--temp_location=s3://bucket"),
        ("deeplab.datasets.build_voc2012_data", "--image_folder=ram://a/b"),
        ("deeplab.datasets.build_cityscapes_data", "--cityscapes_root=ram://a/b"),
        ("deeplab.datasets.build_ade20k_data", "--val_image_label_folder=ram://a/b"),
        ("deeplab.datasets.build_custom_data", "--list_folder=ram://a/b"),
    ],
)
def test_what_other_programs_reach_and_what_is_read_anywhere_pass(check, module, argument):
    check(module, argument)


@pytest.mark.parametrize("images", ["a.jpg,xyz://b/c.jpg", "a.jpg, xyz://b/*.jpg"])
def test_each_path_of_a_list_counts(check, images):
    with pytest.raises(ValueError, match="--images=a.jpg,.*'xyz'"):
        check("deeplab.predict", f"--images={images}")


def test_paths_in_repeated_flags_count():
    values = flags.FlagValues()
    flags.DEFINE_multi_string("split", None, "", flag_values=values)
    values(["script", "--split=train=a/*", "--split=val=xyz://b/*"])
    with pytest.raises(ValueError, match="--split=val=xyz://b/\\*: .* 'xyz'"):
        path_flags.check_file_systems(values)
