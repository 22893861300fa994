"""`keras.Model.fit` with the steps of the official trainer."""

import dataclasses
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from deeplab import model
from deeplab.core.options import TrainOptions
from deeplab.training import losses
from deeplab.training.state import begin_run
from deeplab.training.step import TrainStep


@keras.saving.register_keras_serializable(package="deeplab")
class TrainableDeepLab(model.DeepLab):
    """A DeepLab whose `fit` makes the updates of `trainer.Trainer`, by the same code.

    What Keras' own step of a `DeepLab` leaves out is in: weight decay, the rates of biases and last
    layers, the loss of each scale of an image pyramid, the ramp of hard example mining, drop path,
    and a dropout that depends on seed and step alone. Whatever else Keras does with a model goes on
    as ever: `evaluate`, `predict`, callbacks, strategies, and `.keras` files, which keep how the
    network is trained and go on where they stopped.

    Example:
        net = TrainableDeepLab(common.ModelOptions(num_classes=21))
        net.compile(TrainOptions(training_number_of_steps=600), ignore_label=255)
        net.fit(data_generator.pairs(records.training(8)), steps_per_epoch=200, epochs=3)
    """

    def compile(
        self,
        train_options: TrainOptions,
        ignore_label: int,
        metrics: Sequence[keras.metrics.Metric] | None = None,
        **kwargs: Any,
    ) -> None:
        """Sets how the network is trained.

        Args:
            train_options: how. `fit` itself decides for how long and what it saves; let the product
                of its epochs and steps be `training_number_of_steps`, at which the learning rate
                ends, and let its batches have `train_batch_size` images.
            ignore_label: label of the pixels that do not count.
            metrics: of labels and merged logits, such as `keras_metrics.MeanIoU`.
            **kwargs: `run_eagerly` and `steps_per_execution` of `keras.Model.compile`.

        Raises:
            ValueError: options that contradict each other or the network.
        """
        # XLA is what `TrainOptions.jit_compile` asks for; Keras would compile all of `fit` with it.
        if kwargs.setdefault("jit_compile", False):
            raise ValueError("set TrainOptions(jit_compile=True) instead of compile's jit_compile")
        with self.distribute_strategy.scope():
            state = begin_run(self, train_options)
            self._step = TrainStep(state, train_options, ignore_label, observe=self._observe)
        # What `evaluate` measures; `fit` has the step's own.
        loss = losses.SegmentationLoss(
            ignore_label, train_options.label_weights or 1.0, train_options.upsample_logits
        )
        super().compile(state.optimizer, loss, metrics=metrics, auto_scale_loss=False, **kwargs)
        self._compile_arguments = keras.saving.serialize_keras_object(
            {
                "train_options": dataclasses.asdict(train_options),
                "ignore_label": ignore_label,
                "metrics": metrics,
                **kwargs,
            }
        )

    def _observe(self, labels: tf.Tensor, logits: tf.Tensor) -> None:
        self.compute_metrics(None, labels, logits, None)

    def train_step(self, data: tuple[tf.Tensor, ...]) -> dict[str, Any]:
        """Makes one update; called by `fit`.

        Args:
            data: images [B, H, W, 3], RGB 0..255, and labels [B, H, W] or [B, H, W, 1].
        """
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        if weights is not None:
            raise ValueError("fit takes no sample_weight or class_weight: set label_weights")
        values = self._step.in_replica(images, labels)
        self._loss_tracker.update_state(values["total_loss"], tf.shape(images)[0])
        return self.get_metrics_result()

    def compute_loss(self, *args: Any, **kwargs: Any) -> tf.Tensor:
        """The loss in `evaluate`, with the weight decay that the loss in `fit` has, too."""
        replicas = self.distribute_strategy.num_replicas_in_sync
        return super().compute_loss(*args, **kwargs) + self._step.regularization_loss() / replicas

    def save_own_variables(self, store: MutableMapping[str, np.ndarray]) -> None:
        """Keeps the state of the step, too, that is not the optimizer's."""
        super().save_own_variables(store)
        for index, variable in enumerate(self._step_state()):
            store[f"step_{index}"] = keras.ops.convert_to_numpy(variable)

    def load_own_variables(self, store: Mapping[str, np.ndarray]) -> None:
        """Takes up what `save_own_variables` kept."""
        super().load_own_variables(store)
        for index, variable in enumerate(self._step_state()):
            variable.assign(store[f"step_{index}"])

    def _step_state(self) -> list[keras.Variable]:
        return list(self._step.state.own_variables().values()) if self.compiled else []

    def get_compile_config(self) -> dict[str, Any]:
        """The arguments of `compile`, for `.keras` files."""
        return self._compile_arguments if self.compiled else {}

    def compile_from_config(self, config: Mapping[str, Any]) -> None:
        """Compiles with what `get_compile_config` gave."""
        arguments = keras.saving.deserialize_keras_object(config)
        options = TrainOptions(**arguments.pop("train_options"))
        self.compile(options, **arguments)
