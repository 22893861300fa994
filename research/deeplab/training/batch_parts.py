"""The division of the images of a step over devices and over time."""

import dataclasses

import tensorflow as tf

from deeplab.core.options import TrainOptions

# By default, replicas that process fewer images at a time share their batch statistics: the
# official advice is batches of 16.
SMALL_BATCH = 16


@dataclasses.dataclass(frozen=True)
class BatchParts:
    """The parts of a step's batch. Each replica processes its parts one after the other.

    Attributes:
        replicas: Number of devices that share the batch.
        per_replica: Number of parts of each replica (`gradient_accumulation_steps`).
        size: Number of images of a part.
        shares_statistics: Whether batch norm uses the statistics of all replicas together.
        averages_statistics: Whether the replicas learn moving averages of their own, which the
            step has to average.
    """

    replicas: int
    per_replica: int
    size: int
    shares_statistics: bool
    averages_statistics: bool

    @classmethod
    def of(cls, options: TrainOptions) -> "BatchParts":
        """Return the parts under the current distribution strategy.

        Args:
            options: Options of the training.

        Raises:
            ValueError: The batch cannot be divided evenly, or batch norm cannot be synchronized.
        """
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        per_replica = options.gradient_accumulation_steps
        if options.train_batch_size % (replicas * per_replica):
            raise ValueError(
                f"--train_batch_size={options.train_batch_size}, the number of images of a step,"
                f" cannot be split evenly over {replicas} replicas with"
                f" --gradient_accumulation_steps={per_replica}"
            )
        size = options.train_batch_size // (replicas * per_replica)
        several = replicas > 1 and options.fine_tune_batch_norm
        if options.jit_compile and several and options.sync_batch_norm:
            raise ValueError(
                "--sync_batch_norm cannot be used with --jit_compile, because XLA compiles each"
                " device's computation separately; remove one of them"
            )
        shares = options.sync_batch_norm
        if shares is None:
            shares = size < SMALL_BATCH and not options.jit_compile
        shares = shares and several
        return cls(replicas, per_replica, size, shares, several and not shares)

    @property
    def count(self) -> int:
        """The number of parts of the whole batch."""
        return self.replicas * self.per_replica

    @property
    def statistics_images(self) -> int:
        """The number of images that batch norm computes its statistics from."""
        return self.size * (self.replicas if self.shares_statistics else 1)
