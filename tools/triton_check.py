"""Compares the answers of Triton for an export with those of TensorFlow; see triton.sh."""

import argparse
import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator

import numpy as np
import pytriton
import tensorflow as tf
from tritonclient import http

_NAME = "deeplab"
_HOST = "127.0.0.1"
_START_SECS = 120
_CONFIG = """name: "{name}"
backend: "python"
max_batch_size: 0
input [ {{ name: "image_bytes" data_type: TYPE_STRING dims: [ -1 ] }} ]
output [
  {{ name: "Status" data_type: TYPE_INT32 dims: [ -1 ] }},
  {{ name: "label_png_bytes" data_type: TYPE_STRING dims: [ -1 ] }}
]
parameters {{ key: "export_path" value {{ string_value: "{export_path}" }} }}
instance_group [ {{ kind: KIND_CPU }} ]
"""


def main() -> int:
    """Compare the answers; return 1 if one differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition(";")[0])
    parser.add_argument("--export_path", required=True)
    options = parser.parse_args()
    files = [*map(_png, ((65, 97), (129, 65))), b"no image", b""]
    function = tf.saved_model.load(options.export_path).signatures["serving_png"]
    alone = [function(image_bytes=tf.constant([data])) for data in files]
    expected = [(int(each["Status"][0]), each["label_png_bytes"].numpy()[0]) for each in alone]
    with tempfile.TemporaryDirectory() as folder, _serving(folder, options.export_path) as address:
        client = http.InferenceServerClient(address)
        found = _ask(client, files)
        for data in files:
            found += _ask(client, [data])
        client.close()
    # Together, and one by one.
    wanted = expected * 2
    wrong = sum(ours != theirs for ours, theirs in zip(found, wanted, strict=True))
    print(f"Triton: {len(found)} answers, {wrong} differ from TensorFlow's")
    return 1 if wrong else 0


def _png(shape: tuple[int, int]) -> bytes:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    return tf.io.encode_png(image).numpy()


@contextlib.contextmanager
def _serving(folder: str, export_path: str) -> Iterator[str]:
    """Yield the address of the V2 HTTP interface of a Triton."""
    root = pathlib.Path(folder)
    package = pathlib.Path(pytriton.__file__).parent / "tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copytree(package / "backends", root / "backends")
    stub = package / "python_backend_stubs" / version / "triton_python_backend_stub"
    shutil.copy(stub, root / "backends" / "python")
    model = root / "models" / _NAME
    (model / "1").mkdir(parents=True)
    config = _CONFIG.format(name=_NAME, export_path=os.path.abspath(export_path))
    (model / "config.pbtxt").write_text(config)
    # The backend's interpreter is isolated: no variable of the environment tells it where the
    # packages are.
    places = f"import sys\n\nsys.path[1:1] = {[str(package.parents[1])]!r}\n"
    text = pathlib.Path(__file__).with_name("triton_model.py").read_text()
    (model / "1" / "model.py").write_text(places + text)
    with socket.socket() as free:
        free.bind((_HOST, 0))
        port = free.getsockname()[1]
    # A copy of the interpreter does not find its libraries by itself.
    libraries = str(package.parents[1] / "nvidia_pytriton.libs")
    environment = {**os.environ, "LD_LIBRARY_PATH": libraries}
    command = [
        str(package / "bin" / "tritonserver"),
        f"--model-repository={root / 'models'}",
        f"--backend-directory={root / 'backends'}",
        f"--http-port={port}",
        f"--http-address={_HOST}",
        "--allow-grpc=false",
        "--allow-metrics=false",
    ]
    with subprocess.Popen(command, env=environment) as process:
        try:
            address = f"{_HOST}:{port}"
            _wait(process, address)
            yield address
        finally:
            process.terminate()


def _wait(process: subprocess.Popen, address: str) -> None:
    # Triton's own client does not recover from a connection that was refused.
    ready = f"http://{address}/v2/models/{_NAME}/ready"
    for _ in range(_START_SECS):
        if process.poll() is not None:
            raise RuntimeError(f"Triton has ended with exit code {process.returncode}")
        with contextlib.suppress(OSError), urllib.request.urlopen(ready, timeout=10):
            return
        time.sleep(1)
    raise TimeoutError("Triton is not ready")


def _ask(client: http.InferenceServerClient, files: list[bytes]) -> list[tuple[int, bytes]]:
    given = http.InferInput("image_bytes", [len(files)], "BYTES")
    given.set_data_from_numpy(np.array(files, np.object_))
    answer = client.infer(_NAME, [given])
    return [
        (int(status), png)
        for status, png in zip(
            answer.as_numpy("Status"), answer.as_numpy("label_png_bytes"), strict=True
        )
    ]


if __name__ == "__main__":
    sys.exit(main())
