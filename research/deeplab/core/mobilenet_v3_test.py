"""MobileNetV3 against the official code, and its activations."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab import model
from deeplab.core import joints
from deeplab.testing import backbone_case
from deeplab.utils import checkpoint


class MobilenetV3Case(backbone_case.BackboneCase):
    """Properties of both networks."""

    @pytest.mark.slow
    def test_dense_features_contain_the_coarse_ones(self, monkeypatch):
        """They do once squeeze-and-excitation, which averages the map, gives constants."""
        build, gates = self.build, []

        def with_constant_gates(**changes) -> model.DeepLab:
            net = build(**changes)
            for name, variable in checkpoint.official_variables(net).items():
                if name.endswith("squeeze_excite/Conv_1/weights"):
                    gates.append((variable, variable.numpy()))
                    variable.assign(tf.zeros(variable.shape))
            return net

        monkeypatch.setattr(self, "build", with_constant_gates)
        super().test_dense_features_contain_the_coarse_ones()
        # As other tests find the networks.
        for variable, value in gates:
            variable.assign(value)


class TestMobilenetV3Large(MobilenetV3Case):
    model_variant = "mobilenet_v3_large_seg"
    golden_prefix = "mnv3_large_seg"
    options = {"depth_multiplier": 0.5, "decoder_output_stride": (4,)}
    huge = True
    shallow = True


class TestMobilenetV3Small(MobilenetV3Case):
    """The small network with the head of the official model zoo, its windows larger than images."""

    model_variant = "mobilenet_v3_small_seg"
    golden_prefix = "mnv3_small_seg"
    heavy = True
    shallow = True
    # Its halved tenth layer has the channels of the ninth: with no stride it gets a residual.
    consistent_strides = (8, 16)
    options = {
        "crop_size": (129, 129),
        "image_pooling_crop_size": (65, 65),
        "image_pooling_stride": (1, 2),
        "aspp_convs_filters": 128,
        "aspp_with_concat_projection": False,
        "aspp_with_squeeze_and_excitation": True,
        "image_se_uses_qsigmoid": True,
        "decoder_output_stride": (8,),
        "decoder_filters": 5,
        "decoder_use_sum_merge": True,
        "decoder_output_is_logits": True,
    }


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_hard_swish_is_zero_below_and_the_identity_above_three(dtype):
    x = tf.constant([-9.0, -3.0, 0.0, 1.0, 3.0, 9.0], dtype)
    y = joints.HardSwish()(x)
    assert y.dtype == x.dtype
    np.testing.assert_allclose(
        tf.cast(y, tf.float32),
        [0.0, 0.0, 0.0, 2 / 3, 3.0, 9.0],
        rtol=1e-2 if "b" in dtype else 1e-6,
    )
