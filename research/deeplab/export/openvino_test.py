"""OpenVINO reads a SavedModel as it is."""

import numpy as np
import pytest

from deeplab import model
from deeplab.testing import tiny


@pytest.mark.slow
def test_openvino_predicts_what_the_network_predicts(net, export):
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    core = openvino.Core()
    # Without it, OpenVINO computes in bfloat16 on processors that can.
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(str(export)), "CPU", settings)
    (labels,) = (each for each in compiled.outputs if "SemanticPredictions" in each.get_names())
    for size in ((33, 33), (40, 50)):
        images = np.stack([tiny.picture(*size, seed) for seed in range(2)])
        found = compiled([images])[labels]
        expected, _ = model.predict_labels(net, images)
        assert np.mean(found == expected) >= 0.999
        assert len(np.unique(found)) > 1
