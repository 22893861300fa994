"""What TensorBoard shows of a training run, under the official names."""

import contextlib
from collections.abc import Iterator, Mapping

import keras
import tensorflow as tf

from deeplab.training import guards


class TrainSummaries:
    """Writes a run's curves, histograms, images and graph into an event file.

    What cannot be written, because the disk is full, is an error in the log; training goes on.
    """

    def __init__(self, logdir: str | None):
        """Makes the file.

        Args:
            logdir: its folder; None: nothing is written.
        """
        self._writer = tf.summary.create_noop_writer()
        if logdir is None:
            return
        with guards.going_on("no file for TensorBoard could be made"):
            self._writer = tf.summary.create_file_writer(logdir)

    @contextlib.contextmanager
    def _writing(self, step: int) -> Iterator[None]:
        # What is written is flushed at the end, and cannot fail later than that.
        with (
            guards.going_on("summaries for TensorBoard could not be written"),
            self._writer.as_default(step),
        ):
            yield

    def losses(self, values: Mapping[str, tf.Tensor], rate: float, step: int) -> None:
        """The curves.

        Args:
            values: what `TrainStep` returns for a step.
            rate: its learning rate.
            step: its number.
        """
        with self._writing(step):
            tf.summary.scalar("learning_rate", rate)
            for name, value in values.items():
                own = name in ("total_loss", "loss_scale")
                tf.summary.scalar(name if own else f"losses/{name}", value)

    def histograms(self, variables: Mapping[str, keras.Variable], step: int) -> None:
        """How the values of each variable are distributed."""
        with self._writing(step):
            for name, variable in variables.items():
                tf.summary.histogram(name, tf.convert_to_tensor(variable))

    def images(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        predictions: tf.Tensor,
        num_classes: int,
        step: int,
    ) -> None:
        """The first images of a batch.

        Args:
            images: [B, H, W, 3], RGB 0..255.
            labels: integers [B, H, W, 1].
            predictions: integers [B, H, W].
            num_classes: number of classes.
            step: of training.
        """
        # Label values spread over the grey levels, as the official summaries show them.
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
        """The operations of a step."""
        with self._writing(step=0):
            tf.summary.graph(graph)
