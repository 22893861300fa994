"""Messages of the hosts of a run to TensorFlow's coordination service when they end.

The service runs on the first host. Every host sends it a sign of life every few seconds; if they
stop, the host is reported as crashed, and the others end with an error. TensorFlow has no function
that says that a host is done, so that one which ended first would be reported. This module says it,
with two messages of the service's protocol (`coordination_service.proto`).
"""

import contextlib
import dataclasses
import socket
import time

import grpc
import tensorflow as tf

from deeplab.core import wire_format

_SERVICE = "/tensorflow.CoordinationService"
_RPC_SECS = 10
_CONNECT_SECS = 1.0
_POLL_SECS = 0.1


@dataclasses.dataclass(frozen=True)
class Task:
    """A host, as the service knows it: the name of its job, its index there, and its address."""

    job: str
    index: int
    address: str

    def encoded(self) -> bytes:
        """Return the message `CoordinatedTask`."""
        return wire_format.bytes_field(1, self.job) + wire_format.number_field(2, self.index)

    def is_running(self) -> bool:
        """Return whether the host still listens at its address."""
        name, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((name.strip("[]"), int(port)), _CONNECT_SECS).close()
        except OSError:
            return False
        return True


def tasks(resolver: tf.distribute.cluster_resolver.ClusterResolver) -> tuple[Task, list[Task]]:
    """Return the task of this host, and those of all hosts; the first runs the service."""
    cluster = resolver.cluster_spec()
    everyone = [
        Task(job, index, cluster.task_address(job, index))
        for job in ("chief", "worker")
        if job in cluster.jobs
        for index in cluster.task_indices(job)
    ]
    own = (resolver.task_type, resolver.task_id)
    return next(task for task in everyone if (task.job, task.index) == own), everyone


def meet(own: Task, first: Task, name: str, timeout_secs: float) -> None:
    """Wait until all hosts have called it, or one of them has ended.

    Args:
        own: This host.
        first: The host that runs the service.
        name: Name of the meeting; each has another one.
        timeout_secs: Time to wait for the last host.
    """
    request = (
        wire_format.bytes_field(1, name)
        + wire_format.number_field(2, round(timeout_secs * 1000))
        + wire_format.bytes_field(4, own.encoded())
    )
    # The service has ended, or tells of a host that has.
    with contextlib.suppress(grpc.RpcError):
        _call(first, "Barrier", request, timeout_secs + _RPC_SECS)


def let_go(first: Task, others: list[Task], timeout_secs: float) -> None:
    """Tell the service that the others are done, and wait until they have ended.

    Their signs of life are neither expected any more nor wrong for 10 seconds. While they end, the
    service must answer them.

    Args:
        first: This host, which runs the service.
        others: The other hosts.
        timeout_secs: Time to wait for the last host.
    """
    deadline = time.monotonic() + timeout_secs
    for task in others:
        with contextlib.suppress(grpc.RpcError):
            _call(first, "ShutdownTask", wire_format.bytes_field(1, task.encoded()), _RPC_SECS)
    while any(task.is_running() for task in others) and time.monotonic() < deadline:
        time.sleep(_POLL_SECS)


def _call(host: Task, method: str, request: bytes, timeout_secs: float) -> None:
    # TensorFlow's own messages do not pass through a proxy either.
    with grpc.insecure_channel(host.address, [("grpc.enable_http_proxy", 0)]) as channel:
        channel.unary_unary(f"{_SERVICE}/{method}")(request, timeout=timeout_secs)
