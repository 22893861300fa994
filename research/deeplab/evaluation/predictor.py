"""A network that predicts the labels of images."""

import numpy as np
import tensorflow as tf

from deeplab import common, model
from deeplab.core import dense_crf, depthwise
from deeplab.core.options import InferenceOptions
from deeplab.utils import checkpoint


class Predictor:
    """Predicts the labels of images.

    Example:
        inference = InferenceOptions(eval_scales=(0.5, 1.0), add_flipped_images=True)
        predictor = Predictor(options, inference)
        step = predictor.restore("train_log/model.ckpt-30000")
        labels = predictor(images)

    The network and its graph are built once, for images of every size.

    Args:
        options: of the network.
        inference: how the network is applied.
        net: the network, where it is being trained; its values are taken as they are at each call.
            None: it is built.

    Attributes:
        net: the network.
        options: of the network, except for what may differ from one use to another (`crop_size`).
        inference: how the network is applied.

    Raises:
        ValueError: There is no such network, or its classes are not those of the CRF.
    """

    def __init__(
        self,
        options: common.ModelOptions,
        inference: InferenceOptions | None = None,
        net: model.DeepLab | None = None,
    ):
        self.inference = inference or InferenceOptions()
        if self.inference.crf:
            self.inference.crf.check_classes(options.num_classes)
        self.options = options
        self.net = net or model.DeepLab(options)
        signature = [tf.TensorSpec((None, None, None, 3), tf.float32)]
        self._graph = tf.function(lambda images: self._predict(images)[0], signature)
        self._with_probabilities = tf.function(self._predict, signature)

    def restore(self, path: str, *, averages: bool = False) -> int:
        """Takes the values of a checkpoint.

        Args:
            path: its prefix.
            averages: take the moving averages of the weights; see `checkpoint.restore`.

        Returns:
            The step at which it was written; 0 where it does not say.

        Raises:
            FileNotFoundError: there is no such checkpoint.
            ValueError: it is that of another network, or holds no averages.
        """
        return checkpoint.restore(self.net, path, averages=averages)

    def __call__(self, images: tf.Tensor, sizes: tf.Tensor | None = None) -> np.ndarray:
        """The labels of images, refined where there is a CRF.

        Args:
            images: [B, H, W, 3], RGB 0..255.
            sizes: heights and widths of the images, int [B, 2], where they are padded below and
                to the right. With a CRF labels in the padding are 0.

        Returns:
            int32 [B, H, W].
        """
        if self.inference.crf:
            return self.before_and_after_crf(images, sizes)[1]
        return self._graph(tf.cast(images, tf.float32)).numpy()

    def probabilities(self, images: tf.Tensor) -> tf.Tensor:
        """The network's own: images [B, H, W, 3], RGB 0..255 -> float32 [B, H, W, classes]."""
        return self._with_probabilities(tf.cast(images, tf.float32))[1]

    def before_and_after_crf(
        self, images: tf.Tensor, sizes: tf.Tensor | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The network's own labels and the refined ones; as `__call__`, there has to be a CRF."""
        labels, probabilities = self._with_probabilities(tf.cast(images, tf.float32))
        refined = dense_crf.refine(images, probabilities, self.inference.crf, sizes)
        return labels.numpy(), tf.argmax(refined, axis=-1, output_type=tf.int32).numpy()

    def _predict(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with depthwise.native_dilation():
            return model.predict_labels(
                self.net,
                images,
                self.inference.eval_scales,
                self.inference.add_flipped_images,
            )
