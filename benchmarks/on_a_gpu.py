"""Measures the package on a machine with a GPU; `on_a_gpu.sh` starts it.

Each part runs in a separate process and prints a line for each result. So a part that fails or runs
out of time loses only its remaining results.
"""

import argparse
import contextlib
import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

_ROW = "ROW "
_SECONDS = 600
_CLASSES, _IGNORE_LABEL = 21, 255
_V3PLUS = {"atrous_rates": (6, 12, 18), "decoder_output_stride": (4,)}
# Options of each network, images in a training step, height and width of the images.
_NETWORKS: dict[str, tuple[dict[str, Any], int, int]] = {
    "MobileNetV2": ({"model_variant": "mobilenet_v2"}, 16, 513),
    "MobileNetV3 large": (
        {
            "model_variant": "mobilenet_v3_large_seg",
            "aspp_convs_filters": 128,
            "aspp_with_concat_projection": False,
            "aspp_with_squeeze_and_excitation": True,
        },
        16,
        513,
    ),
    "ResNet-50 v3+": ({"model_variant": "resnet_v1_50_beta", **_V3PLUS}, 8, 513),
    "Xception-65 v3+": ({"model_variant": "xception_65", **_V3PLUS}, 8, 513),
}
# Precision and compilation of each form of training.
_FORMS = {
    "float32": ("float32", False),
    "bfloat16": ("mixed_bfloat16", False),
    "float16": ("mixed_float16", False),
    "float32, XLA": ("float32", True),
    "bfloat16, XLA": ("mixed_bfloat16", True),
}
# The most important ones come first, in case the time runs out.
_PARTS = ("golden numbers", "replicas", *_NETWORKS)


# --- Parts, each in its process ---


def _print_row(section: str, **values: Any) -> None:
    print(_ROW + json.dumps({"section": section, **values}), flush=True)


@contextlib.contextmanager
def _failing_alone(section: str, **names: str) -> Iterator[None]:
    """Print an error in the block as a result."""
    try:
        yield
    except Exception as error:
        text = str(error).strip().partition("\n")[0][:200]
        _print_row(section, **names, result=f"failed: {type(error).__name__}: {text}")


def _machine() -> None:
    """Print a row of each device."""
    import keras
    import tensorflow as tf

    versions = f"TensorFlow {tf.__version__}, Keras {keras.__version__}"
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        details = tf.config.experimental.get_device_details(gpu)
        name = details.get("device_name", gpu.name)
        capability = ".".join(map(str, details.get("compute_capability", ())))
        _print_row("machine", device=name, result=f"compute capability {capability}; {versions}")
    if not gpus:
        _print_row("machine", device="CPU", result=f"no GPU was found; {versions}")


def _golden(smoke: bool) -> None:
    """Print the largest errors of networks with the official weights, with and without TF32."""
    import numpy as np
    import tensorflow as tf

    from deeplab.testing import golden, parity

    names = golden.in_repository()
    for name in names[:1] if smoke else names:
        configuration = golden.configuration(name)
        net = parity.network(configuration)
        for tf32 in (False, True):
            with _failing_alone("golden numbers", network=name, tf32=str(tf32)):
                tf.config.experimental.enable_tensor_float_32_execution(tf32)
                errors = [
                    np.max(np.abs(ours - theirs)) / np.max(np.abs(theirs))
                    for ours, theirs in _stored(parity.outputs(net, configuration), configuration)
                ]
                tolerance = parity.tolerance(net.options.model_variant)
                _print_row(
                    "golden numbers",
                    network=name,
                    tf32=str(tf32),
                    largest_error=float(f"{max(errors):.2g}"),
                    result="within" if max(errors) <= tolerance else f"above {tolerance:g}",
                )


def _stored(outputs: dict[str, Any], configuration: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each output that the configuration has, and the official one; not the labels."""
    import numpy as np

    for key, ours in outputs.items():
        if key in configuration.arrays and key != "pred":
            theirs = configuration.arrays[key]
            yield configuration.subsample(key, np.asarray(ours))[..., : theirs.shape[-1]], theirs


def _replicas(smoke: bool) -> None:
    """Print the losses of the same steps on one replica and on all; divide a single device."""
    import keras
    import tensorflow as tf

    from deeplab.core import keras_internals

    gpus = tf.config.list_physical_devices("GPU")
    devices = gpus or tf.config.list_physical_devices("CPU")
    kind = "GPU" if gpus else "CPU"
    if len(devices) == 1:
        halves = [tf.config.LogicalDeviceConfiguration() for _ in range(2)]
        if gpus:
            halves = [tf.config.LogicalDeviceConfiguration(memory_limit=8192) for _ in range(2)]
        tf.config.set_logical_device_configuration(devices[0], halves)
    count = len(tf.config.list_logical_devices(kind))
    names = [f"{kind}:{index}" for index in range(count)]
    tf.config.experimental.enable_tensor_float_32_execution(False)
    size, batch = (33, 2 * count) if smoke else (257, 4 * count)
    speeds, losses = {}, {}
    for used in (names[:1], names):
        strategy = tf.distribute.MirroredStrategy(used)
        options = {"model_variant": "mobilenet_v2", "depth_multiplier": 0.5}
        with strategy.scope():
            step, batches = _training(options, batch, size, "float32", False)
        # Each replica would drop other features; without dropout, only rounding differs.
        for layer in keras_internals.sublayers(step.state.net):
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0
        values = [float(step(*each)["total_loss"]) for each in _distributed(strategy, batches, 3)]
        losses[len(used)] = values
        each = next(iter(_distributed(strategy, batches, 1)))
        seconds = _seconds(lambda step=step, each=each: float(step(*each)["total_loss"]), smoke)
        speeds[len(used)] = batch / seconds
    difference = max(abs(a - b) for a, b in zip(losses[1], losses[count], strict=True))
    physical = f"{len(devices)} {kind}{'s' if len(devices) > 1 else ''}"
    _print_row(
        "replicas",
        devices=f"{count} on {physical}",
        one_images_per_second=round(speeds[1], 1),
        all_images_per_second=round(speeds[count], 1),
        result=f"losses of 3 steps differ by {difference:.1e} at most",
    )


def _distributed(strategy: Any, batch: tuple[Any, Any], count: int) -> Iterator[tuple[Any, Any]]:
    """Yield the same batch several times, split over the replicas."""
    import tensorflow as tf

    data = tf.data.Dataset.from_tensors(batch).unbatch().batch(len(batch[0]), drop_remainder=True)
    yield from strategy.experimental_distribute_dataset(data.repeat(count))


def _training(
    options: dict[str, Any], batch: int, size: int, precision: str, jit_compile: bool
) -> tuple[Any, tuple[Any, Any]]:
    """Return the training step of a new network, and a batch of noise."""
    import keras
    import numpy as np
    import tensorflow as tf

    from deeplab import common, model
    from deeplab.core.options import TrainOptions
    from deeplab.training import precision as precisions
    from deeplab.training.state import begin_run
    from deeplab.training.step import TrainStep

    keras.utils.set_random_seed(0)
    net = model.DeepLab(common.ModelOptions(num_classes=_CLASSES, **options), dtype=precision)
    train = TrainOptions(train_batch_size=batch, jit_compile=jit_compile)
    step = TrainStep(begin_run(net, train), train, _IGNORE_LABEL)
    if precision == "mixed_bfloat16":
        measured = precisions.measure(net, batch, (size, size), jit_compile=jit_compile)
        measured.choice.apply(net)
    random = np.random.default_rng(0)
    images = random.uniform(0, 255, (batch, size, size, 3)).astype(np.float32)
    labels = random.integers(0, _CLASSES, (batch, size, size, 1)).astype(np.int32)
    return step, (tf.constant(images), tf.constant(labels))


def _seconds(call: Callable[[], object], smoke: bool) -> float:
    """Return the median seconds of a call."""
    call()
    times = []
    for _ in range(1 if smoke else 10):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _network(name: str, smoke: bool) -> None:
    """Print rows of training and inference of a network."""
    import tensorflow as tf

    options, batch, size = _NETWORKS[name]
    forms = _FORMS
    if smoke:
        batch, size = 1, 33
        # Train only the smallest network, for which XLA takes most of a minute.
        is_smallest = options["model_variant"] == "mobilenet_v2"
        forms = {form: _FORMS[form] for form in _FORMS if is_smallest and form != "bfloat16, XLA"}
        if "mobilenet" in options["model_variant"]:
            options = {**options, "depth_multiplier": 0.25}
    is_gpu = bool(tf.config.list_physical_devices("GPU"))
    with _failing_alone("inference", network=name):
        _inference(name, options, size, smoke)
    for form, (precision, jit_compile) in forms.items():
        with _failing_alone("training", network=name, form=form):
            if is_gpu:
                tf.config.experimental.reset_memory_stats("GPU:0")
            step, data = _training(options, batch, size, precision, jit_compile)
            start = time.perf_counter()
            step(*data)
            first = time.perf_counter() - start
            seconds = _seconds(lambda: float(step(*data)["total_loss"]), smoke)  # noqa: B023
            memory = {}
            if is_gpu:
                peak = tf.config.experimental.get_memory_info("GPU:0")["peak"]
                memory = {"peak_MiB": round(peak / 2**20)}
            _print_row(
                "training",
                network=name,
                form=form,
                images_per_second=round(batch / seconds, 2),
                first_step_seconds=round(first, 1),
                **memory,
                result=f"crops of {size}, {batch} in a step",
            )


def _inference(name: str, options: dict[str, Any], size: int, smoke: bool) -> None:
    """Print the throughput of exports, labels only."""
    import numpy as np
    import tensorflow as tf

    from deeplab import common, model
    from deeplab.core.options import ExportOptions
    from deeplab.export import exporter

    net = model.DeepLab(common.ModelOptions(num_classes=_CLASSES, **options))
    for precision in ("float32",) if smoke else ("float32", "bfloat16"):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "export")
            exporter.export_saved_model(net, path, options=ExportOptions(precision=precision))
            loaded = tf.saved_model.load(path)
        labels = loaded.signatures["serving_labels"]
        (argument,) = labels.structured_input_signature[1]
        for batch in (1,) if smoke else (1, 8):
            images = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3))
            given = {argument: tf.constant(images.astype(np.uint8))}
            call = functools.partial(labels, **given)
            seconds = _seconds(lambda call=call: call()["SemanticPredictions"].numpy(), smoke)
            _print_row(
                "inference",
                network=name,
                form=precision,
                batch=batch,
                images_per_second=round(batch / seconds, 2),
                result=f"images of {size}",
            )


# --- All parts ---


def run_part(name: str, smoke: bool) -> None:
    """Run a part in this process."""
    if name == "machine":
        _machine()
    elif name == "golden numbers":
        _golden(smoke)
    elif name == "replicas":
        with _failing_alone("replicas"):
            _replicas(smoke)
    else:
        _network(name, smoke)


def rows_of(command: Sequence[str], name: str, seconds: float) -> Iterator[dict[str, Any]]:
    """Yield the results that a process prints; one more if it fails or takes longer.

    Args:
        command: The command of the process.
        name: Name of the part, for the additional result.
        seconds: The longest time it may take.
    """
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    is_late = threading.Event()

    def stop() -> None:
        is_late.set()
        process.kill()

    timer = threading.Timer(max(0.0, seconds), stop)
    timer.start()
    try:
        with process:
            for line in process.stdout:
                if line.startswith(_ROW):
                    yield json.loads(line.removeprefix(_ROW))
    finally:
        timer.cancel()
    if is_late.is_set():
        yield {"section": "not complete", "part": name, "result": "stopped: the time was up"}
    elif process.returncode:
        failure = f"failed: exit code {process.returncode}"
        yield {"section": "not complete", "part": name, "result": failure}


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return a Markdown table of each section."""
    lines = ["# Results on this machine"]
    for section in dict.fromkeys(row["section"] for row in rows):
        own = [row for row in rows if row["section"] == section]
        names = [key for key in dict.fromkeys(key for row in own for key in row)]
        # The result is the last column.
        names = [name for name in names if name not in ("section", "result")] + ["result"]
        lines += ["", f"## {section.capitalize()}", ""]
        lines.append(f"| {' | '.join(name.replace('_', ' ') for name in names)} |")
        lines.append("| --- " * len(names) + "|")
        for row in own:
            cells = [str(row.get(name, "")).replace("|", "\\|") for name in names]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run all parts, and write the results after each row."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="small images, one call of each form")
    parser.add_argument("--output_dir", default="on_a_gpu", type=pathlib.Path)
    parser.add_argument("--part", help="for the script itself: the part that a process runs")
    options = parser.parse_args()
    if options.part:
        run_part(options.part, options.smoke)
        return
    options.output_dir.mkdir(parents=True, exist_ok=True)
    rows = []
    end = time.monotonic() + _SECONDS
    for name in ("machine", *_PARTS):
        command = [sys.executable, __file__, f"--part={name}"]
        command += ["--smoke"] if options.smoke else []
        for row in rows_of(command, name, end - time.monotonic()):
            print(json.dumps(row), flush=True)
            rows.append(row)
            (options.output_dir / "results.json").write_text(json.dumps(rows, indent=2) + "\n")
            (options.output_dir / "results.md").write_text(markdown(rows))
    print(f"\n{markdown(rows)}\nwritten to {options.output_dir}")


if __name__ == "__main__":
    main()
