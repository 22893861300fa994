"""Batch normalization whose moving averages move like the official ones."""

import dataclasses

import keras
import tensorflow as tf

from deeplab.core import containers


@dataclasses.dataclass(frozen=True)
class BatchNormOptions:
    """Batch norm options of a part of the network.

    Attributes:
        decay: Share of a moving average that a training step keeps.
        epsilon: Added to the variance.
    """

    decay: float
    epsilon: float


class BatchNorm(containers.Base):
    """Batch normalization whose moving averages move like the official ones.

    It normalizes with the biased variance of the batch and moves the moving variance toward the
    unbiased one (Bessel's correction), as TensorFlow's fused operation does; Keras'
    `BatchNormalization` does not. Statistics and parameters are float32 in any precision.

    With `fine_tune` off, it uses the moving averages in training too and does not change them;
    gamma and beta still learn: the official `fine_tune_batch_norm=False`.

    With `sync` on, the replicas of a distribution strategy share their statistics, as if one device
    normalized the whole batch. With it off, each replica normalizes by itself and moves
    its own copy of the averages, which have to be averaged (`moving_averages`).
    """

    def __init__(self, options: BatchNormOptions, name: str = "BatchNorm"):
        # It computes in the type of its input, which may be float32 in a network of bfloat16.
        super().__init__(name=name, autocast=False)
        self.options = options
        self.fine_tune = True
        self.sync = False

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make gamma, beta and the moving averages, float32 [channels]."""

        def add(name: str, value: str, trainable: bool) -> keras.Variable:
            return self.add_weight(
                name=name,
                shape=(input_shape[-1],),
                initializer=value,
                dtype="float32",
                trainable=trainable,
                autocast=False,
            )

        self.gamma = add("gamma", "ones", True)
        self.beta = add("beta", "zeros", True)
        self.moving_mean = add("moving_mean", "zeros", False)
        self.moving_variance = add("moving_variance", "ones", False)

    def uses_batch(self, training: bool) -> bool:
        """Return whether a call with this `training` normalizes with the batch's own statistics."""
        return bool(training) and self.fine_tune

    def affine(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Return scale and offset, float32 [channels], that normalize with the moving averages."""
        scale = self.gamma.value * tf.math.rsqrt(self.moving_variance.value + self.options.epsilon)
        return scale, self.beta.value - self.moving_mean.value * scale

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Normalize `x` [B, H, W, C]; the result has its shape and dtype."""
        if not self.uses_batch(training):
            scale, offset = self.affine()
            return x * tf.cast(scale, x.dtype) + tf.cast(offset, x.dtype)
        if self._shares_statistics():
            y, mean, variance = self._normalize_over_replicas(x)
        else:
            y, mean, variance = tf.compat.v1.nn.fused_batch_norm(
                x, self.gamma.value, self.beta.value, epsilon=self.options.epsilon
            )
        self._move(mean, variance)
        return y

    def _move(self, mean: tf.Tensor, variance: tf.Tensor) -> None:
        """Move the averages toward a batch's mean and unbiased variance."""
        step = 1.0 - self.options.decay
        self.moving_mean.assign_sub((self.moving_mean.value - mean) * step)
        self.moving_variance.assign_sub((self.moving_variance.value - variance) * step)

    def batch_correction(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the factor and offset that replace the moving averages by the batch's statistics.

        Features that are scaled by `affine`'s scale, times the factor, plus the offset, are
        normalized with the mean and variance of `x`. The averages are moved.
        """
        if self._shares_statistics():
            centered_mean, variance, count = self._moments_over_replicas(self._centered(x))
            mean = centered_mean + tf.stop_gradient(self.moving_mean.value)
        else:
            mean, variance = tf.nn.moments(tf.cast(x, tf.float32), (0, 1, 2))
            count = tf.cast(tf.size(x) / tf.size(mean), tf.float32)
        deviation = tf.sqrt(self.moving_variance.value + self.options.epsilon)
        inverse = tf.math.rsqrt(variance + self.options.epsilon)
        factor, offset = deviation * inverse, self.beta.value - mean * self.gamma.value * inverse
        self._move(mean, variance * count / tf.maximum(count - 1.0, 1.0))
        return factor, offset

    def _normalize_over_replicas(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Normalize `x` with the statistics of all replicas; return their mean and variance too."""
        origin, centered = tf.stop_gradient(self.moving_mean.value), self._centered(x)
        mean, variance, count = self._moments_over_replicas(centered)
        scale = self.gamma.value * tf.math.rsqrt(variance + self.options.epsilon)
        y = tf.cast((centered - mean) * scale + self.beta.value, x.dtype)
        return y, mean + origin, variance * (count / tf.maximum(count - 1.0, 1.0))

    def _shares_statistics(self) -> bool:
        return self.sync and tf.distribute.get_replica_context().num_replicas_in_sync > 1

    def _centered(self, x: tf.Tensor) -> tf.Tensor:
        """Return `x` in float32 without the moving mean, which all replicas have in common.

        Near the mean, few digits are lost in the variance as a difference of squares.
        """
        return tf.cast(x, tf.float32) - tf.stop_gradient(self.moving_mean.value)

    def _moments_over_replicas(self, centered: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return mean, biased variance and number of the values of all replicas, per channel."""
        context = tf.distribute.get_replica_context()
        moments = [
            tf.reduce_mean(values, axis=(0, 1, 2)) for values in (centered, tf.square(centered))
        ]
        mean, square = tf.unstack(
            context.all_reduce(tf.distribute.ReduceOp.MEAN, tf.stack(moments))
        )
        # Rounding may make it less than nothing where a channel is constant.
        variance = tf.maximum(square - tf.square(mean), 0.0)
        count = tf.cast(tf.size(centered[..., 0]) * context.num_replicas_in_sync, tf.float32)
        return mean, variance, count
