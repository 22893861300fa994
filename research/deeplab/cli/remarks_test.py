"""TensorFlow's remarks are told from its errors, and only they are hidden."""

import os
import subprocess
import sys

import pytest

from deeplab.cli import remarks

_REMARKS = """\
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795914985.638034    5481 port.cc:153] oneDNN custom operations are on. You may see
I0000 00:00:1795914985.638636    5481 cudart_stub.cc:31] Could not find cuda drivers on your machine
2025-03-01 10:00:00.123456: I tensorflow/core/util/port.cc:153] oneDNN custom operations are on.
2025-03-01 10:00:00.123456: W tensorflow/compiler/tf2tensorrt/utils/py_utils.cc:38] TF-TRT Warning
E0000 00:00:1745 12 cuda_dnn.cc:8579] Unable to register cuDNN factory: Attempting to register
W0000 00:00:1745 12 computation_placer.cc:177] computation placer already registered. Please check
To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow
E0000 00:00:1795914985.638034 5481 util.cc:153] oneDNN supports DT_INT32 only on platforms with AVX
"""
_ERRORS = """\
E0000 00:00:1795915054.075193 5481 cuda_platform.cc:52] failed call to cuInit: INTERNAL: (803)
2025-03-01 10:00:00.1: E external/local_xla/x.cc:152] failed call to cuInit: CUDA_ERROR_NO_DEVICE
F0000 00:00:1795915054.075193 5481 gpu_device.cc:52] Check failed: memory
Could not load dynamic library 'libcudart.so'
error: I0000 is not a number
"""
_NO_DRIVER = (
    "E0000 00:00:1795915054.075193    5481 cuda_platform.cc:52] failed call to cuInit: INTERNAL:"
    " CUDA error: Failed call to cuInit: UNKNOWN ERROR (303)"
)
# A module that takes the place of TensorFlow.
_NOISY = """
import os, types
os.write(2, b"I0000 00:00:1.0 5 port.cc:1] oneDNN custom operations are on\\n")
os.write(2, b"E0000 00:00:1.0 5 gpu.cc:1] the GPU is broken\\n")
if os.environ.get("CRASH"):
    os.write(2, b"F0000 00:00:1.0 5 gpu.cc:1] Check failed")
    os.abort()
config = types.SimpleNamespace(
    list_physical_devices=lambda: os.write(2, b"I0000 00:00:1.0 5 cuda.cc:1] no driver\\n"))
"""


@pytest.mark.parametrize("line", _REMARKS.splitlines())
def test_remarks_are_known(line):
    assert remarks.is_remark(line)


@pytest.mark.parametrize("line", _ERRORS.splitlines())
def test_errors_are_none(line):
    assert not remarks.is_remark(line)


def test_a_missing_driver_is_an_error_only_where_there_is_a_gpu(monkeypatch, tmp_path):
    monkeypatch.setattr(remarks, "_DRIVER", str(tmp_path / "none"))
    assert remarks.is_remark(_NO_DRIVER)
    monkeypatch.setattr(remarks, "_DRIVER", str(tmp_path))
    assert not remarks.is_remark(_NO_DRIVER)


@pytest.fixture
def run(tmp_path):
    (tmp_path / "tensorflow.py").write_text(_NOISY)
    program = (
        "import os, sys; from deeplab.cli import remarks; remarks.hide(); remarks.hide()\n"
        "import tensorflow; print(tensorflow.__spec__.loader is tensorflow.__loader__)\n"
        "os.write(2, b'I0000 of our own\\n')"
    )
    root = str(tmp_path), *[path for path in sys.path if path]

    def call(**environment: str) -> subprocess.CompletedProcess:
        variables = {"PYTHONPATH": os.pathsep.join(root), **environment}
        return subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env=variables
        )

    return call


@pytest.mark.parametrize("level", [None, "2", "3"])
def test_remarks_are_hidden_while_tensorflow_is_imported(run, level):
    done = run(**({remarks.LEVEL: level} if level else {}))
    assert done.stdout == "True\n"
    assert done.stderr == "E0000 00:00:1.0 5 gpu.cc:1] the GPU is broken\nI0000 of our own\n"


@pytest.mark.parametrize("level", ["0", "1"])
def test_the_environment_asks_for_them(run, level):
    lines = run(**{remarks.LEVEL: level}).stderr.splitlines()
    assert lines[0].endswith("oneDNN custom operations are on")
    assert lines[1].endswith("the GPU is broken")


def test_the_last_words_of_a_crash_are_shown(run):
    assert run(CRASH="yes").stderr.splitlines()[-1].endswith("Check failed")


@pytest.mark.slow
def test_tensorflow_says_nothing_later_of_what_onednn_lacks():
    """It says so once, here while it is imported."""
    program = (
        "import ctypes; from deeplab.cli import remarks; remarks.hide(); import tensorflow as tf\n"
        "path = f'{tf.sysconfig.get_lib()}/{remarks._ONEDNN_LIBRARY}'\n"
        "ctypes.CDLL(path)[remarks._ONEDNN_REMARK](ctypes.byref(ctypes.c_int(3)))\n"
        "tf.config.set_visible_devices([], 'GPU')\n"
    )
    said = {}
    for level in ("2", "1"):
        environment = {**os.environ, remarks.LEVEL: level, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        said[level] = "oneDNN supports DT_INT32" in done.stderr
    assert said == {"2": False, "1": True}
