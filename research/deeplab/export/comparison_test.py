"""Which differences from the network an export may have."""

import numpy as np
import pytest

from deeplab.export import comparison, inference_graph

_PROBABILITIES = np.full((1, 8, 8, 2), 0.5, np.float32)


def _with_changed(share: float, change: float) -> dict[str, np.ndarray]:
    """Return outputs in which a share of the pixels has other probabilities."""
    values = _PROBABILITIES.copy()
    values.reshape(-1, 2)[: round(64 * share)] += (change, -change)
    return {inference_graph.PROBABILITIES: values}


@pytest.mark.parametrize(
    ("precision", "share", "change"),
    [("float32", 1, 0.0009), ("bfloat16", 0.1, 0.4), ("bfloat16", 1, 0.1)],
)
def test_rounding_is_no_difference(precision, share, change):
    wanted = {inference_graph.PROBABILITIES: _PROBABILITIES}
    comparison.compare("export", _with_changed(share, change), wanted, precision)


@pytest.mark.parametrize(
    ("precision", "share", "change", "message"),
    [
        ("float32", 0.1, 0.002, "by 0.002, more than 0.001; nothing was exported$"),
        ("bfloat16", 0.5, 0.4, "by 0.2, more than 0.15; .*leave out --precision=bfloat16"),
    ],
)
def test_a_larger_difference_is_an_error(precision, share, change, message):
    wanted = {inference_graph.PROBABILITIES: _PROBABILITIES}
    with pytest.raises(ValueError, match=f"export: SemanticProbabilities differs .*{message}"):
        comparison.compare("export", _with_changed(share, change), wanted, precision)


def test_other_labels_are_an_error_in_bfloat16_too():
    labels = np.zeros((1, 8, 8), np.int32)
    other = labels.copy()
    other[:, :1] = 1
    wanted = {inference_graph.PREDICTIONS: labels}
    comparison.compare("export", {inference_graph.PREDICTIONS: other}, wanted, "bfloat16")
    other[:, :2] = 1
    with pytest.raises(ValueError, match="SemanticPredictions differs .* 0.25, more than 0.2"):
        comparison.compare("export", {inference_graph.PREDICTIONS: other}, wanted, "bfloat16")
