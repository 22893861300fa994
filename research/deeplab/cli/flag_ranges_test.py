"""Every number that a flag takes has a range, which is checked after flags are parsed."""

import importlib
import pathlib
import re

import pytest
from absl import flags

from deeplab import common, train
from deeplab.core import options as option_classes
from deeplab.core.options import fields
from deeplab.testing import tiny

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]
_SCRIPTS = sorted(
    ".".join(["deeplab", *path.relative_to(_PACKAGE).with_suffix("").parts])
    for path in _PACKAGE.rglob("*.py")
    if not path.name.endswith("_test.py")
    and re.search(r"^    script\.run\(\s*main,", path.read_text(), re.MULTILINE)
)
# Lists that are not of numbers, and one whose entries only its script can read.
_TEXTS = {
    "class_names": "names",
    "class_map": "names",
    "label_map": "<value>:<label>; its parser names the entry",
    "split_fractions": "<split>:<fraction>; its parser names the entry",
    "outputs": "some of a few words; the options name the others",
}
_NO_NUMBERS = ("nan", "inf", "-1e999", "1e39")
_FAR_TOO_LARGE = "9" * 400


def _numbers(values: flags.FlagValues) -> dict[str, flags.Flag]:
    """Return the flags that take a number or several."""
    kinds = {"int", "float", "multi int", "multi float", "comma separated list of strings"}
    return {
        name: values[name]
        for name in values
        if values[name].flag_type() in kinds and name not in _TEXTS
    }


def _is_accepted(values: flags.FlagValues, name: str, text: str) -> bool:
    """Return whether a flag takes a value; a message about it names the flag and is one line."""
    try:
        values(["script", f"--{name}={text}"])
        common.check_ranges(values, [name])
    except (flags.Error, ValueError) as error:
        assert f"--{name}" in str(error)
        assert "\n" not in str(error)
        return False
    finally:
        values[name].unparse()
    return True


def test_all_scripts_are_walked():
    names = ("train", "eval", "datasets.check_data", "datasets.build_custom_data")
    assert {f"deeplab.{name}" for name in names} <= set(_SCRIPTS)


@pytest.mark.parametrize("script", _SCRIPTS)
def test_every_number_has_a_range_and_its_default_is_in_it(script):
    values = tiny.parse(importlib.import_module(script))
    common.check_ranges(values)
    for name, flag in _numbers(values).items():
        texts = _NO_NUMBERS
        if flag.flag_type().endswith("strings"):
            # A pair is a list, too.
            texts = [f"33,{text}" for text in texts]
        refused = (*texts, _FAR_TOO_LARGE)
        assert not [text for text in refused if _is_accepted(values, name, text)], name


@pytest.mark.parametrize("script", _SCRIPTS)
def test_a_range_is_checked_whether_the_value_is_used_or_not(script):
    """`--label_weights` has no effect in `eval`, but a wrong one is no less wrong there."""
    values = tiny.parse(importlib.import_module(script))
    for name, text in (("label_weights", "-1"), ("crf_bi_w", "-3"), ("batch_norm_decay", "2")):
        if name in values:
            assert not _is_accepted(values, name, text)


def test_a_number_without_a_range_cannot_be_defined():
    define = common.definer("test", flags.FlagValues())
    with pytest.raises(TypeError, match="--port has no range"):
        define("integer", "port", 8501, "The port.")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("train_batch_size", ("0", "100000")),
        ("train_crop_size", ("0,0", "100000,100000", "513", "-1,513")),
        ("momentum", ("2", "-1")),
        ("adam_epsilon", ("-1e-8", "0", "1e-60")),
        ("depth_multiplier", ("0", "-1", "1e9")),
        ("divisible_by", ("0", "1000000000")),
        ("atrous_rates", ("0", "-6", "1000000000")),
        ("multi_grid", ("0", "1000000000")),
        ("cascaded_blocks", ("-1", "1000000000")),
        ("output_stride", ("0", "-16", "1000000000")),
        ("decoder_output_stride", ("0", "1000000000", "4,0")),
        ("image_pyramid", ("0", "-1", "1e9")),
        ("label_weights", ("-1", "0")),
        ("learning_power", ("-1", "1e9")),
        ("base_learning_rate", ("-1",)),
        ("boundaries", ("-1",)),
        ("boundary_learning_rates", ("-1",)),
        ("learning_rate_decay_factor", ("-1",)),
        ("min_scale_factor", ("0", "-1", "1e9")),
        ("scale_factor_step_size", ("-1",)),
        ("ema_decay", ("0", "1")),
        ("seed", ("-1", str(2**32))),
        ("num_clones", ("0", "1000000000")),
        ("num_replicas", ("0",)),
        ("task", ("-1",)),
    ],
)
def test_values_that_no_run_can_have(name, values):
    parsed = tiny.parse(train)
    assert not [text for text in values if _is_accepted(parsed, name, text)]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--save_interval_secs=999999999", "--quantize_delay_step=-2", "--momentum=0"],
        ["--train_crop_size=1025,2049", "--min_resize_value=0", "--max_resize_value=0"],
        ["--depth_multiplier=1.4", "--divisible_by=8", "--atrous_rates=36", "--multi_grid=4"],
        ["--train_batch_size=2048", "--seed=4294967295", "--training_number_of_steps=5000000000"],
    ],
)
def test_official_values_stay_legal(arguments):
    values = tiny.parse(train, arguments)
    assert common.ModelOptions.from_flags(values, crop_size=(33, 33))
    for options_class in (option_classes.TrainOptions, option_classes.RunOptions):
        assert options_class(**common.option_values(options_class, values))


def test_zero_in_place_of_a_size_means_no_resizing():
    """As in the official code, where it is the same as none."""
    options = common.ModelOptions(min_resize_value=0, max_resize_value=0)
    assert (options.min_resize_value, options.max_resize_value) == (None, None)


@pytest.mark.parametrize("step", [1e-9, 1e-300, 5e-324])
def test_scales_that_would_fill_the_memory_are_refused(step):
    with pytest.raises(
        ValueError, match="--scale_factor_step_size is .*e-.*, which makes"
    ) as error:
        option_classes.RandomScale(scale_factor_step_size=step)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", option_classes.__all__)
def test_every_number_of_the_options_has_a_range(name):
    """The same ranges hold for those who call the library."""
    for field, description in fields.describe(getattr(option_classes, name)).items():
        if not description.is_number:
            continue
        # Few enough digits to be finite.
        for value in (10**30, -(10**30)):
            value = [value, value] if description.is_sequence else value
            with pytest.raises(ValueError, match="it must be"):
                fields.convert(description.hint, value)
                pytest.fail(f"{field} takes {value}")
