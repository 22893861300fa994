"""`keras.Model.fit` with the training steps of `trainer.Trainer`."""

import dataclasses
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from deeplab import model
from deeplab.core import keras_internals
from deeplab.core.options import LossOptions, TrainOptions
from deeplab.training import losses
from deeplab.training.state import begin_run
from deeplab.training.step import TrainStep


@keras.saving.register_keras_serializable(package="deeplab")
class TrainableDeepLab(model.DeepLab):
    """A DeepLab whose `fit` makes the updates of `trainer.Trainer`, with the same code.

    Keras' own training step of a `DeepLab` has no weight decay, gradient multipliers, losses of the
    scales of an image pyramid, ramp of hard example mining or drop path, and its dropout does not
    depend on seed and step alone. Here `fit` has all of them. Everything else works as in every
    Keras model: `evaluate`, `predict`, callbacks, strategies, and `.keras` files. A `.keras` file
    stores how the network is trained, and `fit` resumes from it.

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
        """Set how the network is trained.

        Args:
            train_options: How to train. The arguments of `fit` decide how long it trains and what
                it saves. Epochs times steps should be `training_number_of_steps`, where the
                learning rate ends, and batches should have `train_batch_size` images.
            ignore_label: Label of the pixels that do not count.
            metrics: Metrics of labels and merged logits, such as `keras_metrics.MeanIoU`.
            **kwargs: `run_eagerly` and `steps_per_execution` of `keras.Model.compile`.

        Raises:
            ValueError: The options contradict each other or the network.
        """
        # `TrainOptions.jit_compile` compiles the step; Keras would compile all of `fit` with XLA.
        if kwargs.setdefault("jit_compile", False):
            raise ValueError("set TrainOptions(jit_compile=True) instead of compile's jit_compile")
        with self.distribute_strategy.scope():
            state = begin_run(self, train_options)
            self._step = TrainStep(state, train_options, ignore_label, observe=self._observe)
        # For `evaluate`; `fit` uses the losses of the step.
        loss = losses.SegmentationLoss(ignore_label, **_loss_of_all_pixels(train_options))
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
        """Make one update; called by `fit`.

        Args:
            data: Images [B, H, W, 3], RGB 0..255, and labels [B, H, W] or [B, H, W, 1].
        """
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        if weights is not None:
            raise ValueError("fit takes no sample_weight or class_weight: set label_weights")
        values = self._step.in_replica(images, labels)
        loss_tracker = keras_internals.loss_tracker(self)
        loss_tracker.update_state(values["total_loss"], tf.shape(images)[0])
        return self.get_metrics_result()

    def compute_loss(self, *args: Any, **kwargs: Any) -> tf.Tensor:
        """Return the loss of `evaluate`; it includes the weight decay, as the loss of `fit`."""
        replicas = self.distribute_strategy.num_replicas_in_sync
        return super().compute_loss(*args, **kwargs) + self._step.regularization_loss() / replicas

    def save_own_variables(self, store: MutableMapping[str, np.ndarray]) -> None:
        """Save also the state that neither the network nor the optimizer holds."""
        super().save_own_variables(store)
        for index, variable in enumerate(self._step_state()):
            store[f"step_{index}"] = keras.ops.convert_to_numpy(variable)

    def load_own_variables(self, store: Mapping[str, np.ndarray]) -> None:
        """Load what `save_own_variables` saved."""
        super().load_own_variables(store)
        for index, variable in enumerate(self._step_state()):
            variable.assign(store[f"step_{index}"])

    def _step_state(self) -> list[keras.Variable]:
        return list(self._step.state.own_variables().values()) if self.compiled else []

    def get_compile_config(self) -> dict[str, Any]:
        """Return the arguments of `compile`, for `.keras` files."""
        return self._compile_arguments if self.compiled else {}

    def compile_from_config(self, config: Mapping[str, Any]) -> None:
        """Compile with the arguments that `get_compile_config` returned."""
        arguments = keras.saving.deserialize_keras_object(config)
        options = TrainOptions(**arguments.pop("train_options"))
        self.compile(options, **arguments)


def _loss_of_all_pixels(options: LossOptions) -> dict[str, Any]:
    """Return the arguments of a `SegmentationLoss` without hard example mining."""
    names = {field.name for field in dataclasses.fields(LossOptions)}
    names -= {"top_k_percent_pixels", "hard_example_mining_step"}
    values = {name: getattr(options, name) for name in names}
    return values | {"label_weights": options.label_weights or 1.0}
