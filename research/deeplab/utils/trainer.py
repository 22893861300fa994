"""The trainer: what one step does, and its checkpoints."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from deeplab import model
from deeplab.core import depthwise, layers, nas_cell
from deeplab.utils import (
    checkpoint,
    checkpoint_integrity,
    learning_rate,
    losses,
    optimizers,
    training_loop,
)
from deeplab.utils.train_options import TrainOptions

if TYPE_CHECKING:
    from deeplab.evaluation.training_evaluation import TrainingEvaluation


class Trainer:
    """Trains a network as the official trainer does, and keeps its checkpoints.

    Example:
        trainer = Trainer(net, TrainOptions(training_number_of_steps=600), ignore_label=255)
        trainer.open("train_log", initial_checkpoint="pascal/model.ckpt")
        trainer.train(dataset.training(batch_size=8, start_step=trainer.step))
    """

    def __init__(self, net: model.DeepLab, options: TrainOptions, ignore_label: int):
        """Prepares the optimizer.

        Args:
            net: the network.
            options: how to train it.
            ignore_label: label of the pixels that do not count.
        """
        self.net = net
        self.options = options
        self.ignore_label = ignore_label
        self.logdir: str | None = None
        classes = net.options.num_classes
        if options.label_weights and len(options.label_weights) != classes:
            raise ValueError(
                f"--label_weights is given {len(options.label_weights)} times; give one for each of"
                f" the {classes} classes"
            )
        net.set_fine_tune_batch_norm(options.fine_tune_batch_norm)
        self.optimizer = _optimizer(options)
        self.optimizer.build(net.trainable_weights)
        self._variables = checkpoint.official_variables(net)
        self._regularized = layers.regularized_variables(net)
        scopes = model.last_layer_scopes(options.last_layers_contain_logits_only)
        factors = optimizers.gradient_multipliers(
            self._variables, scopes, options.last_layer_gradient_multiplier
        )
        if options.last_layer_gradient_multiplier != 1.0 and not any(
            scope in name for name in self._variables for scope in scopes
        ):
            logging.warning(
                "--last_layer_gradient_multiplier has no effect: no variable is in %s", scopes
            )
        by_path = {
            variable.path: factors.get(name, 1.0) for name, variable in self._variables.items()
        }
        self._factors = [by_path[variable.path] for variable in net.trainable_weights]
        nas_cell.set_drop_path(net, options.drop_path_keep_prob, self._progress)
        # Of dropout and drop path.
        self._generators = [
            layer.seed_generator
            for layer in layers.sublayers(net)
            if isinstance(getattr(layer, "seed_generator", None), keras.random.SeedGenerator)
        ]
        self._compiled_step = tf.function(self._step)

    @property
    def step(self) -> int:
        """The number of updates made so far, the global step."""
        return int(self.optimizer.iterations.numpy())

    @property
    def learning_rate(self) -> float:
        """The rate of the next update."""
        return float(keras.ops.convert_to_numpy(self.optimizer.learning_rate))

    def variables(self) -> dict[str, keras.Variable]:
        """What a checkpoint holds besides the step: the network and the optimizer's slots."""
        return {**self._variables, **self.optimizer.official_variables(self._variables)}

    def _progress(self) -> tf.Tensor:
        """The share of the steps that are done, a float32 scalar."""
        step = tf.cast(tf.convert_to_tensor(self.optimizer.iterations), tf.float32)
        return step / self.options.training_number_of_steps

    # --- Starting, stopping and going on ---

    def open(
        self,
        logdir: str,
        initial_checkpoint: str | None = None,
        initialize_last_layer: bool = True,
    ) -> None:
        """Takes a folder for checkpoints and logs; goes on from the newest whole checkpoint in it.

        Args:
            logdir: the folder; made where it is not there.
            initial_checkpoint: where a new run's weights come from.
            initialize_last_layer: whether the last layers' weights come from there too.

        Raises:
            FileNotFoundError: the initial checkpoint is not there.
            ValueError: a checkpoint does not fit the network, or the folder holds damaged ones
                and nothing else.
        """
        tf.io.gfile.makedirs(logdir)
        self.logdir = logdir
        checkpoint_integrity.remove_leftovers(logdir)
        if newest := checkpoint_integrity.newest_whole(logdir):
            self._resume(newest)
            ignored = f"; --tf_initial_checkpoint={initial_checkpoint} is therefore ignored"
            logging.info(
                "going on from step %d of %s%s (for a new run, name another --train_logdir)",
                self.step,
                newest,
                ignored if initial_checkpoint else "",
            )
        elif initial_checkpoint:
            excluded = ()
            if not initialize_last_layer:
                excluded = model.last_layer_scopes(self.options.last_layers_contain_logits_only)
            checkpoint.initialize(self.net, initial_checkpoint, excluded)
        else:
            logging.info("starting from random weights: no --tf_initial_checkpoint")

    def _resume(self, path: str) -> None:
        """Restores everything that training changes."""
        reader = checkpoint.read(path)
        slots = self.optimizer.official_variables(self._variables)
        if not any(reader.has_tensor(name) for name in slots):
            raise ValueError(
                f"{path} was not written with --optimizer={self.options.optimizer}: it lacks"
                f" {next(iter(slots))} and its like; give the optimizer that it was trained with,"
                " or name another --train_logdir"
            )
        checkpoint.assign(self.variables(), reader, path)
        self.optimizer.iterations.assign(checkpoint.global_step(reader))

    def save(self, folder: str | None = None, max_to_keep: int = 5) -> str:
        """Writes a checkpoint, and the options beside it; returns its prefix.

        Args:
            folder: where to; None: the folder that was opened.
            max_to_keep: how many checkpoints the folder keeps.

        Raises:
            FloatingPointError: a variable is not finite. Nothing is written.
            OSError: the files cannot be written, and all is as it was before.
            tf.errors.OpError: likewise.
        """
        folder = folder or self.logdir
        variables = self.variables()
        for name, variable in variables.items():
            if not np.all(np.isfinite(variable.numpy())):
                raise FloatingPointError(
                    f"{name} is not finite after step {self.step}; nothing is saved, and the newest"
                    f" checkpoint is {checkpoint.latest(self.logdir) or 'none'}"
                )
        checkpoint.save_options(folder, self.net.options)
        return checkpoint.save(folder, self.step, variables, max_to_keep)

    # --- One step ---

    def train_step(self, images: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Makes one update.

        Args:
            images: [B, H, W, 3], RGB 0..255.
            labels: [B, H, W, 1].

        Returns:
            The losses before the update, float32 scalars: `semantic_merged_logits` and, with an
            image pyramid, `semantic_logits_<scale>`; `total_regularization_loss`; `total_loss`.
        """
        return self._compiled_step(images, labels)

    def graph(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Graph:
        """The operations of `train_step` for such a batch."""
        return self._compiled_step.get_concrete_function(images, labels).graph

    def _step(self, images: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        step = tf.cast(tf.convert_to_tensor(self.optimizer.iterations), tf.int64)
        self._reseed(step)
        variables = self.net.trainable_weights
        with depthwise.native_dilation(), tf.GradientTape() as tape:
            values = self.losses(images, labels, step)
            total = tf.add_n(list(values.values()))
        gradients = tape.gradient(total, [variable.value for variable in variables])
        gradients = [
            gradient if factor == 1.0 else gradient * factor
            for gradient, factor in zip(gradients, self._factors, strict=True)
        ]
        self.optimizer.apply(gradients, variables)
        return {**values, "total_loss": total}

    def losses(
        self, images: tf.Tensor, labels: tf.Tensor, step: tf.Tensor | int = 0
    ) -> dict[str, tf.Tensor]:
        """The terms of the loss by name, in training mode; see `train_step`."""
        options = self.options
        merged, scales = self.net.multi_scale(images, training=True)
        logits = {"semantic_merged_logits": merged}
        if len(scales) > 1:
            logits |= {f"semantic_logits_{scale:.2f}": each for scale, each in scales.items()}
        values = losses.softmax_cross_entropy_for_each_scale(
            logits,
            labels,
            ignore_label=self.ignore_label,
            label_weights=options.label_weights or 1.0,
            upsample_logits=options.upsample_logits,
            top_k_percent_pixels=options.top_k_percent_pixels,
            hard_example_mining_step=options.hard_example_mining_step,
            step=step,
        )
        values["total_regularization_loss"] = losses.l2_loss(
            self._regularized, options.weight_decay
        )
        return values

    def _reseed(self, step: tf.Tensor) -> None:
        """Makes dropout a function of the seed and the step, so that a resumed run repeats it."""
        for index, generator in enumerate(self._generators):
            state = tf.stack([tf.constant(self.options.seed + index, tf.int64), step * 2**16])
            generator.state.assign(tf.cast(state, generator.state.dtype))

    # --- The loop ---

    def train(
        self,
        batches: Iterable[Mapping[str, tf.Tensor]],
        evaluation: "TrainingEvaluation | None" = None,
    ) -> None:
        """Trains up to the last step; logs, saves and evaluates on the way and at the end.

        SIGTERM ends it after the current step, which is saved; so does SIGINT (Ctrl-C). The same
        call on a trainer that opens the same folder goes on from there.

        Args:
            batches: what to train on, from the current step on: `image`, `label` and
                `image_name`.
            evaluation: evaluates on the way, after a checkpoint of the same step.

        Raises:
            FloatingPointError: the loss is not finite. The last checkpoint stays the newest.
            ValueError: a label is neither a class nor the ignore label; the message names the
                image.
            OSError: the last checkpoint could not be written. Any other one that cannot is an
                error in the log.
            KeyboardInterrupt: SIGINT was received, and the step is saved.
        """
        training_loop.TrainingLoop(self, evaluation).run(batches)


def _optimizer(options: TrainOptions) -> keras.optimizers.Optimizer:
    """The optimizer that the options name."""
    if options.optimizer == "adam":
        return optimizers.Adam(options.adam_learning_rate, epsilon=options.adam_epsilon)
    if options.optimizer != "momentum":
        raise ValueError(f"--optimizer is {options.optimizer!r}; known are momentum, adam")
    schedule = learning_rate.learning_rate_schedule(
        options.learning_policy,
        base_learning_rate=options.base_learning_rate,
        training_number_of_steps=options.training_number_of_steps,
        learning_power=options.learning_power,
        end_learning_rate=options.end_learning_rate,
        decay_steps=options.decay_steps,
        learning_rate_decay_step=options.learning_rate_decay_step,
        learning_rate_decay_factor=options.learning_rate_decay_factor,
        boundaries=options.boundaries,
        boundary_learning_rates=options.boundary_learning_rates,
        slow_start_step=options.slow_start_step,
        slow_start_learning_rate=options.slow_start_learning_rate,
        slow_start_burnin_type=options.slow_start_burnin_type,
    )
    return optimizers.Momentum(schedule, options.momentum)
