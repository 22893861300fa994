"""Compares the dense CRF with the authors' C++ code.

Both refine the same drawn image and probabilities, with both kernels and the default parameters.
They take turns, so that other work on the machine slows both alike. The script prints the median
and the least time of each, the ratio of the times, the peak memory of a process from the first call
on, and how well the results agree.

The C++ code is that of the Python package pydensecrf (`pip install pydensecrf2`, see
benchmarks/README.md). Without it, only our code is measured.

Example:
    PYTHONPATH=research:/tmp/pydensecrf2 python benchmarks/dense_crf.py --rounds=10
"""

import os
import pathlib
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from absl import flags

from deeplab.cli import script

_FORMS = ("ours", "C++")


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the script's flags."""
    for name, default, help_text in (
        ("rounds", 7, "How often each is timed."),
        ("height", 375, "Height of the image."),
        ("width", 500, "Width of the image."),
        ("classes", 21, "Number of classes."),
        ("iterations", 10, "Mean-field iterations."),
        ("threads", 2, "Threads of TensorFlow; the C++ code has one."),
    ):
        flags.DEFINE_integer(name, default, help_text, lower_bound=1, flag_values=flag_values)
    flags.DEFINE_string(
        "image", None, "An image to use in place of the drawn one.", flag_values=flag_values
    )
    flags.DEFINE_enum(
        "memory_of", None, _FORMS, "Only measure the memory of one.", flag_values=flag_values
    )


def inputs() -> tuple[np.ndarray, np.ndarray]:
    """Return an image, uint8 [H, W, 3], and energies, float32 [H, W, classes]."""
    values = flags.FLAGS
    size = (values.width, values.height)
    random = np.random.default_rng(0)
    if values.image:
        pixels = cv2.imread(values.image)
        if pixels is None:
            raise ValueError(f"--image={values.image} cannot be read")
        image = cv2.resize(pixels, size)[..., ::-1]
    else:
        # Large and small shapes, and noise, so that the lattice has about as many vertices per
        # pixel as that of a photograph.
        image = cv2.resize(random.uniform(0, 255, (8, 10, 3)).astype(np.float32), size)
        image += cv2.resize(random.normal(0, 7, (60, 80, 3)).astype(np.float32), size)
        image += random.normal(0, 0.3, image.shape)
    logits = random.normal(0, 3, (9, 12, values.classes)).astype(np.float32)
    logits = np.stack([cv2.resize(plane, size) for plane in np.moveaxis(logits, -1, 0)], axis=-1)
    logits -= logits.max(axis=-1, keepdims=True)
    energies = np.log(np.exp(logits).sum(axis=-1, keepdims=True)) - logits
    return np.ascontiguousarray(image.clip(0, 255).astype(np.uint8)), energies


def ours(image: np.ndarray, energies: np.ndarray) -> Callable[[], np.ndarray]:
    """Return a call of our code that returns the marginals, [height, width, classes]."""
    import tensorflow as tf

    from deeplab.core import dense_crf

    tf.config.threading.set_inter_op_parallelism_threads(flags.FLAGS.threads)
    tf.config.threading.set_intra_op_parallelism_threads(flags.FLAGS.threads)
    images, unary = tf.constant(image[np.newaxis]), tf.constant(energies[np.newaxis])
    iterations = flags.FLAGS.iterations
    return lambda: dense_crf.mean_field(images, unary, iterations)[0].numpy()


def theirs(image: np.ndarray, energies: np.ndarray) -> Callable[[], np.ndarray] | None:
    """Return the same call of the C++ code; None if it is not installed."""
    try:
        from pydensecrf import densecrf
    except ImportError:
        return None
    height, width, classes = energies.shape
    unary = np.ascontiguousarray(energies.reshape(-1, classes).T)

    def run() -> np.ndarray:
        crf = densecrf.DenseCRF2D(width, height, classes)
        crf.setUnaryEnergy(unary)
        crf.addPairwiseGaussian(sxy=3, compat=3)
        crf.addPairwiseBilateral(sxy=67, srgb=3, rgbim=image, compat=4)
        marginals = np.array(crf.inference(flags.FLAGS.iterations))
        return marginals.T.reshape(height, width, classes)

    return run


def _peak_mib() -> float:
    """Return the peak memory of this process so far (on Linux)."""
    # The result of getrusage would include the process that started this one.
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 1024


def _memory(form: str) -> str:
    """Return the peak memory of a form, measured in a separate process."""
    command = [sys.executable, __file__, f"--memory_of={form}"]
    for name in ("height", "width", "classes", "iterations", "threads", "image"):
        if flags.FLAGS[name].value is not None:
            command.append(f"--{name}={flags.FLAGS[name].value}")
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
    return done.stdout.strip().splitlines()[-1]


def main(argv: Sequence[str]) -> None:
    """Print the comparison."""
    del argv
    values = flags.FLAGS
    image, energies = inputs()
    makers = dict(zip(_FORMS, (ours, theirs), strict=True))
    if values.memory_of:
        run = makers[values.memory_of](image, energies)
        before = _peak_mib()
        run()
        run()
        print(f"{_peak_mib() - before:.0f}")
        return
    runs = {name: make(image, energies) for name, make in makers.items()}
    if runs["C++"] is None:
        print("pydensecrf is not installed (benchmarks/README.md): only our code is measured")
        del runs["C++"]
    results = {name: run() for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(values.rounds):
        for name in list(runs)[:: 1 if number % 2 else -1]:
            start = time.perf_counter()
            runs[name]()
            times[name].append(time.perf_counter() - start)
    print(
        f"{values.width}x{values.height}, {values.classes} classes, {values.iterations} iterations,"
        f" {values.threads} threads, {values.rounds} rounds"
    )
    for name, seconds in times.items():
        print(
            f"  {name:5} median {statistics.median(seconds):.3f} s, least {min(seconds):.3f} s,"
            f" peak memory {_memory(name)} MiB"
        )
    if len(runs) == 2:
        ratios = sorted(b / a for a, b in zip(*times.values(), strict=True))
        print(
            f"  ours is {statistics.median(ratios):.2f} times as fast"
            f" ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )
        a, b = results.values()
        print(
            f"  labels agree on {100 * np.mean(a.argmax(-1) == b.argmax(-1)):.3f} % of the pixels,"
            f" marginals to {np.abs(a - b).max():.1e}"
        )


if __name__ == "__main__":
    script.run(main, define_flags)
