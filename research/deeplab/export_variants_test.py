"""Every model variant through the export: a checkpoint's predictions are the network's."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from deeplab import common, export_model, model
from deeplab.core import feature_extractor
from deeplab.export import comparison, exporter
from deeplab.testing import golden, tiny
from deeplab.utils import checkpoint

_LIGHT = ("mobilenet_v2", "mobilenet_v3_small_seg")
# One variant of each kind of network: what freezes the graph does not look at its depth.
_FROZEN = (
    *_LIGHT,
    "mobilenet_edgetpu",
    "resnet_v1_18",
    "resnet_v1_50_beta",
    "vgg_16",
    "xception_41",
    "nas_pnasnet",
    "nas_hnasnet",
)
_NUM_CLASSES = 5
_CROP_SIZE = (65, 49)
# Of images that need no padding.
_SIZES = (_CROP_SIZE, (80, 97))
# Networks that do not end at output stride 16.
_OUTPUT_STRIDES = {"nas_hnasnet": 8}


@pytest.fixture(autouse=True)
def _shallow():
    """An export does not look at how often a network repeats itself."""
    with tiny.shallow():
        yield


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
    _export(net, path, tiny.save(net, folder / "train", 7, with_options=False))
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    for size in _SIZES:
        images = np.stack([tiny.picture(*size, seed) for seed in range(2)])
        _check(net, images, serve(tf.constant(images)))


def _check_frozen_graph(net, folder):
    path = folder / "frozen_inference_graph.pb"
    exporter.export_frozen_graph(net, str(path))
    images = [tiny.picture(*size)[np.newaxis] for size in _SIZES]
    with comparison.open_frozen_graph(str(path)) as run:
        outputs = [run(each) for each in images]
    for each, output in zip(images, outputs, strict=True):
        _check(net, each, output)


def _cases():
    for name in feature_extractor.BACKBONES:
        marks = () if name in _LIGHT else pytest.mark.slow
        yield pytest.param(name, _check_saved_model, marks=marks, id=f"{name}-saved_model")
        if name in _FROZEN:
            yield pytest.param(name, _check_frozen_graph, marks=marks, id=f"{name}-frozen_graph")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "check"), list(_cases()))
def test_an_export_predicts_what_the_network_does(name, check, tmp_path):
    check(_network(name), tmp_path)
