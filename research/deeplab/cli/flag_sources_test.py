"""Repeated flags: which source counts, and what is one list."""

import itertools
import pathlib

import pytest
from absl import flags

from deeplab import eval as eval_script
from deeplab import export_model, model_info, train, vis
from deeplab.cli import flag_sources
from deeplab.utils import files

_SCRIPTS = (train, eval_script, vis, export_model, model_info)


def _parse(module, *words: str) -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("flagfile", "", "", values)
    flags.DEFINE_string("undefok", "", "", values)
    module.define_flags(values)
    values(["script", *flag_sources.merge(words, values)])
    return values


@pytest.fixture
def write(tmp_path: pathlib.Path):
    def call(name: str, *lines: str) -> str:
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n")
        return f"--flagfile={path}"

    return call


_RECIPE = ("# Rates", "--atrous_rates=6", "--atrous_rates=12", "", "// size", "--crop_size=513",
           "--crop_size=513", "--output_stride=16", "--nodecoder_use_separable_conv")  # fmt: skip


def test_the_command_line_replaces_a_recipes_repeated_flags(write):
    recipe = write("recipe.txt", *_RECIPE)
    own = "--crop_size=65", "--crop_size=97", "--atrous_rates=3"
    for order in itertools.permutations((recipe, *own[:1], *own[1:])):
        if order.index(own[0]) > order.index(own[1]):
            continue
        values = _parse(export_model, *order)
        assert (values.crop_size, values.atrous_rates) == ([65, 97], [3])
        assert (values.output_stride, values.decoder_use_separable_conv) == (16, False)


def test_values_of_one_source_add_up(write):
    values = _parse(export_model, write("recipe.txt", *_RECIPE))
    assert (values.crop_size, values.atrous_rates) == ([513, 513], [6, 12])
    values = _parse(eval_script, "--eval_scales=0.5", "--eval_scales", "1.0", "-eval_scales=1.5")
    assert values.eval_scales == [0.5, 1.0, 1.5]
    assert _parse(eval_script).eval_scales == [1.0]


def test_a_file_counts_before_those_that_it_names(write):
    inner = write("inner.txt", *_RECIPE)
    for lines in ((inner, "--atrous_rates=4"), ("--atrous_rates=4", inner)):
        values = _parse(export_model, write("outer.txt", *lines))
        assert (values.atrous_rates, values.crop_size) == ([4], [513, 513])
    values = _parse(export_model, write("outer.txt", inner), write("more.txt", "--atrous_rates=5"))
    assert values.atrous_rates == [5]
    values = _parse(export_model, write("a.txt", "--atrous_rates=1"), write("b.txt", *_RECIPE))
    assert values.atrous_rates == [6, 12]


@pytest.mark.parametrize("module", _SCRIPTS)
def test_other_flags_are_parsed_as_officially(module, write):
    recipe = write("recipe.txt", "--depth_multiplier=0.5", "--merge_method", "avg")
    assert _parse(module, recipe, "--depth_multiplier", "0.25").depth_multiplier == 0.25
    values = _parse(module, "--depth_multiplier=0.25", "--merge_method=max", recipe)
    assert (values.depth_multiplier, values.merge_method) == (0.5, "avg")
    with pytest.raises(flags.UnrecognizedFlagError):
        _parse(module, "--no_such_flag=1")
    with pytest.raises(flags.Error, match="Missing value for flag --depth_multiplier"):
        _parse(module, "--depth_multiplier")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (train, "train_crop_size"),
        (eval_script, "eval_crop_size"),
        (vis, "vis_crop_size"),
        (model_info, "crop_size"),
        *((module, "image_pooling_crop_size") for module in _SCRIPTS),
        *((module, "image_pooling_stride") for module in _SCRIPTS),
        *((module, "decoder_output_stride") for module in _SCRIPTS),
    ],
)
def test_single_numbers_are_one_list(module, name, write):
    for words in (
        (f"--{name}=65", f"--{name}=97"),
        (f"--{name}", "65", f"-{name}=97"),
        (write("old.txt", f"--{name}=65", f"--{name}=97"),),
        (write("other.txt", f"--{name}=513", f"--{name}=1"), f"--{name}=65,97"),
        (write("new.txt", f"--{name}=513,513"), f"--{name}=65", f"--{name}=97"),
        (f"--{name}=33,33", f"--{name}=65,97"),
        (f"--{name}=33,33", f"--{name}=65", f"--{name}=97"),
    ):
        assert _parse(module, *words)[name].value == ["65", "97"]


def test_what_follows_the_flags_stays(write):
    values = flags.FlagValues()
    export_model.define_flags(values)
    recipe = write("recipe.txt", *_RECIPE)
    for words in (["--crop_size=65", "stray", "--crop_size=1"], ["--", "--crop_size=1", recipe]):
        assert flag_sources.merge(words, values) == words
    words = ["--add_flipped_images", "stray", "--crop_size=1"]
    assert flag_sources.merge(words, values) == words


def test_a_remote_flag_file():
    path = "ram://flag_sources_test/recipe.txt"
    files.write_text(path, "# größe\r\n--depth_multiplier=0.5\n--crop_size=65\r\n--crop_size=97")
    values = _parse(export_model, f"--flagfile={path}")
    assert (values.depth_multiplier, values.crop_size) == (0.5, [65, 97])
    with pytest.raises(flags.Error, match="^--flagfile=ram://missing/a.txt cannot be opened: .*"):
        _parse(export_model, "--flagfile=ram://missing/a.txt")


def test_a_flag_file_may_begin_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "recipe.txt"
    path.write_bytes(b"\xef\xbb\xbf--depth_multiplier=0.5\n")
    assert _parse(train, f"--flagfile={path}").depth_multiplier == 0.5


def test_flag_files_that_cannot_be_used(tmp_path, capsys):
    with pytest.raises(flags.Error, match="missing.txt cannot be opened"):
        _parse(train, f"--flagfile={tmp_path}/missing.txt")
    with pytest.raises(flags.Error, match="--flagfile with no argument"):
        _parse(train, "--flagfile")
    path = tmp_path / "circle.txt"
    path.write_text(f"--depth_multiplier=0.5\n--flagfile={path}\n")
    assert _parse(train, "--flagfile", str(path)).depth_multiplier == 0.5
    assert f"{path} names itself" in capsys.readouterr().err
    assert _parse(train, "--flagfile=").depth_multiplier == 1.0
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="utf-8"):
        _parse(train, f"--flagfile={path}")
    path.write_bytes(b"--dataset=a\0b\n")
    with pytest.raises(ValueError, match="it is not a text file: it has a zero byte"):
        _parse(train, f"--flagfile={path}")
