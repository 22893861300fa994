"""A network that predicts the labels of images."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import tensorflow as tf

from deeplab import common, model
from deeplab.core import dense_crf, depthwise, networks, windows
from deeplab.core.options import InferenceOptions
from deeplab.sharing import parallel
from deeplab.utils import checkpoint

_Item, _Result = TypeVar("_Item"), TypeVar("_Result")
# One graph at a time is traced: threads would share what Keras knows of the current call.
_tracing = threading.Lock()


class NetworkPredictor:
    """Predicts the labels of images with a network that is built here or being trained.

    The network and its graph are built once, for images of every size.

    Example:
        inference = InferenceOptions(eval_scales=(0.5, 1.0), add_flipped_images=True)
        predictor = NetworkPredictor(options, inference)
        step = predictor.restore("train_log/model.ckpt-30000")
        labels = predictor(images)

    Args:
        options: Options of the network.
        inference: Scales, flips, CRF and windows of the prediction.
        net: A network that is being trained, in any precision; each call uses its current values
            and computes in float32. None: a network is built, whose weights are zeros until
            `restore`.
        devices: Names of the devices that `map` uses; each gets a network of its own. Default:
            the one that TensorFlow chooses.

    Attributes:
        net: The network, of the first device.
        options: Options of the network; those that may vary between uses (`crop_size`) are the
            given ones.
        inference: Scales, flips, CRF and windows of the prediction.

    Raises:
        ValueError: There is no such network, or its classes are not those of the CRF.
    """

    def __init__(
        self,
        options: common.ModelOptions,
        inference: InferenceOptions | None = None,
        net: model.DeepLab | None = None,
        devices: Sequence[str] = (),
    ):
        self._device = devices[0] if devices else None
        self.inference = inference or InferenceOptions()
        if self.inference.crf:
            self.inference.crf.check_classes(options.num_classes)
        self.options = options
        with self._on_device():
            self.net = net or model.DeepLab(options, random_weights=False)
        self._labels = _Graphs(self, lambda labels, _: (labels,))
        self._both = _Graphs(self, lambda labels, probabilities: (labels, probabilities))
        self._confidence = _Graphs(
            self, lambda labels, probabilities: (labels, tf.reduce_max(probabilities, axis=-1))
        )
        self._others = [
            NetworkPredictor(options, self.inference, devices=[device]) for device in devices[1:]
        ]

    def restore(self, path: str, *, averages: bool = False) -> int:
        """Load the values of a checkpoint.

        Args:
            path: Prefix of the checkpoint.
            averages: Load the moving averages of the weights; see `checkpoint.restore`.

        Returns:
            The step of the checkpoint; 0 if it holds none.

        Raises:
            FileNotFoundError: There is no such checkpoint.
            ValueError: It is the checkpoint of another network, or holds no moving averages.
        """
        for other in self._others:
            other.restore(path, averages=averages)
        return checkpoint.restore(self.net, path, averages=averages)

    def map(
        self, function: Callable[["NetworkPredictor", _Item], _Result], items: Iterable[_Item]
    ) -> Iterator[_Result]:
        """Yield `function(predictor, item)` for each item, in order.

        Each item goes to the predictor of a device that is free; see `parallel.map_in_order`.
        """
        workers = [functools.partial(function, each) for each in (self, *self._others)]
        return parallel.map_in_order(workers, items)

    def __call__(self, images: tf.Tensor, sizes: tf.Tensor | None = None) -> np.ndarray:
        """Predict the labels of images, with a CRF the refined ones.

        Args:
            images: [B, H, W, 3], RGB 0..255.
            sizes: Heights and widths, int [B, 2], of images that are padded at the bottom and on
                the right. An image is then seen with the padding that it has in a batch of its own,
                so its labels do not depend on its batch. Labels in the padding may be 0.

        Returns:
            int32 [B, H, W].
        """
        if self.inference.crf:
            return self.before_and_after_crf(images, sizes)[1]
        (labels,) = self._by_size(
            images, sizes, lambda images, _, sides: self._labels(images, sides)
        )
        return labels

    def probabilities(self, images: tf.Tensor, sizes: tf.Tensor | None = None) -> tf.Tensor:
        """Predict probabilities without a CRF, float32 [B, H, W, classes]; see `__call__`."""
        _, probabilities = self._by_size(
            images, sizes, lambda images, _, sides: self._both(images, sides)
        )
        return tf.convert_to_tensor(probabilities)

    def before_and_after_crf(
        self, images: tf.Tensor, sizes: tf.Tensor | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predict the labels before and after the CRF, which is required; see `__call__`."""

        def predict(
            images: tf.Tensor, sizes: tf.Tensor | None, sides: np.ndarray | None
        ) -> tuple[tf.Tensor, tf.Tensor]:
            labels, probabilities = self._both(images, sides)
            refined = dense_crf.refine(images, probabilities, self.inference.crf, sizes)
            return labels, tf.argmax(refined, axis=-1, output_type=tf.int32)

        return self._by_size(images, sizes, predict)

    def with_confidence(
        self, images: tf.Tensor, sizes: tf.Tensor | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predict labels and how sure the network is of them; see `__call__`.

        Returns:
            int32 [B, H, W], and the probability of that label, float32 [B, H, W]; with a CRF both
            are the refined ones.
        """

        def predict(
            images: tf.Tensor, sizes: tf.Tensor | None, sides: np.ndarray | None
        ) -> tuple[tf.Tensor, tf.Tensor]:
            if not self.inference.crf:
                return self._confidence(images, sides)
            _, probabilities = self._both(images, sides)
            refined = dense_crf.refine(images, probabilities, self.inference.crf, sizes)
            labels = tf.argmax(refined, axis=-1, output_type=tf.int32)
            return labels, tf.reduce_max(refined, axis=-1)

        return self._by_size(images, sizes, predict)

    def _by_size(
        self, images: tf.Tensor, sizes: tf.Tensor | None, predict: Callable[..., tuple]
    ) -> tuple[np.ndarray, ...]:
        """Predict images of one padded size at a time; join the results in order.

        Args:
            images: See `__call__`.
            sizes: See `__call__`.
            predict: Takes images; their sizes, int32 [B, 2]; and the sides of their windows,
                integers [2]. The last two may be None. Returns tensors [B, H, W, ...].
        """
        with self._on_device():
            return self._joined(tf.cast(images, tf.float32), sizes, predict)

    def _joined(
        self, images: tf.Tensor, sizes: tf.Tensor | None, predict: Callable[..., tuple]
    ) -> tuple[np.ndarray, ...]:
        window = self.inference.window
        if sizes is None and not window:
            return tuple(values.numpy() for values in predict(images, None, None))
        if sizes is None:
            sizes = [images.shape[1:3]] * len(images)
        sizes = np.asarray(sizes)
        padded = np.maximum(sizes, self.options.crop_size or 0)
        padded = np.minimum(padded, images.shape[1:3])
        layouts = padded
        if window:
            layouts = np.concatenate(windows.layout(sizes, padded, window), axis=1)
        outputs: tuple[np.ndarray, ...] = ()
        for layout in np.unique(layouts, axis=0):
            (members,) = np.nonzero((layouts == layout).all(axis=1))
            height, width, *sides = layout
            part = tf.gather(images, members)[:, :height, :width]
            results = predict(part, tf.constant(sizes[members]), sides)
            outputs = outputs or tuple(
                np.zeros((*images.shape[:3], *values.shape[3:]), values.dtype.as_numpy_dtype)
                for values in results
            )
            for output, values in zip(outputs, results, strict=True):
                output[members, :height, :width] = values.numpy()
        return outputs

    def _on_device(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._device is None else tf.device(self._device)

    def _predict(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # The sums of windows are on another device. A network that is being trained may compute in
        # another precision, but its checkpoints are evaluated in this one.
        with (
            self._on_device(),
            _tracing,
            depthwise.native_dilation(),
            networks.precision(self.net, "float32"),
        ):
            return model.predict_labels(
                self.net,
                images,
                self.inference.eval_scales,
                self.inference.add_flipped_images,
            )


class _Graphs:
    """Graphs that make something of the labels and probabilities of images.

    Args:
        predictor: The network, and how it is applied.
        finish: Takes labels [...] and probabilities [..., classes]; returns what is asked for.
    """

    def __init__(
        self,
        predictor: NetworkPredictor,
        finish: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, ...]],
    ):
        spec = tf.TensorSpec((None, None, None, 3), tf.float32)

        @tf.function(input_signature=[spec], autograph=False)
        def whole(images: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return finish(*predictor._predict(images))

        @tf.function(input_signature=[spec, tf.TensorSpec((2,), tf.int32)], autograph=False)
        def in_windows(images: tf.Tensor, sides: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return windows.average(
                lambda crops: predictor._predict(crops)[1],
                images,
                sides,
                predictor.inference.window,
                predictor.options.num_classes,
                lambda mean: finish(tf.argmax(mean, axis=-1, output_type=tf.int32), mean),
            )

        self.whole, self.in_windows = whole, in_windows

    def __call__(self, images: tf.Tensor, sides: Sequence[int] | None) -> tuple[tf.Tensor, ...]:
        """Predict images [B, H, W, 3] in windows of these sides; without sides, whole."""
        if not sides or tuple(sides) == tuple(images.shape[1:3]):
            return self.whole(images)
        return self.in_windows(images, tf.constant(sides, tf.int32))
