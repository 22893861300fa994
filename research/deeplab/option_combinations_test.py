"""Combinations of the network's options against the official code's outputs.

The golden configurations vary one option or follow the published models. Here options meet: several
decoder stages and their ways to merge, pooling windows and pyramids, cells and crop sizes. The
numbers are the official code's for golden weights: its classes at a few pixels.
"""

import zlib

import numpy as np
import pytest
import tensorflow as tf

from deeplab import common, model
from deeplab.testing import golden, parity
from deeplab.utils import checkpoint

_CASES, _ARRAYS = golden.misc("option_combinations")
_BLOCK = 8
# One case in which much meets; the others are slow ones.
_FAST = ("mobilenet_v2_dpc2_pyr_poolcrop",)


def _image(height: int, width: int, batch: int) -> tf.Tensor:
    """Blocks of random colors, float32."""
    size = (batch, -(-height // _BLOCK), -(-width // _BLOCK), 3)
    blocks = np.random.RandomState(0).randint(0, 256, size)  # noqa: NPY002 (the rule's own)
    image = blocks.repeat(_BLOCK, axis=1).repeat(_BLOCK, axis=2)[:, :height, :width]
    return tf.constant(image, tf.float32)


def _options(values: dict) -> common.ModelOptions:
    if cell := values.get("dense_prediction_cell_json"):
        values = values | {"dense_prediction_cell_json": str(golden.dense_prediction_cell(cell))}
    return common.ModelOptions(**values)


def _compare(name: str, ours: tf.Tensor) -> None:
    theirs = _ARRAYS[name]
    height, width = ours.shape[1:3]
    ours = np.asarray(ours)[:, [0, height // 2, height - 1]]
    ours = ours[:, :, [0, width // 3, width - 1], : theirs.shape[-1]]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.max(np.abs(theirs)))


@pytest.mark.parametrize(
    "name",
    [name if name in _FAST else pytest.param(name, marks=pytest.mark.slow) for name in _CASES],
)
def test_options_combine_as_in_the_official_code(name):
    case = _CASES[name]
    with parity.backbones.used():
        net = model.DeepLab(_options(case["options"]), random_weights=False)
    variables = checkpoint.official_variables(net)
    shapes = sorted((key, tuple(variable.shape)) for key, variable in variables.items())
    assert len(shapes) == case["num_variables"]
    text = "\n".join(f"{key} {shape}" for key, shape in shapes)
    assert zlib.crc32(text.encode()) == case["variables_crc32"], "names or shapes differ"

    golden.assign(variables)
    images = _image(*case["image"])
    scales = case.get("eval_scales")
    with parity.returned("multi_scale") as passes:
        _, probabilities = model.predict_labels(
            net, images, scales or (1.0,), case.get("add_flipped_images", False)
        )
    if not scales:
        ((logits, _),) = passes
        _compare(f"{name}/logits", logits)
    # The official multi-scale probabilities went through the softmax once more.
    _compare(f"{name}/prob", tf.nn.softmax(probabilities) if scales else probabilities)
