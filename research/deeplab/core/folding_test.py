"""Folded weights give the network's numbers, and are gone afterward."""

import numpy as np
import pytest

from deeplab import model
from deeplab.core import folding, keras_internals, layers
from deeplab.testing import golden, tiny
from deeplab.utils import checkpoint

_OPTIONS = {
    "mobilenet_v2": {"depth_multiplier": 0.1, "divisible_by": 1},
    "xception_41": {},
    "resnet_v1_18": {},
}


def _network(name):
    options = tiny.OPTIONS.replace(model_variant=name, output_stride=16, **_OPTIONS[name])
    with tiny.shallow():
        net = model.DeepLab(options, random_weights=False)
    golden.assign(checkpoint.official_variables(net))
    return net


@pytest.mark.parametrize(
    "name", ["mobilenet_v2", *(pytest.param(n, marks=pytest.mark.slow) for n in list(_OPTIONS)[1:])]
)
def test_the_logits_are_those_of_the_network(name):
    net = _network(name)
    images = tiny.picture(33, 33)[np.newaxis]
    expected = net(images).numpy()
    held = []

    def hold(value):
        held.append(value)
        return value

    with folding.folded(net, hold) as others:
        logits = net(images).numpy()
    assert others == []
    np.testing.assert_allclose(logits, expected, atol=1e-5 * np.abs(expected).max())
    convolutions = [
        layer for layer in keras_internals.sublayers(net) if isinstance(layer, layers.Convolution)
    ]
    assert all(layer.arithmetic is None for layer in convolutions)
    pairs = list(folding._linear_pairs(net))
    assert bool(pairs) == (name == "xception_41")
    # A weight and a bias each; the first of a pair has no bias.
    assert len(held) == 2 * len(convolutions) - len(pairs)
    np.testing.assert_array_equal(net(images), expected)
