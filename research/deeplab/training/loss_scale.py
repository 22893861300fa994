"""Loss scaling: keeps small float16 gradients from becoming zero."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from deeplab.training.optimizers import OfficialOptimizer

# As in Keras' `LossScaleOptimizer`.
_FIRST = 2.0**15
_STEPS_TO_DOUBLE = 2000


class LossScale:
    """Dynamic loss scale for float16.

    The loss is multiplied by a factor. If gradients overflow, the update is skipped and the factor
    is halved; after 2000 updates without an overflow it is doubled. If the factor falls below 1,
    not even the gradients of the unscaled loss fit into float16.

    There are two differences from Keras' `LossScaleOptimizer`. A skipped update counts as a step,
    so that step k always trains on the same images. And the optimizer's state keeps its official
    names in checkpoints.

    Reference: Micikevicius et al., arXiv 1710.03740, section 3.2.
    """

    def __init__(self):
        self._scale = keras.Variable(
            _FIRST,
            dtype="float32",
            trainable=False,
            name="loss_scale",
            aggregation="only_first_replica",
        )
        self._good_steps = keras.Variable(
            0,
            dtype="int32",
            trainable=False,
            name="loss_scale_good_steps",
            aggregation="only_first_replica",
        )

    @property
    def value(self) -> tf.Tensor:
        """The factor, float32 scalar."""
        return tf.convert_to_tensor(self._scale)

    def variables(self) -> dict[str, keras.Variable]:
        """Return the state by its names in a checkpoint."""
        return {variable.name: variable for variable in (self._scale, self._good_steps)}

    def apply(
        self,
        optimizer: OfficialOptimizer,
        gradients: Sequence[tf.Tensor],
        variables: Sequence[keras.Variable],
    ) -> None:
        """Apply gradients of the scaled loss, unless one overflowed; adjust the factor.

        Call it in a replica context.

        Args:
            optimizer: The optimizer; it sums the gradients over the replicas.
            gradients: The gradients of the scaled loss, float32.
            variables: The variables that the gradients belong to.
        """
        context = tf.distribute.get_replica_context()
        overflows = [tf.reduce_any(~tf.math.is_finite(each)) for each in gradients]
        overflow = tf.cast(tf.reduce_any(overflows), tf.float32)
        if context.num_replicas_in_sync > 1:
            overflow = context.all_reduce(tf.distribute.ReduceOp.SUM, overflow)
        gradients = [each / self.value for each in gradients]

        def update(
            strategy: tf.distribute.Strategy, overflow: tf.Tensor, gradients: Sequence[tf.Tensor]
        ) -> None:
            def apply() -> None:
                strategy.extended.call_for_each_replica(
                    lambda own: optimizer.apply(own, variables), args=(gradients,)
                )

            def skip() -> None:
                optimizer.skip(variables)

            # A replica cannot wait for the others inside a condition of its own.
            overflow = strategy.experimental_local_results(overflow)[0] > 0
            tf.cond(overflow, skip, apply)
            self._adjust(overflow)

        context.merge_call(update, args=(overflow, gradients))

    def _adjust(self, overflow: tf.Tensor) -> None:
        scale, good_steps = self.value, tf.convert_to_tensor(self._good_steps)
        good_steps = tf.where(overflow, 0, good_steps + 1)
        doubles = good_steps >= _STEPS_TO_DOUBLE
        scale = tf.where(overflow, scale / 2, tf.where(doubles, scale * 2, scale))
        self._scale.assign(scale)
        self._good_steps.assign(tf.where(doubles, 0, good_steps))
