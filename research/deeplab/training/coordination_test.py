"""Messages of a host to the coordination service; here, another service receives them."""

import concurrent.futures
import socket

import grpc
import pytest
import tensorflow as tf

from deeplab.training import coordination


@pytest.fixture
def service():
    """Yield the address of a service, and the messages that it received."""
    received = []

    class Handler(grpc.GenericRpcHandler):
        def service(self, handler_call_details):
            def answer(request, context):
                received.append((handler_call_details.method, request))
                if handler_call_details.method.endswith("/Barrier"):
                    context.abort(grpc.StatusCode.INTERNAL, "a task is in error")
                return b""

            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1), handlers=[Handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", received
    server.stop(None)


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


def test_the_first_host_says_that_the_others_are_done_and_waits_for_them(service):
    address, received = service
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        first = coordination.Task("worker", 0, address)
        others = [coordination.Task("worker", number, f"127.0.0.1:{port}") for number in (1, 300)]
        assert others[0].is_running()
        coordination.let_go(first, others, timeout_secs=0.3)
    assert not others[0].is_running()
    coordination.let_go(first, others[:1], timeout_secs=600)
    method = "/tensorflow.CoordinationService/ShutdownTask"
    one, many = b"\x0a\x0a\x0a\x06worker\x10\x01", b"\x0a\x0b\x0a\x06worker\x10\xac\x02"
    assert received == [(method, one), (method, many), (method, one)]


def test_a_meeting_ends_if_the_service_has_ended_or_a_host_failed(service):
    address, received = service
    own, first = coordination.Task("worker", 1, "a:1"), coordination.Task("worker", 0, address)
    coordination.meet(own, first, "end", timeout_secs=0.5)
    message = b"\x0a\x03end" + b"\x10\xf4\x03" + b"\x22\x0a\x0a\x06worker\x10\x01"
    assert received == [("/tensorflow.CoordinationService/Barrier", message)]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    gone = coordination.Task("worker", 0, f"127.0.0.1:{port}")
    coordination.meet(own, gone, "end", timeout_secs=600)
