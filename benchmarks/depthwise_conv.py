"""Compares the forms of a dilated depthwise convolution on this machine.

All forms of one size are timed in turn, in a different order each round, so that other work on the
machine slows all of them alike. Before each timed call there is one that is not timed, so that the
state of the caches does not count. A row has the median time of a form, forward and with both
gradients, and how many times as fast as space-to-batch that is. The errors are those of the output,
the gradient of the features and the gradient of the kernel, relative to the largest value. A second
table is measured in a process without oneDNN.

Example:
    PYTHONPATH=research python benchmarks/depthwise_conv.py --rounds=50
"""

import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from absl import flags

from deeplab.cli import script

# Batch, side, channels and atrous rate.
_SIZES = (
    (1, 33, 960, 2),  # last blocks of MobileNetV2, 513 pixels
    (1, 33, 960, 4),
    (1, 65, 960, 2),
    (1, 33, 256, 12),  # ASPP
    (8, 21, 480, 2),  # training on crops of 321 pixels
)
# A larger error, relative to the largest value, means that the result is wrong.
_WRONG = 0.01


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the script's flags."""
    flags.DEFINE_integer(
        "rounds", 30, "How often each form is timed.", lower_bound=1, flag_values=flag_values
    )
    flags.DEFINE_bool(
        "without_onednn",
        True,
        "Also measure in a process with TF_ENABLE_ONEDNN_OPTS=0.",
        flag_values=flag_values,
    )


def forms() -> dict[str, Callable]:
    """Return the forms: functions of features [B, H, W, C], kernel [3, 3, C, 1] and rate."""
    import tensorflow as tf

    from deeplab.core import depthwise

    def space_to_batch(x, kernel, rate):
        return tf.nn.depthwise_conv2d(x, kernel, (1, 1, 1, 1), "SAME", dilations=(rate, rate))

    def native(x, kernel, rate):
        return tf.raw_ops.DepthwiseConv2dNative(
            input=x,
            filter=kernel,
            strides=(1, 1, 1, 1),
            padding="SAME",
            dilations=(1, rate, rate, 1),
        )

    def chosen(x, kernel, rate):
        with depthwise.native_dilation():
            return depthwise.depthwise_conv2d(x, kernel, 1, "SAME", (rate, rate))

    def grouped(x, kernel, rate):
        return tf.nn.conv2d(x, tf.transpose(kernel, (0, 1, 3, 2)), 1, "SAME", dilations=rate)

    def shifted_sums(x, kernel, rate):
        height, width = x.shape[1:3]
        padded = tf.pad(x, ((0, 0), (rate, rate), (rate, rate), (0, 0)))
        return tf.add_n(
            [
                padded[:, i * rate :, j * rate :][:, :height, :width] * kernel[i, j, :, 0]
                for i in range(3)
                for j in range(3)
            ]
        )

    return {
        "space to batch": space_to_batch,
        "native": native,
        "core.depthwise": chosen,
        "grouped": grouped,
        "shifted sums": shifted_sums,
    }


def measure(size: tuple[int, int, int, int], rounds: int) -> dict[str, tuple[str, ...]]:
    """Time every form at one size.

    Args:
        size: Batch, side, channels and rate.
        rounds: Number of rounds.

    Returns:
        For each form: milliseconds forward, ratio, milliseconds with gradients, ratio, and the
        errors of the three results. For a form that fails, the name of its exception.
    """
    import tensorflow as tf

    batch, side, channels, rate = size
    x, kernel, dy = (
        tf.random.stateless_normal(shape, seed=(0, seed))
        for seed, shape in enumerate(
            [(batch, side, side, channels), (3, 3, channels, 1), (batch, side, side, channels)]
        )
    )

    def forward(form: Callable) -> Callable:
        return tf.function(lambda: [form(x, kernel, rate)], autograph=False)

    def backward(form: Callable) -> Callable:
        def with_gradients() -> list:
            with tf.GradientTape() as tape:
                tape.watch((x, kernel))
                y = form(x, kernel, rate)
            return [y, *tape.gradient(y, (x, kernel), output_gradients=dy)]

        return tf.function(with_gradients, autograph=False)

    functions = {
        (name, direction): make(form)
        for name, form in forms().items()
        for direction, make in (("forward", forward), ("backward", backward))
    }

    def run(function: Callable) -> list:
        return [result.numpy() for result in function()]

    results, times = {}, {key: [] for key in functions}
    for key, function in functions.items():
        try:
            results[key] = run(function)
        except tf.errors.OpError as error:
            results[key] = type(error).__name__
    order = [key for key in functions if not isinstance(results[key], str)]
    for round_number in range(rounds):
        random.Random(round_number).shuffle(order)
        for key in order:
            run(functions[key])
            start = time.perf_counter()
            run(functions[key])
            times[key].append(time.perf_counter() - start)

    def column(name: str, direction: str) -> tuple[str, str]:
        if isinstance(results[name, direction], str):
            return results[name, direction], ""
        median = statistics.median(times[name, direction])
        reference = statistics.median(times["space to batch", direction])
        return f"{1000 * median:.2f}", f"{reference / median:.2f}"

    def error(name: str) -> str:
        ours, theirs = results[name, "backward"], results["space to batch", "backward"]
        if isinstance(ours, str):
            ours, theirs = results[name, "forward"], results["space to batch", "forward"]
        if isinstance(ours, str):
            return ""
        errors = [abs(a - b).max() / abs(b).max() for a, b in zip(ours, theirs, strict=False)]
        return " ".join(f"{value:.0e}" if value < _WRONG else "wrong" for value in errors)

    return {
        name: (*column(name, "forward"), *column(name, "backward"), error(name)) for name in forms()
    }


def main(argv: Sequence[str]) -> None:
    """Print a table for this process, then one for a process without oneDNN."""
    del argv
    onednn = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1") != "0"
    print(f"oneDNN {'on' if onednn else 'off'}")
    header = ("forward ms", "times", "both ms", "times", "errors: y dx dk")
    for size in _SIZES:
        batch, side, channels, rate = size
        title = f"{batch}x{side}x{side}x{channels} rate {rate}"
        print(f"{title:24}" + "".join(f"{name:>20}" for name in header))
        for name, row in measure(size, flags.FLAGS.rounds).items():
            print(f"  {name:22}" + "".join(f"{value:>20}" for value in row), flush=True)
    if onednn and flags.FLAGS.without_onednn:
        print()
        command = [sys.executable, __file__, f"--rounds={flags.FLAGS.rounds}"]
        environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}
        subprocess.run(command, env=environment, check=True)


if __name__ == "__main__":
    script.run(main, define_flags)
