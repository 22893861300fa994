"""What one training step does: losses, gradients, and one update of the network."""

import contextlib
from collections.abc import Callable, Iterable

import keras
import tensorflow as tf
from absl import logging

from deeplab import model
from deeplab.core import depthwise, layers, training_hooks, utils
from deeplab.core.options import TrainOptions
from deeplab.training import learning_rate, loss_scale, losses, optimizers
from deeplab.utils import checkpoint, distribution

# Replicas that process fewer images at a time share their batch statistics, unless the options say
# otherwise: the official advice is batches of 16.
SMALL_BATCH = 16
# Official name of the number of updates that a quantised network which rounds later has had.
QUANTIZATION_STEP = "fake_quantization_step"


class TrainStep:
    """One update of a network, as the official trainer makes it.

    It belongs to the distribution strategy in whose scope it is made; network and step have to be
    made in the same. A step's batch is divided into *parts*: each replica processes as many as
    gradients are accumulated, one after the other. The mean of the parts' losses is the loss of
    the whole batch. So the update does not depend on their number (but for rounding) where batch
    norm is frozen, or synchronised and not accumulated; except for hard example mining, which
    picks the hardest pixels of each part by itself, and averages over the parts, as the official
    trainer does over its clones.

    The loss is computed in float32 whatever the network's precision; with float16 it is scaled.
    """

    def __init__(
        self,
        net: model.DeepLab,
        options: TrainOptions,
        ignore_label: int,
        observe: Callable[[tf.Tensor, tf.Tensor], None] | None = None,
    ):
        """Prepares the optimizer.

        Args:
            net: the network.
            options: how to train it.
            ignore_label: label of the pixels that do not count.
            observe: gets the labels and the merged logits that a loss is made of, in the replica's
                graph, for metrics.

        Raises:
            ValueError: options that contradict each other, the network or the strategy.
        """
        self.net = net
        self.options = options
        self.ignore_label = ignore_label
        self._observe = observe
        self.strategy = tf.distribute.get_strategy()
        classes = net.options.num_classes
        if options.label_weights and len(options.label_weights) != classes:
            raise ValueError(
                f"--label_weights is given {len(options.label_weights)} times; give one for each of"
                f" the {classes} classes"
            )
        self._replicas = self.strategy.num_replicas_in_sync
        self._parts = self._replicas * options.gradient_accumulation_steps
        if options.train_batch_size % self._parts:
            raise ValueError(
                f"--train_batch_size={options.train_batch_size} is the number of images of a step;"
                f" it cannot be split evenly over {self._replicas} replicas with"
                f" --gradient_accumulation_steps={options.gradient_accumulation_steps}"
            )
        # How many images a device processes at a time.
        self.part_size = options.train_batch_size // self._parts
        self._check_quantization()
        self._set_batch_norm()
        self.optimizer = _optimizer(options)
        self.optimizer.build(net.trainable_weights)
        self.network_variables = checkpoint.official_variables(net)
        self._regularized = layers.regularized_variables(net)
        self._factors = self._gradient_multipliers()
        self._quantization_step = None
        if options.quantize_delay_step > 0:
            self._quantization_step = keras.Variable(
                0, dtype="int64", trainable=False, name=QUANTIZATION_STEP
            )
        schedule = training_hooks.TrainingSchedule(
            progress=self._progress,
            is_rounding=self._rounds if self._quantization_step is not None else None,
            drop_path_keep_prob=options.drop_path_keep_prob,
        )
        self._ranges = training_hooks.begin_training(net, schedule)
        # Of dropout and drop path.
        self._generators = layers.seed_generators(net)
        self._loss_scale = loss_scale.LossScale() if net.compute_dtype == "float16" else None
        # The sums over the parts so far, each replica's own; zero between steps.
        self._sums = []
        if options.gradient_accumulation_steps > 1:
            self._sums = [
                tf.Variable(
                    tf.zeros(variable.shape),
                    trainable=False,
                    synchronization=tf.VariableSynchronization.ON_READ,
                    aggregation=tf.VariableAggregation.SUM,
                )
                for variable in net.trainable_weights
            ]
        if options.jit_compile:
            self._gradients = tf.function(self._gradients, jit_compile=True)
        self._compiled_step = tf.function(self._step)

    def _check_quantization(self) -> None:
        delay, quantized = self.options.quantize_delay_step, self.net.options.quantize
        if quantized != (delay >= 0):
            raise ValueError(
                f"--quantize_delay_step is {delay}, but the network is"
                f" {'' if quantized else 'not '}quantised: give the step that its training began"
                " with (--train_logdir goes on with the network that it holds)"
            )
        if quantized and self._replicas > 1:
            raise ValueError(
                f"--quantize_delay_step={delay} trains on one device, not on {self._replicas}: give"
                " --num_clones=1, on one host"
            )

    def _set_batch_norm(self) -> None:
        """Which statistics batch norms use, and which of them have to be averaged by the step."""
        options = self.options
        self.net.set_fine_tune_batch_norm(options.fine_tune_batch_norm)
        several = self._replicas > 1 and options.fine_tune_batch_norm
        if options.jit_compile and several and options.sync_batch_norm:
            raise ValueError(
                "--sync_batch_norm and --jit_compile exclude each other: XLA compiles what a device"
                " does by itself; leave one of them out"
            )
        synchronized = options.sync_batch_norm
        if synchronized is None:
            synchronized = self.part_size < SMALL_BATCH and not options.jit_compile
        synchronized = synchronized and several
        layers.set_sync_batch_norm(self.net, synchronized)
        # How many images batch norm takes the statistics of.
        self.statistics_images = self.part_size * (self._replicas if synchronized else 1)
        if several:
            logging.info(
                "batch norm takes the statistics of %d images, those of %s",
                self.statistics_images,
                "all replicas" if synchronized else "each replica (--nosync_batch_norm)",
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
        """What a checkpoint holds besides the step: the network and all that training changes."""
        return {**self.network_variables, **self.slots(), **self._ranges, **self.extras()}

    def slots(self) -> dict[str, keras.Variable]:
        """The optimizer's state, of which there is no resumption without."""
        return self.optimizer.official_variables(self.network_variables)

    def extras(self) -> dict[str, keras.Variable]:
        """State that a run may begin with at any step; see `begin_extras`."""
        return {
            **self.optimizer.official_averages(self.network_variables),
            **self._counts_and_scales(),
        }

    def _counts_and_scales(self) -> dict[str, keras.Variable]:
        variables = self._loss_scale.variables() if self._loss_scale else {}
        if self._quantization_step is not None:
            variables[QUANTIZATION_STEP] = self._quantization_step
        return variables

    def own_state(self) -> dict[str, keras.Variable]:
        """State that neither network nor optimizer holds: of quantisers, and the loss' scale."""
        return {**self._ranges, **self._counts_and_scales()}

    def begin_extras(self, names: Iterable[str], step: int) -> None:
        """Begins with averages and counts that a checkpoint does not hold.

        Averages become the weights that they are of. The scale of the loss begins as it does.

        Args:
            names: of what is missing, as `extras` names it.
            step: number of updates made so far.
        """
        for name in names:
            weight, _, kind = name.rpartition("/")
            if kind == checkpoint.AVERAGE:
                self.extras()[name].assign(self.network_variables[weight])
            elif name == QUANTIZATION_STEP:
                self._quantization_step.assign(step)

    def __call__(self, images: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Makes one update.

        Args:
            images: [B, H, W, 3], RGB 0..255; with several replicas, each one's part of the batch.
            labels: [B, H, W, 1].

        Returns:
            The losses before the update, float32 scalars: `semantic_merged_logits` and, with an
            image pyramid, `semantic_logits_<scale>`; `total_regularization_loss`; `total_loss`.
            With float16 also `loss_scale`, the factor that the loss was multiplied by.
        """
        return self._in_parts(self._compiled_step, images, labels)

    def in_replica(self, images: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        """What `__call__` does, in the graph of a replica: for a `fit` that runs there."""
        return self._in_parts(self._replica_step, images, labels)

    def _in_parts(
        self, step: Callable[..., dict[str, tf.Tensor]], images: tf.Tensor, labels: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """One part of the images after the other; returns the means of their losses."""
        count = self.options.gradient_accumulation_steps
        if count == 1:
            return step(images, labels)
        parts = [
            step(images, labels, tf.constant(part), is_last=part == count - 1)
            for part in range(count)
        ]
        return {name: tf.add_n([part[name] for part in parts]) / count for name in parts[0]}

    def graph(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Graph:
        """The operations of a step with such a batch."""
        part = () if self.options.gradient_accumulation_steps == 1 else (tf.constant(0),)
        return self._compiled_step.get_concrete_function(images, labels, *part).graph

    def _step(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        part: tf.Tensor | None = None,
        is_last: bool = True,
    ) -> dict[str, tf.Tensor]:
        values = self.strategy.run(self._replica_step, (images, labels, part, is_last))
        return tf.nest.map_structure(
            lambda value: self.strategy.experimental_local_results(value)[0], values
        )

    def _replica_step(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        part: tf.Tensor | None = None,
        is_last: bool = True,
    ) -> dict[str, tf.Tensor]:
        """What each replica does with its images, or with the given part of them."""
        step = tf.cast(tf.convert_to_tensor(self.optimizer.iterations), tf.int64)
        self._reseed(step, part)
        count = self._mean_count(labels)
        if part is not None:
            size = self.part_size
            whole = size * self.options.gradient_accumulation_steps
            tf.debugging.assert_equal(
                tf.shape(images)[0],
                whole,
                f"a device's batch has to be {whole} images: train_batch_size is"
                f" {self.options.train_batch_size} over all devices",
            )
            images, labels = (
                tf.ensure_shape(each[part * size : (part + 1) * size], (size, *each.shape[1:]))
                for each in (images, labels)
            )
        values, gradients = self._gradients(images, labels, step, count)
        if not is_last:
            for so_far, gradient in zip(self._sums, gradients, strict=True):
                so_far.assign_add(gradient)
        else:
            if self._sums:
                gradients = [a + b for a, b in zip(self._sums, gradients, strict=True)]
                for so_far in self._sums:
                    so_far.assign(tf.zeros(so_far.shape))
            self._update(gradients)
        return distribution.mean(values)

    def _gradients(
        self, images: tf.Tensor, labels: tf.Tensor, step: tf.Tensor, count: tf.Tensor | None
    ) -> tuple[dict[str, tf.Tensor], list[tf.Tensor]]:
        """The losses of a part, and the gradients of its share of the scaled loss."""
        variables = self.net.trainable_weights
        # XLA has operations of its own.
        compiled = self.options.jit_compile
        dilation = contextlib.nullcontext() if compiled else depthwise.native_dilation()
        with dilation, tf.GradientTape() as tape:
            values = self.losses(images, labels, step, count)
            total = tf.add_n(list(values.values()))
            # The parts' gradients are summed, the replicas' by the optimizer.
            share = total / self._parts if self._parts > 1 else total
            if self._loss_scale:
                share *= self._loss_scale.value
        gradients = tape.gradient(share, [variable.value for variable in variables])
        values["total_loss"] = total
        if self._loss_scale:
            values["loss_scale"] = self._loss_scale.value
        return values, gradients

    def _update(self, gradients: list[tf.Tensor]) -> None:
        """Updates the weights, and makes the replicas' moving averages of batch norm one."""
        variables = self.net.trainable_weights
        gradients = [
            gradient if factor == 1.0 else gradient * factor
            for gradient, factor in zip(gradients, self._factors, strict=True)
        ]
        if self._loss_scale:
            self._loss_scale.apply(self.optimizer, gradients, variables)
        else:
            self.optimizer.apply(gradients, variables)
        if self._quantization_step is not None:
            self._quantization_step.assign_add(1)
        if self._moving_averages:
            averages = distribution.mean([each.value for each in self._moving_averages])
            for variable, average in zip(self._moving_averages, averages, strict=True):
                variable.assign(average)

    def _mean_count(self, labels: tf.Tensor) -> tf.Tensor | None:
        """The mean over all parts of their numbers of labelled pixels; None: each has its own."""
        if self._parts == 1 or self.options.top_k_percent_pixels < 1:
            return None
        size = None
        if not self.options.upsample_logits:
            size = self.net.logits_size(utils.size(labels))
        count = losses.labelled_pixels(labels, self.ignore_label, size)
        return distribution.mean(count / self.options.gradient_accumulation_steps)

    def losses(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        step: tf.Tensor | int = 0,
        count: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """The terms of the loss by name, in training mode; see `__call__`.

        Args:
            images: [B, H, W, 3], RGB 0..255.
            labels: [B, H, W, 1].
            step: number of updates made so far.
            count: what the sum over the pixels is divided by; None: their own number.
        """
        options = self.options
        merged, scales = self.net.multi_scale(images, training=True)
        if self._observe:
            self._observe(labels, merged)
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
            normalizer=lambda own: own if count is None else count,
        )
        values["total_regularization_loss"] = self.regularization_loss()
        return values

    def regularization_loss(self) -> tf.Tensor:
        """The weight decay's term of the loss, a float32 scalar."""
        return losses.l2_loss(self._regularized, self.options.weight_decay)

    def _reseed(self, step: tf.Tensor, part: tf.Tensor | None) -> None:
        """Makes dropout a function of seed, step and part, so that a resumed run repeats it."""
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        number = tf.cast(number, tf.int64) * self.options.gradient_accumulation_steps
        if part is not None:
            number += tf.cast(part, tf.int64)
        for index, generator in enumerate(self._generators):
            state = tf.stack([self.options.seed + index + number * 2**32, step * 2**16])
            generator.state.assign(tf.cast(state, generator.state.dtype))

    def _rounds(self) -> tf.Tensor:
        """Whether a quantised network rounds its values in the next update; the first is 1."""
        return self._quantization_step.value + 1 >= self.options.quantize_delay_step

    def _progress(self) -> tf.Tensor:
        """The share of the steps that are done, a float32 scalar."""
        step = tf.cast(tf.convert_to_tensor(self.optimizer.iterations), tf.float32)
        return step / self.options.training_number_of_steps


def _optimizer(options: TrainOptions) -> optimizers.OfficialOptimizer:
    """The optimizer that the options name."""
    averages = {}
    if options.ema_decay is not None:
        averages = {"use_ema": True, "ema_momentum": options.ema_decay}
    if options.optimizer == "adam":
        return optimizers.Adam(options.adam_learning_rate, epsilon=options.adam_epsilon, **averages)
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
    return optimizers.Momentum(schedule, options.momentum, **averages)
