"""Every flag of the official scripts, with its name, type, default and choices."""

import ast
import functools
import importlib
import json
import subprocess
import sys

import pytest
from absl import flags

from deeplab.testing import golden

_OFFICIAL = json.loads((golden.DATA / "flags.json").read_text())
# Official script to ours.
_MODULES = {
    "deeplab/common.py": "deeplab.common",
    "deeplab/train.py": "deeplab.train",
    "deeplab/eval.py": "deeplab.eval",
    "deeplab/vis.py": "deeplab.vis",
    "deeplab/export_model.py": "deeplab.export_model",
    "deeplab/convert_to_tflite.py": "deeplab.convert_to_tflite",
    "deeplab/datasets/build_data.py": "deeplab.datasets.build_data",
    "deeplab/datasets/build_voc2012_data.py": "deeplab.datasets.build_voc2012_data",
    "deeplab/datasets/build_cityscapes_data.py": "deeplab.datasets.build_cityscapes_data",
    "deeplab/datasets/build_ade20k_data.py": "deeplab.datasets.build_ade20k_data",
    "deeplab/datasets/remove_gt_colormap.py": "deeplab.datasets.remove_gt_colormap",
    "deeplab/evaluation/eval_coco_format.py": "deeplab.evaluation.eval_coco_format",
}
# How the official list writes the types that absl's flags have here.
_SAME_TYPE = {
    "DEFINE_string": "Flag/string",
    "DEFINE_integer": "Flag/int",
    "DEFINE_bool": "BooleanFlag/bool",
    "DEFINE_enum": "EnumFlag/string enum",
}
# These also take the shared flags.
_WITH_SHARED_FLAGS = ("train", "eval", "vis", "export_model")


def _cases():
    for script, listed in _OFFICIAL.items():
        module = _MODULES[script]
        for flag in listed:
            yield pytest.param(module, flag, id=f"{module.removeprefix('deeplab.')}-{flag['name']}")
    for name in _WITH_SHARED_FLAGS:
        for flag in _OFFICIAL["deeplab/common.py"]:
            yield pytest.param(f"deeplab.{name}", flag, id=f"{name}-shared-{flag['name']}")


@functools.cache
def _defined(module: str) -> flags.FlagValues:
    values = flags.FlagValues()
    importlib.import_module(module).define_flags(values)
    values.mark_as_parsed()
    return values


def test_every_official_script_has_its_module():
    assert set(_OFFICIAL) == set(_MODULES)


@pytest.mark.parametrize("module, official", list(_cases()))
def test_an_official_flag_is_here_with_its_type_and_default(module, official):
    values = _defined(module)
    name = official["name"]
    assert name in values, f"{module} has no --{name}"
    flag = values[name]
    kind = type(flag).__name__
    kind = kind.replace("MultiStringFlag", "MultiFlag")
    found = f"{kind}/{flag.flag_type().removeprefix('multi ')}"
    assert found == _SAME_TYPE.get(official["type"], official["type"])
    default = official["default"]
    if official["type"].startswith("DEFINE_"):
        # As it stands in the source, strings in quotation marks.
        default = str(ast.literal_eval(default))
    assert str(flag.default) == default
    if official["choices"]:
        # Ours may come after them.
        choices = ast.literal_eval(official["choices"])
        assert list(flag.parser.enum_values)[: len(choices)] == choices


# What a script imports before it has answered --help: of `build_data`, which converters share and
# which is not a script itself, the flags alone.
_BEFORE_HELP = {**_MODULES, "deeplab/datasets/build_data.py": "deeplab.cli.converter_flags"}


def test_help_needs_neither_tensorflow_nor_a_flag():
    """So `--help` answers at once: TensorFlow takes seconds to import."""
    modules = [*_BEFORE_HELP.values(), "deeplab.datasets.build_custom_data"]
    code = (
        "import sys, importlib\n"
        "from absl import flags\n"
        f"for name in {modules}:\n"
        "    values = flags.FlagValues()\n"
        "    importlib.import_module(name).define_flags(values)\n"
        "    assert len(values) > 0, name\n"
        "    assert 'tensorflow' not in sys.modules, name\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=str(golden.DATA.parents[2]),
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", list(_MODULES.values()))
def test_importing_a_script_defines_no_flag(module):
    importlib.import_module(module)
    ours = [name for name in flags.FLAGS.flags_by_module_dict() if name.startswith("deeplab")]
    assert not ours
