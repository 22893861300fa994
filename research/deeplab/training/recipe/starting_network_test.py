import pytest

from deeplab import model
from deeplab.core.options import ModelOptions
from deeplab.testing import tiny
from deeplab.training.recipe import starting_network
from deeplab.utils import checkpoint, checkpoint_files, stored_options

_SMALL = {"aspp_convs_filters": 8}


@pytest.fixture(scope="module", autouse=True)
def _small():
    """Build networks of few blocks."""
    with tiny.shallow(), tiny.minimal():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint of the tiny network, with its options beside it."""
    folder = tmp_path_factory.mktemp("checkpoint")
    net = model.DeepLab(tiny.OPTIONS, random_weights=False)
    stored_options.save(str(folder), net.options)
    checkpoint.save(str(folder), 3, checkpoint.official_variables(net))
    return folder


def test_stored_options_are_taken_and_other_classes_get_a_decoder(folder):
    start = starting_network.find(str(folder), {}, 11)
    assert (start.new_layers, start.num_classes) == ("decoder", 4)
    expected = tiny.OPTIONS.replace(
        num_classes=11,
        crop_size=None,
        decoder_output_stride=(4,),
        decoder_use_sum_merge=True,
        decoder_output_is_logits=True,
        decoder_filters=11,
    )
    # At output stride 8 only stride 4 is finer.
    assert start.options == expected


def test_the_same_classes_keep_the_network(folder):
    prefix = checkpoint_files.latest(str(folder))
    start = starting_network.find(prefix, {}, 4)
    assert start.new_layers == "none"
    assert start.options == tiny.OPTIONS.replace(crop_size=None)


def test_a_decoder_that_made_other_logits_starts_anew(tmp_path):
    before = tiny.OPTIONS.replace(
        decoder_output_stride=(4,),
        decoder_use_sum_merge=True,
        decoder_output_is_logits=True,
        decoder_filters=4,
    )
    prefix = tiny.save(model.DeepLab(before, random_weights=False), tmp_path, 1)
    start = starting_network.find(prefix, {}, 11)
    assert start.new_layers == "head"
    expected = before.replace(num_classes=11, decoder_filters=11, crop_size=None)
    assert start.options == expected


def test_flags_change_the_network(folder):
    start = starting_network.find(
        str(folder), {"decoder_output_stride": None, "output_stride": 16}, 11
    )
    assert start.new_layers == "logits"
    assert (start.options.output_stride, start.options.decoder_output_stride) == (16, None)


def test_a_network_that_the_checkpoint_is_not_of_is_refused(folder):
    with pytest.raises(ValueError, match="MobilenetV2/.* there, .*--model_variant"):
        starting_network.find(str(folder), {"depth_multiplier": 0.35}, 11)


_OPTIONS = [
    ModelOptions(depth_multiplier=0.5, **_SMALL),
    pytest.param(
        ModelOptions(model_variant="mobilenet_v3_small_seg", atrous_rates=(6, 12, 18), **_SMALL),
        marks=pytest.mark.slow,
    ),
    pytest.param(
        ModelOptions(
            model_variant="resnet_v1_18_beta",
            atrous_rates=(6, 12, 18),
            decoder_output_stride=(4,),
            **_SMALL,
        ),
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize("options", _OPTIONS)
def test_variables_tell_the_network(options):
    variables = checkpoint.official_variables(model.DeepLab(options, random_weights=False))
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    assert starting_network.infer(shapes, _SMALL) == options


def test_variables_that_tell_nothing_ask_for_flags():
    with pytest.raises(ValueError, match="is unknown: give the flags"):
        starting_network.infer({"resnet/conv/weights": (3, 3, 3, 64)}, {})
