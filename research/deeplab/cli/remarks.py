"""Hides messages that TensorFlow logs while it is imported.

TensorFlow's level of messages, `TF_CPP_MIN_LOG_LEVEL`, does not apply to them.
"""

import contextlib
import ctypes
import importlib.abc
import importlib.util
import os
import re
import signal
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any, NoReturn

# Messages of this level and above are shown: 0 information, 1 warnings, 2 errors.
LEVEL = "TF_CPP_MIN_LOG_LEVEL"

# A message of TensorFlow, in the new and the old form: its level and its text.
_MESSAGE = re.compile(
    r"(?:(?P<new>[IWEF])\d{4} |\d{4}-\d\d-\d\d [\d:.]+: (?P<old>[IWEF]) )(?P<text>.*)"
)
# Lines without a level that belong to such messages.
_NOTES = (
    "WARNING: All log messages before absl::InitializeLog()",
    "To enable the following instructions:",
)
# Messages at the level of errors that report no error: parts of TensorFlow that are linked twice,
# and types of values that are computed without oneDNN.
_NO_ERROR = re.compile(
    r"Unable to register cu\w+ (factory|plugin)|computation placer already registered"
    r"|oneDNN supports \w+ only on platforms with"
)
# The function with which TensorFlow logs the latter, once in a process, and its library.
_ONEDNN_LIBRARY = "libtensorflow_framework.so.2"
_ONEDNN_REMARK = "_ZN10tensorflow26DataTypeUnsupportedWarningERKNS_8DataTypeE"
# Without a driver there is no GPU to use.
_NO_DRIVER = re.compile(r"failed call to cuInit: .*\(303\)")
_DRIVER = "/dev/nvidiactl"


def hide() -> None:
    """Let this process hide TensorFlow's remarks, unless the environment asks for them.

    Errors are shown, such as those of a GPU that cannot be used. `TF_CPP_MIN_LOG_LEVEL` is set to 2
    where it is not set; 0 or 1 shows everything.
    """
    level = os.environ.setdefault(LEVEL, "2")
    if level in ("0", "1") or "tensorflow" in sys.modules:
        return
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def is_remark(line: str) -> bool:
    """Return whether a line on standard error is a remark of TensorFlow."""
    if line.startswith(_NOTES):
        return True
    match = _MESSAGE.match(line)
    if not match:
        return False
    if (match["new"] or match["old"]) in "IW" or _NO_ERROR.search(match["text"]):
        return True
    return bool(_NO_DRIVER.search(match["text"])) and not os.path.exists(_DRIVER)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds TensorFlow, once, and has it loaded without its remarks."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec and spec.loader:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    """Loads TensorFlow with a loader."""

    def __init__(self, loader: Any):
        self._loader = loader

    def create_module(self, spec: Any) -> types.ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        module.__loader__ = module.__spec__.loader = self._loader
        with _without_remarks():
            self._loader.exec_module(module)
            # Look for GPUs now, not at the first operation, so that their messages are filtered.
            with contextlib.suppress(Exception):
                module.config.list_physical_devices()
            # Other releases may not have it.
            with contextlib.suppress(Exception):
                _log_types_without_onednn(module)


def _log_types_without_onednn(tensorflow: types.ModuleType) -> None:
    """Let TensorFlow log its remark about oneDNN now, while it is hidden, and not later."""
    library = ctypes.CDLL(os.path.join(tensorflow.sysconfig.get_lib(), _ONEDNN_LIBRARY))
    data_type = ctypes.c_int(tensorflow.int32.as_datatype_enum)
    library[_ONEDNN_REMARK](ctypes.byref(data_type))


@contextlib.contextmanager
def _without_remarks() -> Iterator[None]:
    """Filter the remarks out of standard error, in another process.

    Nothing is lost if this process crashes.
    """
    try:
        shown = os.dup(2)
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            # The other process uses nothing that a thread of this one may have locked.
            warnings.simplefilter("ignore", DeprecationWarning)
            process = os.fork()
    except OSError:  # There is no standard error, or no room for a process.
        yield
        return
    if process == 0:
        os.close(writing)
        _pass_on(reading)
    os.close(reading)
    os.dup2(writing, 2)
    os.close(writing)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(shown, 2)
        os.close(shown)
        os.waitpid(process, 0)


def _pass_on(reading: int) -> NoReturn:
    """Write the lines that are not remarks to standard error, then end this process."""
    try:
        # It ends when there is nothing left to read.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        with os.fdopen(reading, "rb") as lines:
            for line in lines:
                if not is_remark(line.decode(errors="replace")):
                    os.write(2, line)
    finally:
        os._exit(0)
