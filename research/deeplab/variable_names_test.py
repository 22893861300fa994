"""The variables of each kind of network, as checkpoints hold them: names, shapes, order.

The lists are those of checkpoints in use. A quantized network has the variables of the float one,
in the same order, and those of its quantizers, whose order is of no account.
"""

import contextlib
import pathlib
import re

import pytest

from deeplab import common, model
from deeplab.core.options import TrainOptions
from deeplab.testing import golden, tiny
from deeplab.training.trainer import Trainer
from deeplab.utils import checkpoint

_NETWORKS, _ = golden.misc("variable_names")
_QUANTIZER = re.compile(r"_quant(_\d+)?/")
_FAST = ("mobilenet_v2-dec84_sum",)
_RECIPES = pathlib.Path(__file__).parent / "recipes"


def _names() -> list:
    """Return the networks; all but a few are slow to build."""
    return [
        name if name in _FAST else pytest.param(name, marks=pytest.mark.slow) for name in _NETWORKS
    ]


def _build(name: str, *, quantize: bool) -> model.DeepLab:
    options = dict(_NETWORKS[name]["options"])
    if cell := options.get("dense_prediction_cell_json"):
        options["dense_prediction_cell_json"] = str(_RECIPES / cell)
    shallow = tiny.shallow() if _NETWORKS[name].get("shallow") else contextlib.nullcontext()
    with shallow:
        return model.DeepLab(
            common.ModelOptions(quantize=quantize, crop_size=(65, 65), **options),
            random_weights=False,
        )


def _variables(net: model.DeepLab) -> list[list]:
    """Return name, shape and whether it is trained of each variable, in the network's order."""
    return [
        [name, list(variable.shape), variable.trainable]
        for name, variable in checkpoint.official_variables(net).items()
    ]


@pytest.mark.parametrize("name", _names())
def test_a_network_and_its_run_have_the_variables_of_their_checkpoints(name):
    expected = _NETWORKS[name]["variables"]
    net = _build(name, quantize=True)
    quantized = _variables(net)
    assert sorted(quantized) == sorted(expected)
    floats = [row for row in expected if not _QUANTIZER.search(row[0])]
    assert [row for row in quantized if not _QUANTIZER.search(row[0])] == floats
    assert _variables(_build(name, quantize=False)) == floats

    if "trainer" in _NETWORKS[name]:
        trainer = Trainer(net, TrainOptions(quantize_delay_step=0), 255)
        trainer.begin()
        network = [row[0] for row in expected]
        assert sorted(trainer.variables()) == sorted(network + _NETWORKS[name]["trainer"])
