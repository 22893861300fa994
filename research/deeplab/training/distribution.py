"""The devices and hosts that train together, as a `tf.distribute` strategy.

A *replica* is a device with a copy of the network. The replicas of a step share its batch, and all
make the same update. One process serves the replicas of one host, its *clones* in the official
flags; several hosts find each other by the environment variable TF_CONFIG:

    {"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}
"""

import contextlib
import dataclasses
import functools
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tensorflow as tf
from absl import logging

from deeplab.training import stop_signals

_TF_CONFIG = "TF_CONFIG"
# What the answer to the last question may take from host to host.
_LAST_WORDS_SECS = 1.0


@dataclasses.dataclass(frozen=True)
class _Cluster:
    """The hosts that train together, and which of them this is; the first is the chief."""

    hosts: tuple[str, ...]
    index: int


def _cluster() -> _Cluster | None:
    """What TF_CONFIG says; None where it names no other host."""
    text = os.environ.get(_TF_CONFIG, "")
    if not text.strip():
        return None
    try:
        config = json.loads(text)
        cluster, task = config.get("cluster", {}), config.get("task", {})
        chief, workers = tuple(cluster.get("chief", ())), tuple(cluster.get("worker", ()))
        kind, index = task.get("type", "worker"), int(task.get("index", 0))
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{_TF_CONFIG} is {text!r}, which cannot be read: {error}") from None
    hosts = chief + workers
    if len(hosts) < 2:
        return None
    if kind not in ("chief", "worker"):
        remedy = (
            "run deeplab-eval by itself, without TF_CONFIG"
            if kind == "evaluator"
            else ("every host is a worker and keeps the variables")
        )
        raise ValueError(f"{_TF_CONFIG} makes this a task of type {kind!r}: {remedy}")
    number = len(chief) + index if kind == "worker" else index
    if not 0 <= index < len(chief if kind == "chief" else workers):
        raise ValueError(
            f"{_TF_CONFIG} makes this {kind} {index}, but names"
            f" {len(chief if kind == 'chief' else workers)} of them"
        )
    return _Cluster(hosts, number)


def make_strategy(
    num_clones: int = 1, *, clone_on_cpu: bool = False, num_replicas: int = 1, task: int = 0
) -> tf.distribute.Strategy:
    """The strategy to train with; to be made before anything else of TensorFlow is used.

    Build network and trainer in its scope:

        strategy = make_strategy(num_clones=8)
        with strategy.scope():
            net = model.DeepLab(options)
            run = trainer.Trainer(net, train_options, ignore_label)

    Args:
        num_clones: number of GPUs of this host to train on; with one clone and no GPU the CPU does.
        clone_on_cpu: the clones are parts of this host's CPU, whatever GPUs it has.
        num_replicas: number of hosts; 1: as many as TF_CONFIG names.
        task: number of this host, from 0; 0: what TF_CONFIG says.

    Returns:
        TensorFlow's default strategy for a single replica, else a synchronous one.

    Raises:
        ValueError: there are fewer GPUs than clones, TF_CONFIG cannot be read, or it names other
            hosts than the arguments do.
    """
    if num_clones < 1:
        raise ValueError(f"--num_clones is {num_clones}; it must be at least 1")
    cluster = _cluster()
    _check_cluster(cluster, num_replicas, task)
    devices = _devices(num_clones, clone_on_cpu, cluster)
    if cluster:
        # TensorFlow would tell of each all-reduce of each layer.
        tf.get_logger().setLevel("WARNING")
        logging.info(
            "host %d of %d (%s): waiting for all to start",
            *(cluster.index, len(cluster.hosts), cluster.hosts[cluster.index]),
        )
        with stop_signals.waiting():
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
    elif num_clones > 1:
        strategy = tf.distribute.MirroredStrategy(devices)
    else:
        return tf.distribute.get_strategy()
    logging.info("training on %d replicas", strategy.num_replicas_in_sync)
    return strategy


def _check_cluster(cluster: _Cluster | None, num_replicas: int, task: int) -> None:
    """The official flags of a cluster and TF_CONFIG must agree."""
    hosts = len(cluster.hosts) if cluster else 1
    if num_replicas not in (1, hosts):
        raise ValueError(
            f"--num_replicas is {num_replicas}, but {_TF_CONFIG} names {hosts} hosts: it has to"
            " name every host's address and port (g3doc/distributed.md shows how)"
        )
    index = cluster.index if cluster else 0
    if task not in (0, index):
        raise ValueError(
            f"--task is {task}, but {_TF_CONFIG} makes this host number {index}: leave --task out"
        )


def _devices(num_clones: int, clone_on_cpu: bool, cluster: _Cluster | None) -> list[str]:
    """The names of the devices to train on; hides other GPUs from TensorFlow."""
    gpus = tf.config.list_physical_devices("GPU")
    if clone_on_cpu:
        if num_clones > 1 and cluster:
            raise ValueError(
                f"--num_clones is {num_clones} with --clone_on_cpu: a host's CPU is one replica"
                " where several hosts train together"
            )
        if gpus:
            tf.config.set_visible_devices([], "GPU")
        if num_clones > 1:
            (cpu,) = tf.config.list_physical_devices("CPU")
            parts = [tf.config.LogicalDeviceConfiguration()] * num_clones
            tf.config.set_logical_device_configuration(cpu, parts)
        return [f"CPU:{index}" for index in range(num_clones)]
    if num_clones > max(len(gpus), 1):
        raise ValueError(
            f"--num_clones is {num_clones}, but this host has {len(gpus)} GPUs that TensorFlow can"
            " use (--clone_on_cpu makes the clones parts of the CPU, to try things out)"
        )
    if len(gpus) > num_clones:
        tf.config.set_visible_devices(gpus[:num_clones], "GPU")
    return [f"GPU:{index}" for index in range(num_clones)]


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the checkpoints and logs: one of all hosts does."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    hosts = resolver.cluster_spec().as_dict()
    return resolver.task_type == "chief" or ("chief" not in hosts and resolver.task_id == 0)


def batches(
    strategy: tf.distribute.Strategy, training: Callable[..., tf.data.Dataset]
) -> Iterable[Mapping[str, tf.Tensor]]:
    """The batches of a strategy's replicas: each replica's part of every step's samples.

    Args:
        strategy: whose replicas.
        training: makes the batches of one reader; called with the keywords `num_shards`, `shard`
            and `replicas_per_shard` of `data_generator.Dataset.training`.

    Returns:
        What to iterate over; for a single replica, what `training` returns.
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
        # Else the hosts ask each other before each step whether it is the last.
        endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
        return dataset.apply(endless)

    return strategy.distribute_datasets_from_function(part)


def local(strategy: tf.distribute.Strategy, values: tf.Tensor) -> tf.Tensor:
    """One value of a batch, such as its labels: the samples of all this host's replicas."""
    parts = strategy.experimental_local_results(values)
    return parts[0] if len(parts) == 1 else tf.concat(parts, axis=0)


def mean(values: Any) -> Any:
    """The mean over all replicas of the current strategy, as a constant: it has no gradient.

    Args:
        values: nested float tensors, of the same shapes in each replica.

    Returns:
        The same structure, the same numbers in each replica; the values themselves for a single
        replica, and outside of a replica context, where they are those of all replicas already.
    """
    # All-reduces ask for the values' devices, which those of variables do not tell.
    values = tf.nest.map_structure(tf.stop_gradient, values)
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return values
    return context.all_reduce(tf.distribute.ReduceOp.MEAN, values)


def mean_over_hosts(strategy: tf.distribute.Strategy, value: float) -> float:
    """The mean of a number that every host has; all hosts have to call it.

    Args:
        strategy: whose hosts.
        value: this host's number.
    """
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return value
    means = _mean_of(strategy)(tf.constant(value, tf.float64))
    return float(strategy.experimental_local_results(means)[0])


def is_same_on_all_hosts(strategy: tf.distribute.Strategy, value: float) -> bool:
    """Whether every host has the same number; all hosts have to call it, and get one answer.

    Args:
        strategy: whose hosts.
        value: this host's number.
    """
    deviation = abs(value - mean_over_hosts(strategy, value))
    return mean_over_hosts(strategy, deviation) < 1e-6


def leave_together(strategy: tf.distribute.Strategy) -> None:
    """Waits for all hosts, each of which has to call it as the last thing that it does.

    One that left earlier could take with it what others still wait to hear from it.

    Args:
        strategy: whose hosts.
    """
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return
    # A host that is gone all the same has nothing to tell any more.
    with contextlib.suppress(tf.errors.OpError):
        mean_over_hosts(strategy, 0.0)
        time.sleep(_LAST_WORDS_SECS)


@functools.cache
def _mean_of(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], Any]:
    return tf.function(lambda value: strategy.run(mean, args=(value,)))
