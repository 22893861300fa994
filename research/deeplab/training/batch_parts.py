"""How the images of a step are divided over devices and over time."""

import dataclasses

import tensorflow as tf

from deeplab.core.options import TrainOptions

# Replicas that process fewer images at a time share their batch statistics, unless the options say
# otherwise: the official advice is batches of 16.
SMALL_BATCH = 16


@dataclasses.dataclass(frozen=True)
class BatchParts:
    """The parts of a step's batch: each replica processes its parts one after the other.

    Attributes:
        replicas: number of devices that share the batch.
        per_replica: number of parts that each of them processes (`gradient_accumulation_steps`).
        size: number of images of a part.
        shares_statistics: whether batch norm uses the statistics of all replicas together.
        averages_statistics: whether batch norm learns, but each replica its own moving averages,
            so that the step has to average them.
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
            options: how the network is trained.

        Raises:
            ValueError: the batch cannot be divided evenly, or batch norm cannot be synchronized.
        """
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        per_replica = options.gradient_accumulation_steps
        if options.train_batch_size % (replicas * per_replica):
            raise ValueError(
                f"--train_batch_size={options.train_batch_size} is the number of images of a step;"
                f" it cannot be split evenly over {replicas} replicas with"
                f" --gradient_accumulation_steps={per_replica}"
            )
        size = options.train_batch_size // (replicas * per_replica)
        several = replicas > 1 and options.fine_tune_batch_norm
        if options.jit_compile and several and options.sync_batch_norm:
            raise ValueError(
                "--sync_batch_norm and --jit_compile exclude each other: XLA compiles what a device"
                " does by itself; leave one of them out"
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
        """The number of images that batch norm takes its statistics of."""
        return self.size * (self.replicas if self.shares_statistics else 1)
