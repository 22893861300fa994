"""MobileNetEdgeTPU against the official code."""

from deeplab.testing import backbone_case


class TestMobilenetEdgeTPU(backbone_case.BackboneCase):
    model_variant = "mobilenet_edgetpu"
    golden_prefix = "edgetpu"
    options = {"depth_multiplier": 0.35}
