"""MobileNetV2 against the official code."""

from deeplab.testing import backbone_case


class TestMobilenetV2(backbone_case.BackboneCase):
    model_variant = "mobilenet_v2"
    golden_prefix = "mnv2"
    options = {"depth_multiplier": 0.5}
    shallow = True
