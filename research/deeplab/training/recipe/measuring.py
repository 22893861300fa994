"""Measures training steps in a separate process, which may run out of memory.

TensorFlow is imported in functions: the new process imports this module first, and hides
TensorFlow's messages before it imports TensorFlow.
"""

import dataclasses
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from multiprocessing import connection
from typing import Any

from absl import logging

from deeplab.cli import processes
from deeplab.core.options import ModelOptions, RandomScale, TrainOptions
from deeplab.training.recipe import planning
from deeplab.training.recipe.facts import Measurement

_BATCH_SIZES = (1, 4, 8)
# Seconds for which steps are timed, and the least and the largest number of steps. The first step
# of each batch size is left out: it includes the compilation.
_SECONDS, _LEAST, _MOST = 5.0, 2, 20
# A larger batch is not tried if its step would take longer.
_LONGEST_STEP = 60.0
# Share of the free memory that may be used; other programs may need the rest meanwhile.
_SHARE_OF_FREE = 0.8


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepRequest:
    """The steps to make.

    Attributes:
        network: The network.
        dataset: Name of the dataset, or its JSON descriptor.
        dataset_dir: Folder of the TFRecords.
        split: Split to train on.
        crop_size: Side of the square crops.
        memory_bytes: Memory that may be used; None: most of what is free.
    """

    network: ModelOptions
    dataset: str
    dataset_dir: str
    split: str
    crop_size: int
    memory_bytes: int | None = None


@dataclasses.dataclass(kw_only=True)
class Measured:
    """Results of a measuring process.

    Attributes:
        memory_bytes: Memory that may be used.
        idle_bytes: Memory in use before the first step.
        start_seconds: Time from the start of the process to the end of the first step.
        measurements: The steps.
    """

    memory_bytes: int = 0
    idle_bytes: int = 0
    start_seconds: float = 0.0
    measurements: list[Measurement] = dataclasses.field(default_factory=list)


def measure(request: StepRequest) -> Measured:
    """Make training steps of growing batches in a new process.

    Returns:
        What was measured. Without measurements, not even one crop fits into the memory.

    Raises:
        ValueError: The steps fail for another reason; the message says why.
    """
    logging.info(
        "measuring training steps with crops of %dx%d pixels", request.crop_size, request.crop_size
    )
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    begin = time.monotonic()
    process = context.Process(target=_measure, args=(theirs, request), daemon=True)
    process.start()
    theirs.close()
    measured = Measured()
    try:
        while True:
            kind, value = ours.recv()
            if kind == "error":
                raise ValueError(value)
            if kind == "measurement":
                measured.measurements.append(value)
                logging.info(
                    "batches of %d: %.2f s per step, %.2f GB",
                    *(value.batch_size, value.seconds, value.peak_bytes / 1e9),
                )
            elif kind == "first_step":
                measured.start_seconds = value - begin
            else:
                setattr(measured, kind, value)
    except EOFError:  # It ended, or was killed for its memory.
        pass
    finally:
        process.terminate()
        process.join()
    return measured


def _measure(pipe: connection.Connection, request: StepRequest) -> None:
    """Make the steps, in the new process, and send the results."""
    processes.begin()
    try:
        _send_measurements(pipe, request)
    except MemoryError:
        pass
    except Exception as error:
        import tensorflow as tf

        if not isinstance(error, tf.errors.ResourceExhaustedError):
            pipe.send(("error", f"a training step fails: {error}".splitlines()[0]))
    finally:
        pipe.close()


def _send_measurements(pipe: connection.Connection, request: StepRequest) -> None:
    from deeplab import model
    from deeplab.datasets import data_generator, descriptors
    from deeplab.training.trainer import Trainer

    memory = _Memory()
    limit = request.memory_bytes or memory.free()
    pipe.send(("memory_bytes", limit))
    descriptor = descriptors.load(request.dataset)
    side = request.crop_size
    net = model.DeepLab(request.network.replace(crop_size=(side, side)))
    options = TrainOptions(
        fine_tune_batch_norm=False,
        optimizer="adamw",
        clip_gradient_norm=planning.LONGEST_GRADIENT,
        last_layer_gradient_multiplier=10.0,
    )
    trainer = Trainer(net, options, descriptor.ignore_label)
    trainer.begin()
    records = data_generator.Dataset(
        descriptor, request.split, request.dataset_dir, net.preprocessing(), scales=RandomScale()
    )
    idle = memory.in_use()
    pipe.send(("idle_bytes", idle))
    largest = 0.0
    for batch_size in _BATCH_SIZES:
        if idle + largest * batch_size > limit:
            break
        batches = iter(records.training(batch_size))
        seconds: list[float] = []
        for number in range(_MOST + 1):
            begin = time.monotonic()
            batch = next(batches)
            losses = trainer.train_step(batch["image"], batch["label"])
            float(losses["total_loss"])
            if number:
                seconds.append(time.monotonic() - begin)
            elif batch_size == _BATCH_SIZES[0]:
                pipe.send(("first_step", time.monotonic()))
            if len(seconds) >= _LEAST and sum(seconds) >= _SECONDS:
                break
        middle = statistics.median(seconds)
        peak = memory.peak()
        found = Measurement(crop_size=side, batch_size=batch_size, seconds=middle, peak_bytes=peak)
        pipe.send(("measurement", found))
        largest = max(largest, (peak - idle) / batch_size)
        if 2 * middle > _LONGEST_STEP:
            break


class _Memory:
    """The memory that training uses: of the first GPU, or of this process without one."""

    def __init__(self):
        import tensorflow as tf

        self._gpu = "GPU:0" if tf.config.list_physical_devices("GPU") else None
        self._info = tf.config.experimental.get_memory_info

    def in_use(self) -> int:
        """Return the bytes in use."""
        return self._info(self._gpu)["current"] if self._gpu else _status("VmRSS")

    def peak(self) -> int:
        """Return the most bytes that were in use."""
        return self._info(self._gpu)["peak"] if self._gpu else _status("VmHWM")

    def free(self) -> int:
        """Return the bytes that training may use: most of what is free.

        Raises:
            ValueError: The system does not tell.
        """
        free = _gpu_bytes() if self._gpu else _free_bytes()
        if free is None:
            raise ValueError("how much memory is free is not known here: set --memory_gb")
        return int(_SHARE_OF_FREE * free)


def _status(field: str) -> int:
    """Return a size of this process in bytes.

    `ru_maxrss` would include the process that started this one.
    """
    if not os.path.exists("/proc/self/status"):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return _kilobytes("/proc/self/status", field)


def _kilobytes(path: str, field: str) -> int:
    """Return the value of a line such as "VmRSS: 123 kB" in bytes."""
    with open(path, encoding="ascii", errors="replace") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def _free_bytes() -> int | None:
    """Return the free memory of the machine, or of its container if that is less; None if it is not
    known.
    """
    if not os.path.exists("/proc/meminfo"):
        return None
    free = _kilobytes("/proc/meminfo", "MemAvailable")
    folder = "/sys/fs/cgroup"
    values: list[Any] = []
    for name in ("memory.max", "memory.current"):
        path = os.path.join(folder, name)
        if os.path.exists(path):
            with open(path, encoding="ascii") as file:
                values.append(file.read().strip())
    if len(values) == 2 and values[0].isdigit():
        free = min(free, int(values[0]) - int(values[1]))
    return free


def _gpu_bytes() -> int | None:
    """Return the free memory of the first GPU; None if it is not known."""
    command = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(done.stdout.split()[0]) * 2**20
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
        return None
