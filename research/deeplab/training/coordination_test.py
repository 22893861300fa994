"""Messages of a host to the coordination service; here, another service receives them."""

import concurrent.futures
import socket
import threading

import grpc
import pytest
import tensorflow as tf

from deeplab.training import coordination


class _Service:
    """A service that notes messages.

    Attributes:
        address: Its address.
        received: Name and bytes of the messages that came.
        errors: The codes with which the next ones are answered.
        cancelled: Set by the message that ends a meeting.
        waits: Whether a meeting lasts until then.
    """

    def __init__(self):
        self.address = ""
        self.received = []
        self.errors = []
        self.cancelled = threading.Event()
        self.waits = False

    def answer(self, method: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.received.append((method, request))
        if self.errors:
            context.abort(self.errors.pop(0), "as asked")
        if method == "CancelBarrier":
            self.cancelled.set()
        if method == "Barrier" and self.waits:
            assert self.cancelled.wait(20)
            context.abort(grpc.StatusCode.CANCELLED, "the meeting is cancelled")
        return b""


@pytest.fixture
def service():
    """Yield a service that notes messages."""
    state = _Service()

    class Handler(grpc.GenericRpcHandler):
        def service(self, handler_call_details):
            package, method = handler_call_details.method.rsplit("/", 1)
            assert package == "/tensorflow.CoordinationService"
            return grpc.unary_unary_rpc_method_handler(
                lambda request, context: state.answer(method, request, context)
            )

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(3), handlers=[Handler()])
    state.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield state
    server.stop(None)


@pytest.fixture
def listening():
    """Yield a socket at whose address a host seems to be there."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


def _host(address: str | socket.socket, index: int = 0) -> coordination.Task:
    if not isinstance(address, str):
        address = f"127.0.0.1:{address.getsockname()[1]}"
    return coordination.Task("worker", index, address)


def _gone(index: int) -> coordination.Task:
    with socket.create_server(("127.0.0.1", 0)) as ended:
        return _host(ended, index)


def _tasks(cluster, job, index):
    spec = tf.train.ClusterSpec(cluster)
    return coordination.tasks(
        tf.distribute.cluster_resolver.SimpleClusterResolver(spec, task_type=job, task_id=index)
    )


def test_the_first_host_runs_the_service():
    """As TensorFlow has it: the chief, and the first worker without one."""
    own, everyone = _tasks({"worker": ["a:1", "b:2"], "chief": ["c:3"]}, "worker", 1)
    assert own == coordination.Task("worker", 1, "b:2")
    assert [task.address for task in everyone] == ["c:3", "a:1", "b:2"]
    own, everyone = _tasks({"worker": ["a:1", "b:2"]}, "worker", 0)
    assert own == everyone[0] == coordination.Task("worker", 0, "a:1")


def test_the_first_host_waits_for_the_others_and_says_that_they_are_done(
    service, listening, caplog
):
    """It does so, too, for one that has not said it itself."""
    first, other, gone = _host(service.address), _host(listening, 1), _gone(300)
    assert not other.has_ended()
    assert gone.has_ended()
    coordination.wait_for_end([first, other, gone], timeout_secs=0.3)
    many = b"\x0a\x0b\x0a\x06worker\x10\xac\x02"
    assert service.received == [("ShutdownTask", many)]
    assert f"worker 1 ({other.address}) has not ended after 0.3 seconds" in caplog.text
    threading.Timer(0.2, listening.close).start()
    coordination.wait_for_end([first, other], timeout_secs=600)
    assert service.received[1:] == [("ShutdownTask", b"\x0a\x0a\x0a\x06worker\x10\x01")]


def test_a_host_that_does_not_answer_has_not_ended(monkeypatch):
    for error in (TimeoutError, socket.gaierror, OSError):

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr(socket, "create_connection", fail)
        assert not _host("a:1").has_ended()


@pytest.mark.parametrize("count", [1, 3])
def test_a_message_that_is_lost_is_sent_again(service, caplog, count):
    """A host that left without its meeting would be reported as crashed."""
    own, first = _host("a:1", 1), _host(service.address)
    service.errors = [grpc.StatusCode.UNAVAILABLE] * count
    assert coordination.meet(own, [first, own], "end", timeout_secs=0.5)
    message = b"\x0a\x03end" + b"\x10\xf4\x03" + b"\x22\x0a\x0a\x06worker\x10\x01"
    assert service.received == [("Barrier", message)] * (count + 1)
    service.errors = [grpc.StatusCode.UNAVAILABLE] * count
    coordination.say_done(first, own)
    assert [method for method, _ in service.received].count("ShutdownTask") == count + 1
    assert not caplog.text


def test_a_meeting_ends_if_the_service_has_ended_or_a_host_failed(service, caplog):
    own, first = _host("a:1", 1), _host(service.address)
    service.errors = [grpc.StatusCode.INTERNAL]
    assert not coordination.meet(own, [first, own], "end", timeout_secs=600)
    assert len(service.received) == 1
    assert "not all hosts have met at the end: as asked" in caplog.text
    gone = _gone(0)
    assert not coordination.meet(own, [gone, own], "end", timeout_secs=600)
    assert f"not all hosts have met at the end: worker 0 ({gone.address}) has ended" in caplog.text
    coordination.say_done(gone, own)


def test_the_first_host_ends_a_meeting_that_another_host_has_left(
    service, listening, caplog, monkeypatch
):
    """It does not wait until the service misses that host."""
    monkeypatch.setattr(coordination, "_LOOK_SECS", 0.05)
    first, other, gone = _host(service.address), _host(listening, 1), _gone(2)
    service.waits = True
    assert not coordination.meet(first, [first, other, gone], "end", timeout_secs=600)
    messages = dict(service.received)
    assert messages.keys() == {"Barrier", "ShutdownTask", "CancelBarrier"}
    assert messages["ShutdownTask"] == b"\x0a\x0a\x0a\x06worker\x10\x02"
    assert messages["CancelBarrier"] == b"\x0a\x03end" + b"\x12\x0a\x0a\x06worker\x10\x00"
    assert f"not all hosts have met at the end: worker 2 ({gone.address}) has ended" in caplog.text
