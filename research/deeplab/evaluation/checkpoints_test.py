"""The options of the networks in checkpoints."""

import functools
import logging

import pytest

from deeplab import common
from deeplab import eval as eval_script
from deeplab.cli import network_flags
from deeplab.datasets import descriptors
from deeplab.evaluation import checkpoints
from deeplab.testing import tiny


def _options(path, *arguments, descriptor=tiny.DATASET):
    required = (f"--checkpoint_dir={path}", "--eval_logdir=logs", f"--dataset={descriptor.name}")
    values = tiny.parse(eval_script, (*required, *arguments))
    options = network_flags.evaluation_options(values, "eval", "max_number_of_evaluations")
    asked = functools.partial(common.ModelOptions.from_flags, values)
    return checkpoints.trained_options(path, options, descriptor, asked)


@pytest.fixture(scope="module")
def net():
    return tiny.network()


@pytest.fixture(scope="module")
def path(net, tmp_path_factory):
    return tiny.save(net, tmp_path_factory.mktemp("train"), 7)


def test_flags_left_out_take_the_trained_values(path):
    assert _options(path) == tiny.OPTIONS.replace(crop_size=(513, 513))


def test_flags_that_fit_the_trained_network_count(path):
    options = _options(path, "--output_stride=16", "--eval_crop_size=65,97", "--image_pyramid=2")
    expected = {"output_stride": 16, "crop_size": (65, 97), "image_pyramid": (2.0,)}
    assert options == tiny.OPTIONS.replace(**expected)


def test_a_flag_that_contradicts_the_trained_network_is_an_error(path):
    with pytest.raises(ValueError, match=r"--depth_multiplier is 1\.0, .* trained with 0\.1"):
        _options(path, "--depth_multiplier=1")


def test_a_dataset_with_other_classes_is_an_error_that_names_the_flag(path):
    pascal = descriptors.load("pascal_voc_seg")
    with pytest.raises(
        ValueError, match="trained for 4 classes, but --dataset=pascal_voc_seg has 21: name the"
    ):
        _options(path, descriptor=pascal)


def test_without_stored_options_the_flags_define_the_network(net, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    official = tiny.save(net, tmp_path, 7, with_options=False)
    options = _options(official, *tiny.NETWORK_FLAGS, "--eval_crop_size=33,33")
    assert options == tiny.OPTIONS
    assert any("no model_options.json beside" in message for message in caplog.messages)
