"""MobileNetEdgeTPU against the official code, and the width of its last convolution."""

import json

import numpy as np
import pytest

from deeplab import common, export_model, model
from deeplab.core import mobilenet_edgetpu
from deeplab.export import saved_model
from deeplab.testing import backbone_case, golden, tiny
from deeplab.utils import checkpoint, stored_options


class TestMobilenetEdgeTPU(backbone_case.BackboneCase):
    model_variant = "mobilenet_edgetpu"
    golden_prefix = "edgetpu"
    options = {"depth_multiplier": 0.35}
    huge = True
    shallow = True


_LAST = mobilenet_edgetpu.LAST_WEIGHTS
_SLIM = common.ModelOptions(model_variant="mobilenet_edgetpu", depth_multiplier=0.75)


def _checkpoint(folder, channels: int, name: str = _LAST) -> str:
    return checkpoint.save(str(folder), 1, {name: np.zeros((1, 1, 144, channels), np.float32)})


@pytest.mark.parametrize("channels", [960, 1280])
def test_the_shape_in_a_checkpoint_decides_where_nothing_else_does(tmp_path, channels):
    path = _checkpoint(tmp_path, channels)
    assert checkpoint.complete(_SLIM, path).edgetpu_last_filters == channels
    # A file of an earlier version lacks the option.
    stored = json.loads(_SLIM.to_json())
    del stored["edgetpu_last_filters"]
    (tmp_path / common.OPTIONS_FILE).write_text(json.dumps(stored))
    for each in (path, str(tmp_path)):
        assert checkpoint.load_options(each).edgetpu_last_filters == channels
    stored["edgetpu_last_filters"] = 1000
    (tmp_path / common.OPTIONS_FILE).write_text(json.dumps(stored))
    assert checkpoint.load_options(path).edgetpu_last_filters == 1000


def test_the_option_stays_where_no_checkpoint_tells(tmp_path):
    assert checkpoint.complete(_SLIM, None) == _SLIM
    assert checkpoint.complete(_SLIM, str(tmp_path / "none")) == _SLIM
    path = _checkpoint(tmp_path, 1280, "another/weights")
    assert checkpoint.complete(_SLIM, path) == _SLIM
    path = _checkpoint(tmp_path, 1280)
    given = _SLIM.replace(edgetpu_last_filters=8)
    assert checkpoint.complete(given, path) == given
    other = _SLIM.replace(model_variant="mobilenet_v2")
    assert checkpoint.complete(other, path) == other
    with open(f"{path}.index", "r+b") as file:
        file.truncate(10)
    assert checkpoint.complete(_SLIM, path) == _SLIM


def test_a_flag_that_contradicts_the_checkpoint_is_an_error_with_both_values(tmp_path):
    stored_options.save(str(tmp_path), _SLIM)
    stored = checkpoint.load_options(_checkpoint(tmp_path, 960))
    for number in (960, 1280):
        values = tiny.parse(export_model, [f"--edgetpu_last_filters={number}"])
        if number == 960:
            assert common.ModelOptions.from_flags(values, stored).edgetpu_last_filters == 960
            continue
        with pytest.raises(ValueError, match="--edgetpu_last_filters is 1280, but .* with 960"):
            common.ModelOptions.from_flags(values, stored)


def test_another_backbone_has_no_such_option():
    options = common.ModelOptions(edgetpu_last_filters=8)
    with pytest.raises(ValueError, match="--edgetpu_last_filters=8 has no effect with .*_v2"):
        model.DeepLab(options)


@pytest.mark.parametrize(("asked", "channels"), [(None, 960), (1280, 1280)])
def test_the_multiplier_does_not_apply_to_channels_that_are_asked_for(asked, channels):
    backbone = mobilenet_edgetpu.MobilenetEdgeTPU(32, 0.75, asked)
    assert backbone.last.filters == channels


@pytest.mark.slow
@pytest.mark.parametrize("channels", [None, 40])
def test_a_checkpoint_of_either_width_is_evaluated_and_exported_without_flags(channels, tmp_path):
    options = _SLIM.replace(
        depth_multiplier=0.25, edgetpu_last_filters=channels, num_classes=4, crop_size=(33, 33),
        aspp_convs_filters=8, output_stride=32,
    )  # fmt: skip
    with tiny.shallow():
        net = model.DeepLab(options)
    golden.assign(checkpoint.official_variables(net))
    path = tiny.save(net, tmp_path / "train", 1, with_options=False)
    flags = ["--model_variant=mobilenet_edgetpu", "--depth_multiplier=0.25", "--num_classes=4"]
    flags += ["--aspp_convs_filters=8", "--output_stride=32", "--crop_size=33", "--crop_size=33"]
    export = tmp_path / "export"
    with tiny.shallow(), tiny.few_signatures():
        tiny.run(export_model, f"--checkpoint_path={path}", f"--export_path={export}", *flags)
    stored = checkpoint.load_options(str(export))
    assert stored.edgetpu_last_filters == (channels or 320)
    image = tiny.picture(33, 33)
    expected = model.predict_labels(net, image[np.newaxis].astype(np.float32))[0][0]
    np.testing.assert_array_equal(saved_model.ExportedNetwork(str(export)).predict(image), expected)
