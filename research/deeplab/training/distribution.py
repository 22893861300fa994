"""The devices and hosts that train together, as a `tf.distribute` strategy.

A *replica* is a device with a copy of the network. The replicas share the batch of a step, and all
make the same update. One process runs the replicas of one host, which the official flags call
*clones*. Several hosts find each other through the environment variable TF_CONFIG (see
`sharing/cluster.py`).
"""

import contextlib
import functools
import itertools
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import tensorflow as tf
from absl import logging

from deeplab.core import error_text
from deeplab.core.options import DeviceOptions
from deeplab.core.wording import counted
from deeplab.sharing import cluster as clusters
from deeplab.sharing import devices
from deeplab.sharing.cluster import Cluster
from deeplab.training import coordination, stop_signals

# Time for the last answer to reach the slowest host.
_LAST_WORDS_SECS = 60.0
# Time for the slowest host to end after that.
_END_SECS = 60.0
_LEAVINGS = itertools.count()
# The strategies whose hosts have left together.
_LEFT = weakref.WeakSet()


def make_strategy(
    num_clones: int = 1, *, clone_on_cpu: bool = False, num_replicas: int = 1, task: int = 0
) -> tf.distribute.Strategy:
    """Return the strategy to train with. Call it before anything else in TensorFlow.

    Args:
        num_clones: Number of GPUs of this host to train on; 1 without a GPU: the CPU.
        clone_on_cpu: Use parts of the CPU as clones, even if there are GPUs.
        num_replicas: Number of hosts; 1: as many as TF_CONFIG lists.
        task: Index of this host; 0: that of TF_CONFIG.

    Returns:
        TensorFlow's default strategy for a single replica, otherwise a synchronous strategy.

    Raises:
        ValueError: There are fewer GPUs than clones, TF_CONFIG cannot be parsed, or it contradicts
            the arguments.

    Example:
        strategy = make_strategy(num_clones=8)
        with strategy.scope():
            net = model.DeepLab(options)
            run = trainer.Trainer(net, train_options, ignore_label)
    """
    options = DeviceOptions(num_clones=num_clones, clone_on_cpu=clone_on_cpu)
    cluster = clusters.from_environment()
    _check_cluster(cluster, num_replicas, task)
    if clone_on_cpu and num_clones > 1 and cluster:
        raise ValueError(
            f"--num_clones is {num_clones} with --clone_on_cpu, but if several hosts train"
            " together, the CPU of a host is one replica; use --num_clones=1"
        )
    names = devices.choose(options)
    if cluster:
        # Otherwise TensorFlow logs each all-reduce of each layer.
        tf.get_logger().setLevel("WARNING")
        logging.info(
            "host %d of %d (%s): waiting for the other hosts",
            *(cluster.index, len(cluster.hosts), cluster.hosts[cluster.index]),
        )
        with stop_signals.waiting():
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
    elif num_clones > 1:
        strategy = tf.distribute.MirroredStrategy(names)
    else:
        return tf.distribute.get_strategy()
    logging.info("training on %d replicas", strategy.num_replicas_in_sync)
    return strategy


def _check_cluster(cluster: Cluster | None, num_replicas: int, task: int) -> None:
    """Reject official cluster flags that contradict TF_CONFIG."""
    hosts = len(cluster.hosts) if cluster else 1
    if num_replicas not in (1, hosts):
        raise ValueError(
            f"--num_replicas is {num_replicas}, but {clusters.VARIABLE} lists"
            f" {counted(hosts, 'host')}; it must list the address and port of every host"
            " (see g3doc/distributed.md)"
        )
    index = cluster.index if cluster else 0
    if task not in (0, index):
        raise ValueError(
            f"--task is {task}, but {clusters.VARIABLE} gives this host the index {index}; remove"
            " --task"
        )


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Return whether this process is the one of all hosts that writes checkpoints and logs."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    hosts = resolver.cluster_spec().as_dict()
    return resolver.task_type == "chief" or ("chief" not in hosts and resolver.task_id == 0)


def batches(
    strategy: tf.distribute.Strategy, training: Callable[..., tf.data.Dataset]
) -> Iterable[Mapping[str, tf.Tensor]]:
    """Return the batches of a strategy; each replica gets its part of the samples of a step.

    Args:
        strategy: The strategy.
        training: Returns the batches of one host; called with the keywords `num_shards`, `shard`
            and `replicas_per_shard` of `data_generator.Dataset.training`.

    Returns:
        An iterable of batches; for a single replica, the result of `training`.
    """
    if strategy.num_replicas_in_sync == 1:
        return training()

    def part(context: tf.distribute.InputContext) -> tf.data.Dataset:
        readers = context.num_input_pipelines
        dataset = training(
            num_shards=readers,
            shard=context.input_pipeline_id,
            replicas_per_shard=context.num_replicas_in_sync // readers,
        )
        # Otherwise the hosts ask each other before each step whether the data ends.
        endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
        return dataset.apply(endless)

    return strategy.distribute_datasets_from_function(part)


def local(strategy: tf.distribute.Strategy, values: tf.Tensor) -> tf.Tensor:
    """Return a value of a batch, such as its labels, for all replicas of this host."""
    parts = strategy.experimental_local_results(values)
    return parts[0] if len(parts) == 1 else tf.concat(parts, axis=0)


def mean(values: Any) -> Any:
    """Return the mean over all replicas of the current strategy, as a constant without gradient.

    Args:
        values: Nested float tensors, of the same shapes in each replica.

    Returns:
        The same structure, with the same numbers in each replica. For a single replica and outside
        of a replica context it is the values themselves.
    """
    # An all-reduce needs the devices of its values. Values of variables lack them.
    values = tf.nest.map_structure(tf.stop_gradient, values)
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return values
    return context.all_reduce(tf.distribute.ReduceOp.MEAN, values)


def mean_over_hosts(strategy: tf.distribute.Strategy, value: float) -> float:
    """Return the mean of the hosts' values; all hosts must call it.

    Args:
        strategy: The strategy of the hosts.
        value: The value of this host.
    """
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return value
    means = _mean_of(strategy)(tf.constant(value, tf.float64))
    return float(strategy.experimental_local_results(means)[0])


def is_same_on_all_hosts(strategy: tf.distribute.Strategy, value: float) -> bool:
    """Return whether all hosts have the same value; all must call it and get the same answer.

    Args:
        strategy: The strategy of the hosts.
        value: The value of this host.
    """
    deviation = abs(value - mean_over_hosts(strategy, value))
    return mean_over_hosts(strategy, deviation) < 1e-6


def leave_together(strategy: tf.distribute.Strategy) -> None:
    """Wait for all hosts; each must call it at its end.

    A host that ends earlier may not have delivered messages that others wait for.

    Args:
        strategy: The strategy of the hosts.
    """
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return
    _LEFT.discard(strategy)
    try:
        # The first host may take hours to get here, if it evaluates.
        mean_over_hosts(strategy, 0.0)
    except tf.errors.OpError as error:
        # There is nothing to wait for.
        logging.warning("another host has ended before this one: %s", error_text.one_line(error))
        return
    # Only the first host knows when all have the mean, and it stays until they know it too.
    own, everyone = coordination.tasks(strategy.cluster_resolver)
    name = f"deeplab/leave/{next(_LEAVINGS)}"
    if coordination.meet(own, everyone, name, _LAST_WORDS_SECS):
        _LEFT.add(strategy)


@contextlib.contextmanager
def ending(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Train in the block, and end the process after it: no host is reported as missing then.

    If the block ends without an error, all hosts have left together, and all must end now. Ctrl-C
    that was handled is no error.

    Args:
        strategy: The strategy of the hosts.
    """
    try:
        yield
    except stop_signals.Interrupted:
        _say_done(strategy)
        raise
    _say_done(strategy)


def _say_done(strategy: tf.distribute.Strategy) -> None:
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return
    own, everyone = coordination.tasks(strategy.cluster_resolver)
    if own == everyone[0]:
        coordination.wait_for_end(everyone, _END_SECS)
    elif strategy in _LEFT:
        # Otherwise another host may still wait for numbers of this one, and ends if it is missed.
        coordination.say_done(everyone[0], own)


@functools.cache
def _mean_of(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], Any]:
    return tf.function(lambda value: strategy.run(mean, args=(value,)), autograph=False)
