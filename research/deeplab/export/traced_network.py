"""A network that is traced once for all signatures."""

import contextlib
from collections.abc import Sequence

import tensorflow as tf

from deeplab import model
from deeplab.core import depthwise


class TracedNetwork:
    """A network whose operations are in one function, which every signature calls.

    It can replace a `DeepLab` in `model.predict_labels` and `inference_graph`.

    Args:
        net: The network.
        native_dilation: Use native dilation in depthwise convolutions if this machine supports it.
    """

    def __init__(self, net: model.DeepLab, native_dilation: bool = False):
        self.options = net.options
        self.logits_stride = net.logits_stride
        self.preprocessing = net.preprocessing
        self._net = net
        self._native_dilation = native_dilation
        self._functions: dict[tuple[float, ...] | None, tf.types.experimental.Callable] = {}

    def __call__(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """See `model.DeepLab.call`; `training` must be False."""
        del training
        return self._function(None)(images)

    def multi_scale(
        self, images: tf.Tensor, image_pyramid: Sequence[float]
    ) -> tuple[tf.Tensor, None]:
        """Return the merged logits of `model.DeepLab.multi_scale`."""
        return self._function(tuple(image_pyramid))(images), None

    def _function(self, image_pyramid: tuple[float, ...] | None) -> tf.types.experimental.Callable:
        """Return the function from images to merged logits for these scales."""
        if image_pyramid not in self._functions:

            @tf.function(
                input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)], autograph=False
            )
            def logits(images: tf.Tensor) -> tf.Tensor:
                with contextlib.ExitStack() as stack:
                    if self._native_dilation:
                        stack.enter_context(depthwise.native_dilation())
                    return self._net.multi_scale(images, image_pyramid=image_pyramid)[0]

            self._functions[image_pyramid] = logits
        return self._functions[image_pyramid]
