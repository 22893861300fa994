"""Networks that start from an image classifier's checkpoint, or from one without their copies."""

import numpy as np
import pytest

from deeplab import common, model
from deeplab.testing import golden, tiny
from deeplab.utils import checkpoint
from deeplab.weights import initial_values

# Channels of fc6 and fc7 in the classifier's checkpoint; slim's has 4096.
_FILTERS = 16
_OPTIONS = common.ModelOptions(
    model_variant="vgg_16",
    output_stride=8,
    aspp_with_batch_norm=False,
    atrous_rates=(12,),
    vgg_fc6_filters=4,
    num_classes=3,
)


def _is_convolution(name: str) -> bool:
    return name.startswith("vgg_16/conv")


@pytest.fixture(scope="module", autouse=True)
def _narrow():
    """Build networks with an eighth of the published channels."""
    with tiny.narrow():
        yield


@pytest.fixture(scope="module")
def classifier(_narrow, tmp_path_factory) -> tuple[str, dict[str, np.ndarray]]:
    """A checkpoint with the names of slim's ImageNet `vgg_16`, and what it holds."""
    variables = checkpoint.official_variables(model.DeepLab(_OPTIONS, random_weights=False))
    shapes = {k: tuple(v.shape) for k, v in variables.items() if _is_convolution(k)}
    shapes |= {
        "vgg_16/fc6/weights": (7, 7, 64, _FILTERS),
        "vgg_16/fc6/biases": (_FILTERS,),
        "vgg_16/fc7/weights": (1, 1, _FILTERS, _FILTERS),
        "vgg_16/fc7/biases": (_FILTERS,),
        "vgg_16/fc8/weights": (1, 1, _FILTERS, 1000),
        "vgg_16/fc8/biases": (1000,),
    }
    values = {name: golden.fill(name, shape) for name, shape in shapes.items()}
    values["vgg_16/mean_rgb"] = np.array([123.68, 116.78, 103.94], np.float32)
    return checkpoint.save(str(tmp_path_factory.mktemp("slim")), 0, values), values


def _initialized(path: str, **changes) -> dict[str, np.ndarray]:
    net = model.DeepLab(_OPTIONS.replace(**changes), random_weights=False)
    checkpoint.initialize(net, path)
    return {k: v.numpy() for k, v in checkpoint.official_variables(net).items()}


@pytest.mark.parametrize(
    ("kernel_size", "taps"), [(3, [0, 3, 6]), (4, [0, 2, 4, 6]), (7, list(range(7)))]
)
@pytest.mark.parametrize("filters", [4, 8, _FILTERS])
def test_fc6_and_fc7_are_subsampled_in_space_and_in_filters(kernel_size, taps, filters):
    random = np.random.default_rng(0)
    fc6 = random.normal(size=(7, 7, 6, _FILTERS))
    step = _FILTERS // filters
    np.testing.assert_array_equal(
        initial_values.subsample(fc6, (kernel_size, kernel_size, 6, filters)),
        fc6[taps][:, taps][..., ::step],
    )
    fc7 = random.normal(size=(1, 1, _FILTERS, _FILTERS))
    np.testing.assert_array_equal(
        initial_values.subsample(fc7, (1, 1, filters, filters)), fc7[:, :, ::step, ::step]
    )
    biases = np.arange(_FILTERS)
    np.testing.assert_array_equal(initial_values.subsample(biases, (filters,)), biases[::step])


def test_vgg_16_starts_from_slims_classifier(classifier, caplog):
    path, values = classifier
    with caplog.at_level("INFO", logger="absl"):
        found = _initialized(path)
    for name in filter(_is_convolution, found):
        np.testing.assert_array_equal(found[name], values[name])
    fc6, fc7 = values["vgg_16/fc6/weights"], values["vgg_16/fc7/weights"]
    np.testing.assert_array_equal(found["vgg_16/fc6/weights"], fc6[::3, ::3, :, ::4])
    np.testing.assert_array_equal(found["vgg_16/fc6/biases"], values["vgg_16/fc6/biases"][::4])
    np.testing.assert_array_equal(found["vgg_16/fc7/weights"], fc7[:, :, ::4, ::4])
    assert "30 variables initialized from " in caplog.text
    assert "vgg_16/fc6/weights (3, 3, 64, 4) from vgg_16/fc6/weights (7, 7, 64, 16)" in (
        caplog.text
    )
    assert "2 variables not in the checkpoint, so new:\n  logits/semantic/weights" in caplog.text


def test_the_whole_fc6_and_fc7_are_taken_as_they_are(classifier):
    path, values = classifier
    found = _initialized(path, vgg_fc6_kernel_size=7, vgg_fc6_filters=_FILTERS)
    for name in found:
        if name.startswith("vgg_16/"):
            np.testing.assert_array_equal(found[name], values[name])


def test_every_branch_starts_from_the_same_fc6_and_fc7(classifier):
    found = _initialized(classifier[0], atrous_rates=(6, 12, 18, 24))
    for layer in ("fc6", "fc7"):
        for leaf in ("weights", "biases"):
            first = found[f"vgg_16/{layer}/{leaf}"]
            for index in (1, 2, 3):
                np.testing.assert_array_equal(found[f"vgg_16/{layer}_{index}/{leaf}"], first)


def test_branches_that_a_checkpoint_has_are_taken(tmp_path):
    options = _OPTIONS.replace(atrous_rates=(6, 12))
    net = model.DeepLab(options, random_weights=False)
    golden.assign(checkpoint.official_variables(net))
    path = checkpoint.save(str(tmp_path), 1, checkpoint.official_variables(net))
    found = _initialized(path, atrous_rates=(6, 12))
    for name, variable in checkpoint.official_variables(net).items():
        np.testing.assert_array_equal(found[name], variable.numpy())


def test_more_filters_than_the_checkpoint_has_are_one_error(classifier):
    with pytest.raises(ValueError, match=r"fc6/weights \(7, 7, 64, 16\) there, \(3, 3, 64, 32\)"):
        _initialized(classifier[0], vgg_fc6_filters=32)


def test_multi_scale_features_start_anew(classifier, caplog):
    with caplog.at_level("INFO", logger="absl"):
        _initialized(classifier[0], vgg_multi_scale_features=True)
    assert "22 variables not in the checkpoint, so new" in caplog.text


def test_copies_of_a_resnets_block_start_as_the_block(tmp_path, caplog):
    plain = common.ModelOptions(
        model_variant="resnet_v1_18", aspp_with_batch_norm=False, num_classes=3
    )
    net = model.DeepLab(plain, random_weights=False)
    cascade = model.DeepLab(plain.replace(cascaded_blocks=2), random_weights=False)
    golden.assign(checkpoint.official_variables(net))
    path = checkpoint.save(str(tmp_path), 1, checkpoint.official_variables(net))
    with caplog.at_level("INFO", logger="absl"):
        checkpoint.initialize(cascade, path)
    assert "not found" not in caplog.text
    unit = "unit_2/lite_bottleneck_v1"
    assert f"block6/{unit}/conv1/BatchNorm/beta (64,) from resnet_v1_18/block4/{unit}/" in (
        caplog.text
    )
    values = {k: v.numpy() for k, v in checkpoint.official_variables(cascade).items()}
    for name in values:
        for block in ("block5", "block6"):
            if block in name:
                source = name.replace(block, "block4").replace("unit_1", "unit_2")
                np.testing.assert_array_equal(values[name], values[source])
