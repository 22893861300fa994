"""Messages of the hosts of a run to TensorFlow's coordination service when they end.

The service runs on the first host. Every host sends it a sign of life every few seconds; if they
stop, the host is reported as crashed, and the others end with an error. TensorFlow has no function
with which a host reports that it is done, so the first host to end would count as crashed. This
module reports it, with messages of the service's protocol (`coordination_service.proto`):

1. All hosts meet (`Barrier`), so that none leaves while another still needs its numbers.
2. Each host but the first says that it is done (`ShutdownTask`), as the last thing before it ends.
   The first one may be busy then for longer than the service waits for a sign of life.
3. The first host stays until the others have ended, because the service must answer them.

In 1 and 3 the first host watches the others: for one that has ended without a word it says that it
is done, and it ends a meeting that waits for it (`CancelBarrier`). A message is sent again while
the connection fails and the first host is there.
"""

import contextlib
import dataclasses
import socket
import time
from collections.abc import Callable, Sequence

import grpc
import tensorflow as tf
from absl import logging

from deeplab.core import error_text, wire_format

_SERVICE = "/tensorflow.CoordinationService"
# Time for an answer, and for all attempts to get it.
_RPC_SECS = 10.0
_CONNECT_SECS = 1.0
_POLL_SECS = 0.1
# Time between looks at the other hosts while they meet.
_LOOK_SECS = 0.5


@dataclasses.dataclass(frozen=True)
class Task:
    """A host, as the service knows it: the name of its job, its index there, and its address."""

    job: str
    index: int
    address: str

    def encoded(self) -> bytes:
        """Return the message `CoordinatedTask`."""
        return wire_format.bytes_field(1, self.job) + wire_format.number_field(2, self.index)

    def has_ended(self) -> bool:
        """Return whether nothing listens at the host's address any more.

        A host that does not answer at all may be there, and be slow.
        """
        name, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((name.strip("[]"), int(port)), _CONNECT_SECS).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return False

    def __str__(self) -> str:
        """Return its name for messages."""
        return f"{self.job} {self.index} ({self.address})"


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


def meet(own: Task, everyone: Sequence[Task], name: str, timeout_secs: float) -> bool:
    """Wait until all hosts have called it, or one of them has ended.

    Args:
        own: This host.
        everyone: All hosts; the first runs the service.
        name: Name of the meeting, different for each meeting.
        timeout_secs: Time to wait for the last host.

    Returns:
        Whether all have called it. If not, the log says why.
    """
    first, *others = everyone
    request = (
        wire_format.bytes_field(1, name)
        + wire_format.number_field(2, round(timeout_secs * 1000))
        + wire_format.bytes_field(4, own.encoded())
    )
    watch = _Watch(first, others if own == first else ())

    def look() -> None:
        watch.look()
        if watch.ended:
            # If the service heard that a host is done before it heard of the meeting, it waits.
            cancel = wire_format.bytes_field(1, name) + wire_format.bytes_field(2, own.encoded())
            _send(first, "CancelBarrier", cancel)

    try:
        _call(first, "Barrier", request, timeout_secs + _RPC_SECS, look)
    except grpc.RpcError as error:
        ended = [first] if own != first and first.has_ended() else watch.ended
        reason = f"{ended[0]} has ended" if ended else error.details() or error.code().name
        logging.warning("not all hosts have met at the end: %s", error_text.one_line(reason))
        return False
    return True


def say_done(first: Task, host: Task) -> None:
    """Tell the service that a host is done and sends no more signs of life.

    For 10 seconds the service still accepts signs of life from it.

    Args:
        first: The host that runs the service.
        host: The host that is done.
    """
    _send(first, "ShutdownTask", wire_format.bytes_field(1, host.encoded()))


def wait_for_end(everyone: Sequence[Task], timeout_secs: float) -> None:
    """Wait on the first host until all others have ended.

    Args:
        everyone: All hosts; the first is this one.
        timeout_secs: Time to wait for the last host.
    """
    deadline = time.monotonic() + timeout_secs
    watch = _Watch(everyone[0], everyone[1:])
    watch.look()
    while watch.there and time.monotonic() < deadline:
        time.sleep(_POLL_SECS)
        watch.look()
    for host in watch.there:
        logging.warning("%s has not ended after %g seconds: not waiting for it", host, timeout_secs)


class _Watch:
    """The other hosts, which the first one watches while all end.

    Args:
        first: The host that runs the service.
        others: The hosts to watch.

    Attributes:
        there: Those that have not ended.
        ended: Those that have.
    """

    def __init__(self, first: Task, others: Sequence[Task]):
        self._first = first
        self.there = list(others)
        self.ended: list[Task] = []

    def look(self) -> None:
        """Find the hosts that have ended, and tell the service that they are done."""
        for host in [host for host in self.there if host.has_ended()]:
            self.there.remove(host)
            self.ended.append(host)
            say_done(self._first, host)


def _send(host: Task, method: str, request: bytes) -> None:
    # The service has ended, or knows it.
    with contextlib.suppress(grpc.RpcError):
        _call(host, method, request, _RPC_SECS)


def _call(
    host: Task,
    method: str,
    request: bytes,
    timeout_secs: float,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Call a method of the service; again while its host is there, but the connection fails.

    Args:
        host: The host that runs the service.
        method: Name of the method.
        request: The encoded request.
        timeout_secs: Time for all attempts.
        meanwhile: Called again and again while the answer takes time.

    Raises:
        grpc.RpcError: The service refuses, or has ended, or the time is over.
    """
    deadline = time.monotonic() + timeout_secs
    while True:
        try:
            return _call_once(host, method, request, deadline - time.monotonic(), meanwhile)
        except grpc.RpcError as error:
            is_lost = error.code() == grpc.StatusCode.UNAVAILABLE
            if not is_lost or host.has_ended() or time.monotonic() > deadline:
                raise
        time.sleep(_POLL_SECS)


def _call_once(
    host: Task, method: str, request: bytes, timeout_secs: float, meanwhile: Callable[[], None]
) -> None:
    # TensorFlow's own messages do not pass through a proxy either.
    with grpc.insecure_channel(host.address, [("grpc.enable_http_proxy", 0)]) as channel:
        answer = channel.unary_unary(f"{_SERVICE}/{method}").future(request, timeout=timeout_secs)
        while True:
            try:
                answer.result(timeout=_LOOK_SECS)
                return
            except grpc.FutureTimeoutError:
                meanwhile()
