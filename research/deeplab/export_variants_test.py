"""Every model variant through the export: a checkpoint's predictions are the network's."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from deeplab import common, export_model, model
from deeplab.core import feature_extractor, folding
from deeplab.export import comparison, exporter, inference_graph
from deeplab.testing import golden, tiny
from deeplab.utils import checkpoint

# One variant of each kind of network: an export does not look at its depth.
_EXPORTED = (
    "mobilenet_v2",
    "mobilenet_v3_small_seg",
    "mobilenet_edgetpu",
    "resnet_v1_18",
    "resnet_v1_50_beta",
    "vgg_16",
    "xception_41",
    "nas_pnasnet",
)
# Constants take the place of the variables of any network alike.
_FROZEN = ("mobilenet_v2", "resnet_v1_50_beta", "xception_41", "nas_pnasnet")
_NUM_CLASSES = 5
_CROP_SIZE = (65, 49)
# Of images that need no padding.
_SIZES = (_CROP_SIZE, (80, 97))
# Networks that do not end at output stride 16.
_OUTPUT_STRIDES = {"nas_hnasnet": 8}


@pytest.fixture(autouse=True)
def _cheap():
    """An export does not look at how often a network repeats itself, nor how wide it is."""
    with tiny.shallow(), tiny.narrow(), tiny.unoptimized():
        yield


def _narrow(name):
    """Options that make a network small."""
    options = {"aspp_convs_filters": 16, "decoder_filters": 16}
    if name.startswith("mobilenet"):
        options["depth_multiplier"] = 0.25
    if name.startswith("vgg"):
        options |= {"vgg_fc6_kernel_size": 3, "vgg_fc6_filters": 64}
    return options


@functools.lru_cache(maxsize=1)
def _network(name):
    """A network with head and, where it can be, decoder."""
    has_decoder = 4 in feature_extractor.get_backbone(name).decoder_end_points
    net = model.DeepLab(
        common.ModelOptions(
            model_variant=name,
            num_classes=_NUM_CLASSES,
            output_stride=_OUTPUT_STRIDES.get(name, 16),
            atrous_rates=(2, 3),
            decoder_output_stride=(4,) if has_decoder else None,
            crop_size=_CROP_SIZE,
            **_narrow(name),
        )
    )
    golden.assign(checkpoint.official_variables(net))
    return net


def _export(net, path, checkpoint_path):
    options = net.options
    decoder = options.decoder_output_stride or ()
    tiny.run(
        export_model,
        f"--checkpoint_path={checkpoint_path}",
        f"--export_path={path}",
        f"--model_variant={options.model_variant}",
        f"--num_classes={_NUM_CLASSES}",
        f"--output_stride={options.output_stride}",
        *(f"--atrous_rates={rate}" for rate in options.atrous_rates),
        f"--decoder_output_stride={','.join(map(str, decoder))}",
        *(f"--crop_size={side}" for side in options.crop_size),
        *(f"--{name}={value}" for name, value in _narrow(options.model_variant).items()),
    )


def _check(net, images, outputs):
    """Compares an export's outputs with the network's predictions."""
    labels, probabilities = model.predict_labels(net, tf.constant(images, tf.float32))
    ours = np.asarray(outputs["SemanticProbabilities"])
    # A network that sees the same everywhere would hide mistakes.
    assert np.std(probabilities, axis=(0, 1, 2)).max() > 1e-3
    np.testing.assert_allclose(ours, probabilities, rtol=0, atol=1e-4)
    assert np.mean(np.asarray(outputs["SemanticPredictions"]) == labels) >= 0.999


def _check_saved_model(net, folder):
    """A checkpoint, which does not say what it holds, through the script: flags say it."""
    path = folder / "export" / "1"
    # The signatures of files call the one of pixels.
    with tiny.few_signatures():
        _export(net, path, tiny.save(net, folder / "train", 7, with_options=False))
    images = [np.stack([tiny.picture(*size, seed) for seed in range(2)]) for size in _SIZES]
    with comparison.open_saved_model(str(path)) as loaded:
        outputs = [loaded["serving_default"].run(each) for each in images]
    for each, output in zip(images, outputs, strict=True):
        _check(net, each, output)


def _check_frozen_graph(net, folder):
    path = folder / "frozen_inference_graph.pb"
    exporter.export_frozen_graph(net, str(path))
    images = [tiny.picture(*size)[np.newaxis] for size in _SIZES]
    with comparison.open_frozen_graph(str(path)) as run:
        outputs = [run(each) for each in images]
    for each, output in zip(images, outputs, strict=True):
        _check(net, each, output)


def _check_folded(net, folder):
    """Compute eagerly as the signatures of a SavedModel do."""
    del folder
    images = [np.stack([tiny.picture(*size, seed) for seed in range(2)]) for size in _SIZES]
    with folding.folded(net, tf.identity):
        outputs = [
            inference_graph.predict_outputs(net, tf.constant(each), by_cells=True)
            for each in images
        ]
    for each, output in zip(images, outputs, strict=True):
        _check(net, each, output)


def _cases():
    for name in feature_extractor.BACKBONES:
        if name in _EXPORTED:
            yield pytest.param(name, _check_saved_model, id=f"{name}-saved_model")
            if name in _FROZEN:
                yield pytest.param(name, _check_frozen_graph, id=f"{name}-frozen_graph")
        else:
            yield pytest.param(name, _check_folded, id=f"{name}-folded")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "check"), list(_cases()))
def test_an_export_predicts_what_the_network_does(name, check, tmp_path):
    check(_network(name), tmp_path)
