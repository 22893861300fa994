"""Loss scaling: keeps the small gradients of float16 from becoming zero."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from deeplab.training.optimizers import OfficialOptimizer

# As Keras' `LossScaleOptimizer` has them.
_FIRST = 2.0**15
_STEPS_TO_DOUBLE = 2000


class LossScale:
    """A factor on the loss, as large as float16 bears.

    An update whose gradients overflow is left out, and halves the factor; so many updates without
    one double it. A factor below 1 says that not even the gradients of the loss itself fit. Unlike
    with Keras' `LossScaleOptimizer`, an update that is left out counts as a step, so that step k
    always trains on the same images; and the checkpoints' names of the optimizer's state stay what
    they are.

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
        """The factor, a float32 scalar."""
        return tf.convert_to_tensor(self._scale)

    def variables(self) -> dict[str, keras.Variable]:
        """Its state by name in a checkpoint."""
        return {variable.name: variable for variable in (self._scale, self._good_steps)}

    def apply(
        self,
        optimizer: OfficialOptimizer,
        gradients: Sequence[tf.Tensor],
        variables: Sequence[keras.Variable],
    ) -> None:
        """Applies gradients of a loss times the factor, unless one overflowed; moves the factor.

        To be called in a replica context.

        Args:
            optimizer: sums them over the replicas, and counts the steps.
            gradients: float32.
            variables: theirs.
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

            def leave_out() -> None:
                optimizer.leave_out(variables)

            # The replicas meet here, which they cannot do within a condition of their own.
            overflow = strategy.experimental_local_results(overflow)[0] > 0
            tf.cond(overflow, leave_out, apply)
            self._move(overflow)

        context.merge_call(update, args=(overflow, gradients))

    def _move(self, overflow: tf.Tensor) -> None:
        scale, good_steps = self.value, tf.convert_to_tensor(self._good_steps)
        good_steps = tf.where(overflow, 0, good_steps + 1)
        doubles = good_steps >= _STEPS_TO_DOUBLE
        scale = tf.where(overflow, scale / 2, tf.where(doubles, scale * 2, scale))
        self._scale.assign(scale)
        self._good_steps.assign(tf.where(doubles, 0, good_steps))
