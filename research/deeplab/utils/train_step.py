"""What one training step does: losses, gradients, and one update of the network."""

import keras
import tensorflow as tf
from absl import logging

from deeplab import model
from deeplab.core import depthwise, layers, nas_cell
from deeplab.utils import checkpoint, distribution, learning_rate, losses, optimizers
from deeplab.utils.train_options import TrainOptions

# Replicas with fewer images share their batch statistics, unless the options say otherwise: the
# official advice is batches of 16.
SMALL_BATCH = 16


class TrainStep:
    """One update of a network, as the official trainer makes it.

    It belongs to the distribution strategy in whose scope it is made; network and step have to be
    made in the same. The mean over the strategy's replicas is the loss of the whole batch: however
    many there are, the update is that of one device (to rounding) where batch norm is frozen or
    synchronised, and there is no hard example mining. That picks the hardest pixels of each replica
    by themselves, and averages the replicas' losses, as the official trainer does.
    """

    def __init__(self, net: model.DeepLab, options: TrainOptions, ignore_label: int):
        """Prepares the optimizer.

        Args:
            net: the network.
            options: how to train it.
            ignore_label: label of the pixels that do not count.

        Raises:
            ValueError: options that contradict each other, the network or the strategy.
        """
        self.net = net
        self.options = options
        self.ignore_label = ignore_label
        self.strategy = tf.distribute.get_strategy()
        classes = net.options.num_classes
        if options.label_weights and len(options.label_weights) != classes:
            raise ValueError(
                f"--label_weights is given {len(options.label_weights)} times; give one for each of"
                f" the {classes} classes"
            )
        self._replicas = self.strategy.num_replicas_in_sync
        if options.train_batch_size % self._replicas:
            raise ValueError(
                f"--train_batch_size={options.train_batch_size} is the number of images of a step,"
                f" and cannot be split evenly over {self._replicas} replicas"
            )
        self._set_batch_norm()
        self.optimizer = _optimizer(options)
        self.optimizer.build(net.trainable_weights)
        self.network_variables = checkpoint.official_variables(net)
        self._regularized = layers.regularized_variables(net)
        self._factors = self._gradient_multipliers()
        nas_cell.set_drop_path(net, options.drop_path_keep_prob, self._progress)
        # Of dropout and drop path.
        self._generators = [
            layer.seed_generator
            for layer in layers.sublayers(net)
            if isinstance(getattr(layer, "seed_generator", None), keras.random.SeedGenerator)
        ]
        self._compiled_step = tf.function(self._step)

    def _set_batch_norm(self) -> None:
        """Which statistics batch norms use, and which of them have to be averaged by the step."""
        options = self.options
        self.net.set_fine_tune_batch_norm(options.fine_tune_batch_norm)
        synchronized = options.sync_batch_norm
        images = options.train_batch_size // self._replicas
        if synchronized is None:
            synchronized = images < SMALL_BATCH
        # How many images batch norm takes the statistics of.
        self.statistics_images = options.train_batch_size if synchronized else images
        several = self._replicas > 1 and options.fine_tune_batch_norm
        synchronized = synchronized and several
        layers.set_sync_batch_norm(self.net, synchronized)
        if several:
            logging.info(
                "batch norm takes the statistics of %s",
                "all replicas together (--sync_batch_norm)"
                if synchronized
                else f"each replica's {images} images by themselves",
            )
        self._moving_averages = []
        if several and not synchronized:
            self._moving_averages = layers.moving_averages(self.net)

    def _gradient_multipliers(self) -> list[float]:
        """A factor for the gradient of each trainable variable."""
        options, variables = self.options, self.network_variables
        scopes = model.last_layer_scopes(options.last_layers_contain_logits_only)
        factors = optimizers.gradient_multipliers(
            variables, scopes, options.last_layer_gradient_multiplier
        )
        if options.last_layer_gradient_multiplier != 1.0 and not any(
            scope in name for name in variables for scope in scopes
        ):
            logging.warning(
                "--last_layer_gradient_multiplier has no effect: no variable is in %s", scopes
            )
        by_path = {variable.path: factors.get(name, 1.0) for name, variable in variables.items()}
        return [by_path[variable.path] for variable in self.net.trainable_weights]

    def variables(self) -> dict[str, keras.Variable]:
        """What a checkpoint holds besides the step: the network and the optimizer's state."""
        state = self.optimizer.official_variables(self.network_variables)
        return {**self.network_variables, **state}

    def __call__(self, images: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Makes one update.

        Args:
            images: [B, H, W, 3], RGB 0..255; with several replicas, each one's part of the batch.
            labels: [B, H, W, 1].

        Returns:
            The losses before the update, float32 scalars: `semantic_merged_logits` and, with an
            image pyramid, `semantic_logits_<scale>`; `total_regularization_loss`; `total_loss`.
        """
        return self._compiled_step(images, labels)

    def graph(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Graph:
        """The operations of a step with such a batch."""
        return self._compiled_step.get_concrete_function(images, labels).graph

    def _step(self, images: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        values = self.strategy.run(self._replica_step, (images, labels))
        return tf.nest.map_structure(
            lambda value: self.strategy.experimental_local_results(value)[0], values
        )

    def _replica_step(self, images: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        """What each replica does with its part of the batch."""
        step = tf.cast(tf.convert_to_tensor(self.optimizer.iterations), tf.int64)
        self._reseed(step)
        variables = self.net.trainable_weights
        with depthwise.native_dilation(), tf.GradientTape() as tape:
            values = self.losses(images, labels, step)
            total = tf.add_n(list(values.values()))
            # The optimizer sums the replicas' gradients.
            share = total / self._replicas if self._replicas > 1 else total
        gradients = tape.gradient(share, [variable.value for variable in variables])
        gradients = [
            gradient if factor == 1.0 else gradient * factor
            for gradient, factor in zip(gradients, self._factors, strict=True)
        ]
        self.optimizer.apply(gradients, variables)
        if self._moving_averages:
            averages = distribution.mean([each.value for each in self._moving_averages])
            for variable, average in zip(self._moving_averages, averages, strict=True):
                variable.assign(average)
        return distribution.mean({**values, "total_loss": total})

    def losses(
        self, images: tf.Tensor, labels: tf.Tensor, step: tf.Tensor | int = 0
    ) -> dict[str, tf.Tensor]:
        """The terms of the loss by name, in training mode and a replica context; see `__call__`."""
        options = self.options
        merged, scales = self.net.multi_scale(images, training=True)
        logits = {"semantic_merged_logits": merged}
        if len(scales) > 1:
            logits |= {f"semantic_logits_{scale:.2f}": each for scale, each in scales.items()}
        # Hard pixels are counted where they are chosen.
        mining = options.top_k_percent_pixels < 1
        values = losses.softmax_cross_entropy_for_each_scale(
            logits,
            labels,
            ignore_label=self.ignore_label,
            label_weights=options.label_weights or 1.0,
            upsample_logits=options.upsample_logits,
            top_k_percent_pixels=options.top_k_percent_pixels,
            hard_example_mining_step=options.hard_example_mining_step,
            step=step,
            normalizer=tf.identity if mining else losses.mean_over_replicas,
        )
        values["total_regularization_loss"] = losses.l2_loss(
            self._regularized, options.weight_decay
        )
        return values

    def _reseed(self, step: tf.Tensor) -> None:
        """Makes dropout a function of seed, step and replica, so that a resumed run repeats it."""
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        replica = tf.cast(replica, tf.int64)
        for index, generator in enumerate(self._generators):
            state = tf.stack([self.options.seed + index + replica * 2**32, step * 2**16])
            generator.state.assign(tf.cast(state, generator.state.dtype))

    def _progress(self) -> tf.Tensor:
        """The share of the steps that are done, a float32 scalar."""
        step = tf.cast(tf.convert_to_tensor(self.optimizer.iterations), tf.float32)
        return step / self.options.training_number_of_steps


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
