"""One training step: losses, gradients, and one update of the network."""

import contextlib
from collections.abc import Callable, Mapping

import keras
import tensorflow as tf
from absl import logging

from deeplab import model
from deeplab.core import depthwise, networks, utils
from deeplab.core.options import TrainOptions
from deeplab.training import distribution, losses, optimizers
from deeplab.training.batch_parts import BatchParts
from deeplab.training.state import TrainState


class TrainStep:
    """Makes one update of a network, as the official trainer does.

    The batch of a step is divided into *parts*, see `BatchParts`. The mean of the parts' losses is
    the loss of the whole batch. So the number of parts changes the update by rounding only, if
    batch norm is frozen, or if it is synchronized and gradients are not accumulated. Hard example
    mining is an exception: it selects the hardest pixels of each part and averages over the parts,
    as the official trainer does over its clones.

    The loss is computed in float32 whatever the network's precision; with float16 it is scaled.

    Create the step in the same strategy scope as the state.

    Args:
        state: The state that the updates change, from `state.begin_run`.
        options: Options of the training, the same with which the state was created.
        ignore_label: Label of the pixels that do not count.
        observe: Called in the replica's graph with the labels and merged logits of each loss, for
            metrics.

    Raises:
        ValueError: The options contradict each other, the network or the strategy.

    Example:
        train_step = TrainStep(state.begin_run(net, options), options, ignore_label=255)
        values = train_step(images, labels)
    """

    def __init__(
        self,
        state: TrainState,
        options: TrainOptions,
        ignore_label: int,
        observe: Callable[[tf.Tensor, tf.Tensor], None] | None = None,
    ):
        net = state.net
        classes = net.options.num_classes
        if options.label_weights and len(options.label_weights) != classes:
            raise ValueError(
                f"--label_weights is given {len(options.label_weights)} times; it must be given"
                f" once for each of the {classes} classes"
            )
        self.state = state
        self.options = options
        self.ignore_label = ignore_label
        self.strategy = tf.distribute.get_strategy()
        self.parts = BatchParts.of(options)
        self._observe = observe
        # AdamW decays the weights itself.
        decoupled = options.optimizer == "adamw"
        self._regularized = [] if decoupled else networks.regularized_variables(net)
        self._factors = state.optimizer.take_factors(
            net.trainable_weights, _gradient_factors(state.network, net.trainable_weights, options)
        )
        self._averaged = networks.moving_averages(net) if self.parts.averages_statistics else []
        # Sums of the gradients of the parts so far, for each replica; zero between steps.
        self._sums = _sums(net.trainable_weights) if self.parts.per_replica > 1 else []
        if options.jit_compile:
            self._gradients = tf.function(self._gradients, jit_compile=True, autograph=False)
        self._compiled_step = tf.function(self._step, autograph=False)

    def __call__(self, images: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Make one update.

        Args:
            images: [B, H, W, 3], RGB 0..255. With several replicas, the values of all replicas.
            labels: [B, H, W, 1].

        Returns:
            The losses before the update, float32 scalars: `semantic_merged_logits`;
            `semantic_logits_<scale>` with an image pyramid; `total_regularization_loss`;
            `total_loss`; and `loss_scale` with float16.
        """
        return self._in_parts(self._compiled_step, images, labels)

    def in_replica(self, images: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Make one update from inside the graph of a replica; see `__call__`."""
        return self._in_parts(self._replica_step, images, labels)

    def graph(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Graph:
        """Return the graph of a step with such a batch."""
        part = () if self.parts.per_replica == 1 else (tf.constant(0),)
        return self._compiled_step.get_concrete_function(images, labels, *part).graph

    # --- Dividing the batch ---

    def _in_parts(
        self, step: Callable[..., dict[str, tf.Tensor]], images: tf.Tensor, labels: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Process the parts one after the other; return the means of their losses."""
        count = self.parts.per_replica
        if count == 1:
            return step(images, labels)
        parts = [
            step(images, labels, tf.constant(part), is_last=part == count - 1)
            for part in range(count)
        ]
        return {name: tf.add_n([part[name] for part in parts]) / count for name in parts[0]}

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

    # --- The computation of a replica ---

    def _replica_step(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        part: tf.Tensor | None = None,
        is_last: bool = True,
    ) -> dict[str, tf.Tensor]:
        """Process the replica's images or one part of them; update after the last part."""
        step = tf.cast(tf.convert_to_tensor(self.state.optimizer.iterations), tf.int64)
        self.state.reseed(step, self._part_number(part))
        counts = self._mean_counts(labels)
        if part is not None:
            images, labels = self._take_part(images, labels, part)
        values, gradients = self._gradients(images, labels, step, counts)
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

    def _part_number(self, part: tf.Tensor | None) -> tf.Tensor:
        """Return the number of the part among the parts of all replicas, an int64 scalar."""
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        number = tf.cast(number, tf.int64) * self.parts.per_replica
        return number if part is None else number + tf.cast(part, tf.int64)

    def _take_part(
        self, images: tf.Tensor, labels: tf.Tensor, part: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the images and labels of a part of the replica's batch."""
        size = self.parts.size
        whole = size * self.parts.per_replica
        tf.debugging.assert_equal(
            tf.shape(images)[0],
            whole,
            f"the batch of a device must have {whole} images: train_batch_size is"
            f" {self.options.train_batch_size} over all devices",
        )
        return tuple(
            tf.ensure_shape(each[part * size : (part + 1) * size], (size, *each.shape[1:]))
            for each in (images, labels)
        )

    def _mean_counts(self, labels: tf.Tensor) -> losses.Counts | None:
        """Return the mean counts of the labels over all parts; None: use each part's own."""
        if self.parts.count == 1 or self.options.top_k_percent_pixels < 1:
            return None
        size = None
        if not self.options.upsample_logits:
            size = self.state.net.logits_size(utils.size(labels))
        counts = losses.count_labeled(labels, self.ignore_label, size)
        shares = losses.Counts(*(count / self.parts.per_replica for count in counts))
        return losses.Counts(*distribution.mean(list(shares)))

    def _gradients(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        step: tf.Tensor,
        counts: losses.Counts | None,
    ) -> tuple[dict[str, tf.Tensor], list[tf.Tensor]]:
        """Return the losses of a part, and the gradients of its share of the scaled loss."""
        scale, variables = self.state.loss_scale, self.state.net.trainable_weights
        # XLA cannot compile the native operation.
        compiled = self.options.jit_compile
        dilation = contextlib.nullcontext() if compiled else depthwise.native_dilation()
        with dilation, tf.GradientTape() as tape:
            values = self.losses(images, labels, step, counts)
            total = tf.add_n(list(values.values()))
            # The parts' gradients are summed, the replicas' by the optimizer.
            share = total / self.parts.count if self.parts.count > 1 else total
            if scale:
                share *= scale.value
        gradients = tape.gradient(share, [variable.value for variable in variables])
        values["total_loss"] = total
        if scale:
            values["loss_scale"] = scale.value
        return values, gradients

    def losses(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        step: tf.Tensor | int = 0,
        counts: losses.Counts | None = None,
    ) -> dict[str, tf.Tensor]:
        """Return the terms of the loss by name, in training mode; see `__call__`.

        Args:
            images: [B, H, W, 3], RGB 0..255.
            labels: [B, H, W, 1].
            step: Number of updates made so far.
            counts: Divisors of the sums over pixels and over images. None: their numbers.
        """
        merged, scales = self.state.net.multi_scale(images, training=True)
        if self._observe:
            self._observe(labels, merged)
        logits = {"semantic_merged_logits": merged}
        if len(scales) > 1:
            logits |= {f"semantic_logits_{scale:.2f}": each for scale, each in scales.items()}
        values = {
            name: losses.segmentation_loss(
                each,
                labels,
                self.options,
                ignore_label=self.ignore_label,
                step=step,
                normalizer=lambda own, unit: own if counts is None else getattr(counts, unit),
            )
            for name, each in logits.items()
        }
        values["total_regularization_loss"] = self.regularization_loss()
        return values

    def regularization_loss(self) -> tf.Tensor:
        """Return the weight decay's term of the loss, a float32 scalar."""
        return losses.l2_loss(self._regularized, self.options.weight_decay)

    def _update(self, gradients: list[tf.Tensor]) -> None:
        """Update the weights, and average the replicas' moving averages of batch norm."""
        state, variables = self.state, self.state.net.trainable_weights
        gradients = [
            gradient if factor == 1.0 else gradient * factor
            for gradient, factor in zip(gradients, self._factors, strict=True)
        ]
        if state.loss_scale:
            state.loss_scale.apply(state.optimizer, gradients, variables)
        else:
            state.optimizer.apply(gradients, variables)
        if state.quantization_step is not None:
            state.quantization_step.assign_add(1)
        if self._averaged:
            averages = distribution.mean([each.value for each in self._averaged])
            for variable, average in zip(self._averaged, averages, strict=True):
                variable.assign(average)


def _gradient_factors(
    network: Mapping[str, keras.Variable],
    trainable: list[keras.Variable],
    options: TrainOptions,
) -> list[float]:
    """Return the factor for the gradient of each trainable variable."""
    scopes = model.last_layer_scopes(options.last_layers_contain_logits_only)
    multiplier = options.last_layer_gradient_multiplier
    factors = optimizers.gradient_multipliers(network, scopes, multiplier)
    if multiplier != 1.0 and not any(scope in name for name in network for scope in scopes):
        logging.warning(
            "--last_layer_gradient_multiplier has no effect: no variable is in %s", scopes
        )
    by_path = {variable.path: factors.get(name, 1.0) for name, variable in network.items()}
    return [by_path[variable.path] for variable in trainable]


def _sums(variables: list[keras.Variable]) -> list[tf.Variable]:
    """Return a variable of zeros for each variable; its value differs between replicas."""
    return [
        tf.Variable(
            tf.zeros(variable.shape),
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.SUM,
        )
        for variable in variables
    ]
