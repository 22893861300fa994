"""TensorBoard summaries of a training run, under the official names."""

import contextlib
from collections.abc import Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf
from tensorboard.plugins.histogram import metadata

from deeplab.training import guards

# Number of bars of a histogram; TensorBoard's own default.
_BUCKETS = 30


class TrainSummaries:
    """Writes curves, histograms, images and the graph of a run to an event file.

    If they cannot be written, for example because the disk is full, an error is logged and training
    continues.

    Args:
        logdir: Folder for the event file; None: nothing is written.
    """

    def __init__(self, logdir: str | None):
        self._writer = tf.summary.create_noop_writer()
        if logdir is None:
            return
        with guards.logged_errors("no event file for TensorBoard could be created"):
            self._writer = tf.summary.create_file_writer(logdir)

    @contextlib.contextmanager
    def _writing(self, step: int) -> Iterator[None]:
        # Everything is flushed at the end of the block, so that no error comes later.
        with (
            guards.logged_errors("summaries for TensorBoard could not be written"),
            self._writer.as_default(step),
        ):
            yield

    def losses(self, values: Mapping[str, tf.Tensor], rate: float, step: int) -> None:
        """Write the losses and the learning rate.

        Args:
            values: The result of a `TrainStep`.
            rate: Learning rate of the step.
            step: Number of the step.
        """
        with self._writing(step):
            tf.summary.scalar("learning_rate", rate)
            for name, value in values.items():
                own = name in ("total_loss", "loss_scale")
                tf.summary.scalar(name if own else f"losses/{name}", value)

    def histograms(self, variables: Mapping[str, keras.Variable], step: int) -> None:
        """Write a histogram of the values of each variable."""
        kind = metadata.create_summary_metadata(display_name=None, description=None)
        with self._writing(step):
            for name, variable in variables.items():
                tf.summary.write(name, histogram(variable.numpy()), metadata=kind)

    def images(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        predictions: tf.Tensor,
        num_classes: int,
        step: int,
    ) -> None:
        """Write the first images of a batch.

        Args:
            images: [B, H, W, 3], RGB 0..255.
            labels: Integers [B, H, W, 1].
            predictions: Integers [B, H, W].
            num_classes: Number of classes.
            step: Number of the step.
        """
        # Label values are spread over the gray levels, as in the official summaries.
        spread = max(1, 255 // num_classes)
        with self._writing(step):
            for name, picture in (
                ("image", images),
                ("label", labels * spread),
                ("semantic", predictions[..., tf.newaxis] * spread),
            ):
                picture = tf.saturate_cast(picture, tf.uint8)
                tf.summary.image(f"samples/{name}", picture, max_outputs=3)

    def graph(self, graph: tf.Graph) -> None:
        """Write the operations of a step."""
        with self._writing(step=0):
            tf.summary.graph(graph)


def histogram(values: np.ndarray) -> np.ndarray:
    """Return the buckets of TensorBoard's histograms.

    `tf.summary.histogram` gives the same, but it needs 240 bytes for each value, and several
    milliseconds for each variable.

    Args:
        values: Floats of any shape. Those that are not finite do not count.

    Returns:
        float64 [30, 3]: the left edge, the right edge and the number of values of each bucket. Of
        equal values, all are in the last bucket.
    """
    # Between neighbors of float32 there are no 30 buckets.
    values = values[np.isfinite(values)].astype(np.float64)
    if not values.size:
        return np.zeros((_BUCKETS, 3))
    least, most = values.min(), values.max()
    if least == most:
        counts = [0] * (_BUCKETS - 1) + [values.size]
        return np.stack([np.full(_BUCKETS, least), np.full(_BUCKETS, least), counts], axis=1)
    counts, edges = np.histogram(values, bins=_BUCKETS)
    return np.stack([edges[:-1], edges[1:], counts], axis=1)
