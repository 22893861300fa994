r"""Sends requests of many clients at once to an export, and compares the answers with those to one.

The clients send image files of different sizes, some of them bad, to `serving_png`. Each has its
own connection. It is a fault if a request fails, if an answer differs from the one that the same
file got alone, or if the memory of the server grows.

Without --server, the stand-in server of the tests answers, in this process. It follows the rules of
TensorFlow Serving but runs in Python, so its times do not predict those of TensorFlow Serving.

Example:
    PYTHONPATH=research python benchmarks/serving_load.py --export_path=models/pascal
    PYTHONPATH=research python benchmarks/serving_load.py --server=localhost:8500 --model=pascal
"""

import argparse
import contextlib
import dataclasses
import os
import pathlib
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures

import cv2
import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from deeplab.export import photographs
from deeplab.testing import tf_serving
from deeplab.utils import reports

_SIGNATURE = "serving_png"
_SHAPES = ((97, 129), (129, 97), (65, 65), (129, 129), (33, 113), (113, 81))
_TIMEOUT_SECS = 120
# Growth of memory from the second to the last third of the time. Allocators keep some memory.
_MOST_GROWTH = 0.05

Answer = tuple[int, bytes]


@dataclasses.dataclass(frozen=True)
class Result:
    """The results of a load.

    Args:
        seconds: Time of each request that was answered.
        errors: Messages of requests that failed.
        others: Number of answers that differ from those to a single client.
        elapsed: Seconds in total.
        memory: Bytes of the server's memory, over time; empty if it is not known.
    """

    seconds: Sequence[float]
    errors: Sequence[str]
    others: int
    elapsed: float
    memory: Sequence[int]

    def growth(self) -> float:
        """Return by how much the memory grew from the second third of the time to the last one."""
        third = len(self.memory) // 3
        if not third:
            return 0.0
        middle, end = self.memory[third : 2 * third], self.memory[-third:]
        return statistics.mean(end) / statistics.mean(middle) - 1

    def is_fine(self) -> bool:
        """Return whether there was no fault."""
        return not self.errors and not self.others and self.growth() <= _MOST_GROWTH


def files() -> list[bytes]:
    """Return image files of different sizes, and files that are not images."""
    images = [photographs.drawn(shape)[0].image[..., ::-1] for shape in _SHAPES]
    good = [cv2.imencode(".png", image)[1].tobytes() for image in images]
    return [*good, b"", b"no image", good[0][: len(good[0]) // 2]]


def run(
    address: str, model: str, clients: int, seconds: float, process: int | None = None
) -> Result:
    """Send requests for some time.

    Args:
        address: Host and port of a server's gRPC interface.
        model: Name of the model.
        clients: Number of clients that send requests at the same time.
        seconds: Duration.
        process: Id of the server's process, to measure its memory.
    """
    sent = files()
    with _client(address, model) as ask:
        alone = [ask(data) for data in sent]
    times: list[float] = []
    errors: list[str] = []
    others: list[int] = []
    started = time.monotonic()
    end = started + seconds

    def send(number: int) -> None:
        chosen = random.Random(number)
        with _client(address, model) as ask:
            while time.monotonic() < end:
                index = chosen.randrange(len(sent))
                start = time.perf_counter()
                try:
                    answer = ask(sent[index])
                except grpc.RpcError as error:
                    errors.append(f"{error.code().name}: {error.details()}")
                    continue
                times.append(time.perf_counter() - start)
                if answer != alone[index]:
                    others.append(index)

    memory: list[int] = []
    with futures.ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(send, number) for number in range(clients)]
        while process and time.monotonic() < end:
            memory.append(_resident_bytes(process))
            time.sleep(0.25)
        for each in running:
            each.result()
    return Result(times, errors, len(others), time.monotonic() - started, memory)


@contextlib.contextmanager
def _client(address: str, model: str) -> Iterator[Callable[[bytes], Answer]]:
    """Yield a function from a file to the status and the PNG file of its labels."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(address, options) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

        def ask(data: bytes) -> Answer:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = model
            request.model_spec.signature_name = _SIGNATURE
            request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([data]))
            outputs = stub.Predict(request, _TIMEOUT_SECS).outputs
            (status,) = tf.make_ndarray(outputs["Status"])
            (png,) = tf.make_ndarray(outputs["label_png_bytes"])
            return int(status), png

        yield ask


def _resident_bytes(process: int) -> int:
    pages = pathlib.Path(f"/proc/{process}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _table(result: Result, clients: int) -> str:
    rows = [
        ("clients", str(clients)),
        ("requests", str(len(result.seconds) + len(result.errors))),
        ("errors", str(len(result.errors))),
        ("answers unlike those to one client", str(result.others)),
        ("requests a second", f"{len(result.seconds) / result.elapsed:.1f}"),
    ]
    if result.seconds:
        for share in (50, 95, 99):
            value = np.percentile(result.seconds, share)
            rows.append((f"{share} % within, ms", f"{1000 * value:.0f}"))
    if result.memory:
        rows += [
            ("memory at the end, MB", f"{result.memory[-1] / 1e6:.0f}"),
            ("growth, last third to the one before", f"{result.growth():+.1%}"),
        ]
    return reports.format_table(("load", "value"), rows)


def main() -> int:
    """Send the requests and print a table; return 1 if there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--export_path", help="folder of the versions, for the stand-in server")
    parser.add_argument("--server", help="host:port of a gRPC interface in place of the stand-in")
    parser.add_argument("--server_process", type=int, help="its process id, to measure memory")
    parser.add_argument("--model", default="deeplab")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    if bool(options.server) == bool(options.export_path):
        parser.error("give --export_path or --server")
    with contextlib.ExitStack() as stack:
        address, process = options.server, options.server_process
        if not address:
            served = tf_serving.serving(
                {options.model: options.export_path}, tf_serving.Batching(max_batch_size=8)
            )
            address, process = stack.enter_context(served).grpc_address, os.getpid()
        result = run(address, options.model, options.clients, options.seconds, process)
    print(_table(result, options.clients))
    for message in sorted(set(result.errors))[:5]:
        print(f"error: {message}", file=sys.stderr)
    return 0 if result.is_fine() else 1


if __name__ == "__main__":
    sys.exit(main())
