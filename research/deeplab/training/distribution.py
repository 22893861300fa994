"""The devices and hosts that train together, as a `tf.distribute` strategy.

A *replica* is a device with a copy of the network. The replicas share the batch of a step, and all
make the same update. One process runs the replicas of one host, which the official flags call
*clones*. Several hosts find each other through the environment variable TF_CONFIG:

    {"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}
"""

import contextlib
import dataclasses
import functools
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tensorflow as tf
from absl import logging

from deeplab.core import json_text
from deeplab.core.options import fields
from deeplab.training import stop_signals

_TF_CONFIG = "TF_CONFIG"
_LARGEST_PORT = 65535
# Time for the last answer to reach the other hosts.
_LAST_WORDS_SECS = 1.0


@dataclasses.dataclass(frozen=True)
class _Cluster:
    """The hosts that train together, and the index of this host; the first is the chief."""

    hosts: tuple[str, ...]
    index: int


def _cluster() -> _Cluster | None:
    """Return the cluster of TF_CONFIG; None if it names no other host."""
    text = os.environ.get(_TF_CONFIG, "")
    if not text.strip():
        return None
    try:
        config = json_text.parse(text, "it")
        cluster, task = config.get("cluster", {}), config.get("task", {})
        chief, workers = tuple(cluster.get("chief", ())), tuple(cluster.get("worker", ()))
        kind, index = task.get("type", "worker"), int(task.get("index", 0))
    except (ValueError, AttributeError, TypeError, OverflowError) as error:
        shown = fields.quoted(text)
        raise ValueError(f"{_TF_CONFIG} is {shown}, which cannot be parsed: {error}") from None
    hosts = chief + workers
    for host in hosts:
        address = isinstance(host, str) and re.fullmatch(r"\S+:(\d{1,5})", host)
        if not address or not 1 <= int(address[1]) <= _LARGEST_PORT:
            raise ValueError(
                f"{_TF_CONFIG} lists {fields.quoted(host)}; it must be <address>:<port>, with a"
                f" port from 1 to {_LARGEST_PORT}"
            )
    if len(hosts) < 2:
        return None
    if kind not in ("chief", "worker"):
        remedy = (
            "run deeplab-eval without TF_CONFIG"
            if kind == "evaluator"
            else "use worker for all hosts; each keeps the variables"
        )
        raise ValueError(f"{_TF_CONFIG} gives this task the type {kind!r}: {remedy}")
    number = len(chief) + index if kind == "worker" else index
    if not 0 <= index < len(chief if kind == "chief" else workers):
        raise ValueError(
            f"{_TF_CONFIG} gives this {kind} the index {index}, but lists"
            f" {len(chief if kind == 'chief' else workers)} of them"
        )
    return _Cluster(hosts, number)


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
    if num_clones < 1:
        raise ValueError(f"--num_clones is {num_clones}; it must be at least 1")
    cluster = _cluster()
    _check_cluster(cluster, num_replicas, task)
    devices = _devices(num_clones, clone_on_cpu, cluster)
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
        strategy = tf.distribute.MirroredStrategy(devices)
    else:
        return tf.distribute.get_strategy()
    logging.info("training on %d replicas", strategy.num_replicas_in_sync)
    return strategy


def _check_cluster(cluster: _Cluster | None, num_replicas: int, task: int) -> None:
    """Reject official cluster flags that contradict TF_CONFIG."""
    hosts = len(cluster.hosts) if cluster else 1
    if num_replicas not in (1, hosts):
        raise ValueError(
            f"--num_replicas is {num_replicas}, but {_TF_CONFIG} lists {hosts} hosts; it must list"
            " the address and port of every host (see g3doc/distributed.md)"
        )
    index = cluster.index if cluster else 0
    if task not in (0, index):
        raise ValueError(
            f"--task is {task}, but {_TF_CONFIG} gives this host the index {index}; remove --task"
        )


def _devices(num_clones: int, clone_on_cpu: bool, cluster: _Cluster | None) -> list[str]:
    """Return the names of the devices to train on; hide other GPUs from TensorFlow."""
    gpus = tf.config.list_physical_devices("GPU")
    if clone_on_cpu:
        if num_clones > 1 and cluster:
            raise ValueError(
                f"--num_clones is {num_clones} with --clone_on_cpu, but if several hosts train"
                " together, the CPU of a host is one replica; use --num_clones=1"
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
            f"--num_clones is {num_clones}, but TensorFlow can use {len(gpus)} GPUs of this host"
            " (to try several clones without GPUs, use --clone_on_cpu)"
        )
    if len(gpus) > num_clones:
        tf.config.set_visible_devices(gpus[:num_clones], "GPU")
    return [f"GPU:{index}" for index in range(num_clones)]


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
    # An all-reduce needs the devices of its values, which those of variables do not have.
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
    # If a host has ended nevertheless, there is nothing to wait for.
    with contextlib.suppress(tf.errors.OpError):
        mean_over_hosts(strategy, 0.0)
        time.sleep(_LAST_WORDS_SECS)


@functools.cache
def _mean_of(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], Any]:
    return tf.function(lambda value: strategy.run(mean, args=(value,)))
