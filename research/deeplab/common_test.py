"""Options as a value, and the flags that fill them in."""

import dataclasses

import numpy as np
import pytest
from absl import flags

from deeplab import common, train
from deeplab.testing import tiny


def _parse(*arguments: str) -> flags.FlagValues:
    """The shared flags and two that every script defines for itself."""
    values = flags.FlagValues()
    common.define_flags(values)
    define = common.definer("test", values)
    for name in ("atrous_rates", "output_stride"):
        common.define_option(define, common.ModelOptions, name)
    values(["script", *arguments])
    return values


def test_flags_left_out_are_the_defaults():
    assert common.ModelOptions.from_flags(_parse()) == common.ModelOptions()


def test_every_field_is_a_flag_or_given_by_the_script():
    values = _parse()
    fields = {field.name for field in dataclasses.fields(common.ModelOptions)}
    assert fields - set(values) == {"num_classes", "crop_size", "quantize"}


def test_flags_fill_the_fields_in():
    options = common.ModelOptions.from_flags(
        _parse(
            "--model_variant=xception_65",
            "--atrous_rates=6",
            "--atrous_rates=12",
            "--decoder_output_stride=8,4",
            "--image_pooling_crop_size=769,769",
            "--image_pyramid=0.5",
            "--image_pyramid=1",
            "--multi_grid=1",
            "--multi_grid=2",
            "--nodecoder_use_separable_conv",
        ),
        num_classes=19,
        crop_size=["769", "769"],
    )
    assert options == common.ModelOptions(
        model_variant="xception_65",
        atrous_rates=(6, 12),
        decoder_output_stride=(8, 4),
        image_pooling_crop_size=(769, 769),
        image_pyramid=(0.5, 1.0),
        multi_grid=(1, 2),
        decoder_use_separable_conv=False,
        num_classes=19,
        crop_size=(769, 769),
    )


@pytest.mark.parametrize("empty", [None, "", [], ()])
def test_an_empty_sequence_is_none(empty):
    options = common.ModelOptions(decoder_output_stride=empty, atrous_rates=empty)
    assert options.decoder_output_stride is None
    assert options.atrous_rates is None


@pytest.mark.parametrize("size", ["65,97", ["65", "97"], (65, 97), np.array([65, 97])])
def test_a_sequence_may_be_given_in_many_ways(size):
    assert common.ModelOptions(crop_size=size).crop_size == (65, 97)


def test_options_survive_json_and_are_a_value():
    options = common.ModelOptions(atrous_rates=[6, 12], crop_size=("65", "97"), num_classes=3)
    assert common.ModelOptions.from_json(options.to_json()) == options
    assert hash(common.ModelOptions.from_json(options.to_json())) == hash(options)
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.num_classes = 4


def test_flags_left_out_take_the_trained_value():
    stored = common.ModelOptions(
        depth_multiplier=0.5, output_stride=8, num_classes=11, decoder_output_stride=(4,)
    )
    options = common.ModelOptions.from_flags(_parse(), stored=stored, crop_size=(65, 65))
    assert options == stored.replace(crop_size=(65, 65))


def test_what_may_differ_from_training_may_differ():
    stored = common.ModelOptions(output_stride=16, atrous_rates=(6, 12))
    options = common.ModelOptions.from_flags(
        _parse("--output_stride=8", "--atrous_rates=12", "--atrous_rates=24"), stored=stored
    )
    assert (options.output_stride, options.atrous_rates) == (8, (12, 24))


def test_another_output_stride_names_the_rates_that_go_with_it(caplog):
    stored = common.ModelOptions(output_stride=16, atrous_rates=(6, 12))
    with caplog.at_level("WARNING", logger="absl"):
        common.ModelOptions.from_flags(_parse("--output_stride=8"), stored=stored)
    assert "--atrous_rates=12 --atrous_rates=24" in caplog.text


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--depth_multiplier=1.0", "--depth_multiplier is 1.0, .* was trained with 0.5"),
        ("--decoder_output_stride=4", r"--decoder_output_stride is \(4,\), .* trained with None"),
        ("--atrous_rates=6", r"--atrous_rates has \(6,\), .* trained with None"),
    ],
)
def test_a_flag_that_contradicts_training_names_both_values(argument, message):
    stored = common.ModelOptions(depth_multiplier=0.5)
    with pytest.raises(ValueError, match=message):
        common.ModelOptions.from_flags(_parse(argument), stored=stored)


def test_a_delay_that_is_not_below_zero_quantizes():
    def options(*arguments, stored=None):
        return common.ModelOptions.from_flags(tiny.parse(train, arguments), stored=stored)

    assert not options().quantize
    quantized = options("--quantize_delay_step=0")
    assert quantized.quantize
    assert options(stored=quantized).quantize
    with pytest.raises(ValueError, match="--quantize_delay_step is below 0, .* with quantization"):
        options("--quantize_delay_step=-1", stored=quantized)
    with pytest.raises(ValueError, match="is not below 0, .* was trained without quantization"):
        options("--quantize_delay_step=5", stored=options())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"atrous_rates": 6},
            "--atrous_rates is 6; it must be a list of whole numbers, each at",
        ),
        ({"atrous_rates": ["six"]}, r"--atrous_rates is \['six'\]; it must be a list of whole"),
        ({"atrous_rates": [1.5]}, r"--atrous_rates is \[1.5\]; .* a list of whole numbers, each"),
        ({"divisible_by": 0}, "--divisible_by is 0; it must be a whole number, at least 1"),
        ({"atrous_rates": [0]}, r"--atrous_rates is \[0\]; .* each at least 1"),
        (
            {"decoder_output_stride": ["4", "8"]},
            r"is \(4, 8\); .* from coarse to fine: 8,4",
        ),
        (
            {"crop_size": (513,)},
            r"the crop size \(--.*\) is \(513,\); it must be height,width",
        ),
        ({"crop_size": (0, 65)}, "height,width: two whole numbers, each at least 1"),
        ({"merge_method": "sum"}, "--merge_method is 'sum'; it must be one of max, avg"),
        ({"num_classes": 1}, "--num_classes is 1; it must be a whole number, at least 2"),
        ({"output_stride": 0}, "--output_stride is 0; .* at least 1"),
        ({"output_stride": True}, "--output_stride is True; it must be a whole number"),
        ({"output_stride": "8"}, "--output_stride is '8'; it must be a whole number"),
        ({"add_image_level_feature": 1}, "--add_image_level_feature is 1; .* a truth value"),
        (
            {"depth_multiplier": 0.0},
            "--depth_multiplier is 0.0; .* a finite number, above 0",
        ),
        ({"depth_multiplier": float("nan")}, "--depth_multiplier is nan; .* finite"),
        ({"image_pyramid": (0.5, float("inf"))}, "--image_pyramid .* finite numbers, each above 0"),
        ({"max_resize_value": 513}, "need --min_resize_value"),
        ({"logits_kernel_size": 3}, "--logits_kernel_size is 3; it must be 1 except for parallel"),
    ],
)
def test_values_that_no_network_can_have_name_their_field(values, message):
    with pytest.raises(ValueError, match=message):
        common.ModelOptions(**values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "a JSON object, not list"),
        ('{"num_clases": 3}', r"unknown model options \['num_clases'\]"),
    ],
)
def test_json_that_holds_no_options_says_so(text, message):
    with pytest.raises(ValueError, match=message):
        common.ModelOptions.from_json(text)


def test_flags_without_effect_say_what_does_their_work(caplog):
    with caplog.at_level("INFO", logger="absl"):
        common.log_unused_flags(_parse("--batch_norm_decay=0.9"), common.UNUSED_FLAGS)
    assert "--batch_norm_decay has no effect" in caplog.text
    assert "keep_aspect_ratio" not in caplog.text
