"""Compares the forms of an exported network on this machine.

Each form runs in a separate process, so that its first call and its memory can be measured. The
processes take turns, in a different order each round, so that other work on the machine slows all
forms alike. Before each timed call there is one that is not timed. A row has the time of the first
call after loading, the median and the 95th percentile of the others, the ratio of the median to
that of the frozen graph, the peak memory of the process, and the share of pixels with the same
label as from the network itself.

Other runtimes are measured if they are installed: OpenVINO (package openvino), ONNX Runtime
(onnxruntime and tf2onnx) and LiteRT (ai-edge-litert, batch 1).

Example:
    PYTHONPATH=research python benchmarks/inference.py --images='photos/*.jpg' \
        --checkpoint_path=deeplabv3_mnv2_pascal/model.ckpt --network=mobilenet_v2_16
"""

import contextlib
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import flags

from deeplab.cli import script

# Fields of ModelOptions.
_V3_PLUS = {"atrous_rates": (6, 12, 18), "decoder_output_stride": (4,), "output_stride": 16}
_NETWORKS = {
    "mobilenet_v2_16": {"output_stride": 16},
    "mobilenet_v2_05_16": {"depth_multiplier": 0.5, "divisible_by": 1, "output_stride": 16},
    "mobilenet_v2_8": {"output_stride": 8},
    "resnet_v1_50_beta": {"model_variant": "resnet_v1_50_beta", **_V3_PLUS},
    "xception_65": {"model_variant": "xception_65", **_V3_PLUS},
}
# SavedModels: fields of ExportOptions.
_SAVED_MODELS = {
    "SavedModel": {},
    "SavedModel bfloat16": {"precision": "bfloat16"},
    "SavedModel cpu": {"target": "cpu"},
    "SavedModel cpu bfloat16": {"target": "cpu", "precision": "bfloat16"},
}
_FROZEN = "frozen graph"
_BEFORE = "frozen graph of --before"
_AUTOMATIC = "frozen graph, automatic bfloat16"
_ONNX, _LITERT = "ONNX Runtime", "LiteRT"
_OPENVINO = {"OpenVINO": "f32", "OpenVINO bfloat16": "bf16"}
_WITHOUT_ONEDNN = ", oneDNN off"
# Standard deviation of the logits of an untrained network that is adapted to photographs. Rounding
# spreads in such a network; with larger logits, the probabilities of its exports would differ.
_LOGITS_STD = 0.5
# The answer of a process that is ready.
_READY = "ready"


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the script's flags."""

    def define(kind: str, name: str, default: Any, help_text: str, **more: Any) -> None:
        getattr(flags, f"DEFINE_{kind}")(name, default, help_text, flag_values=flag_values, **more)

    flags.DEFINE_enum(
        "network", "mobilenet_v2_16", list(_NETWORKS), "The network.", flag_values=flag_values
    )
    define("string", "checkpoint_path", None, "Its weights. Default: random ones.")
    define("string", "images", None, "Photographs: see deeplab-predict.")
    define("integer", "size", 513, "Height and width of the images.", lower_bound=33)
    define("multi_integer", "batch_size", [1, 8], "Number of images in a call; repeat it.")
    define("integer", "rounds", 30, "How often each form is timed.", lower_bound=2)
    define("integer", "threads", 2, "Threads of a form.", lower_bound=1)
    define("multi_string", "form", [], "Only these; repeat it. The frozen graph is always there.")
    define("bool", "labels_only", False, "Do not measure all outputs, too.")
    define("string", "before", None, "A frozen graph of the same network, to compare with.")
    define("bool", "without_onednn", True, "Also measure portable forms with oneDNN off.")
    define("string", "json", None, "Also write the numbers to this file.")
    define("string", "worker", None, "For the script itself: the form that a process runs.")
    define("string", "worker_folder", None, "For the script itself: folder of the exports.")


def prepare(folder: str) -> None:
    """Write the photographs, the labels of the network and the exports to a folder."""
    import cv2
    import numpy as np
    import tensorflow as tf

    from deeplab import common, model
    from deeplab.core.options import ExportOptions, InferenceOptions
    from deeplab.datasets import image_files
    from deeplab.export import exporter, saved_model_writer
    from deeplab.utils import checkpoint

    values = flags.FLAGS
    side = values.size
    paths = image_files.find(values.images)[: max(8, *values.batch_size)]
    images = [cv2.resize(image_files.read(path), (side, side)) for path in paths]
    # If there are too few photographs, they are repeated.
    images = np.stack((images * max(values.batch_size))[: max(len(images), *values.batch_size)])
    options = common.ModelOptions(crop_size=(side, side), **_NETWORKS[values.network])
    net = model.DeepLab(options)
    if values.checkpoint_path:
        checkpoint.restore(net, values.checkpoint_path)
    else:
        _adapt(net, images[:2])
    labels = [
        model.predict_labels(net, tf.constant(image[np.newaxis], tf.float32))[0][0].numpy()
        for image in images
    ]
    np.savez(os.path.join(folder, "data.npz"), images=images, labels=np.stack(labels))
    exporter.export_frozen_graph(net, os.path.join(folder, "frozen.pb"))
    for name, changes in _SAVED_MODELS.items():
        path = os.path.join(folder, name)
        # OpenVINO reads the portable one.
        if name in forms() or (name == "SavedModel" and set(forms()) & set(_OPENVINO)):
            # The exporter would reject bfloat16 for random weights, where rounding spreads. The
            # table has the share of equal pixels.
            options = ExportOptions(**changes)
            saved_model_writer.write(net, path, "network", InferenceOptions(), options)
    if _ONNX in forms():
        exporter.export_onnx(net, os.path.join(folder, "model.onnx"))


def _adapt(net: Any, images: Any) -> None:
    """Set the averages of all batch norms from photographs.

    With the averages of an untrained network, values vanish and labels differ at every pixel.
    """
    import dataclasses

    import tensorflow as tf

    from deeplab.core import keras_internals, normalization

    norms = [
        layer
        for layer in keras_internals.sublayers(net)
        if isinstance(layer, normalization.BatchNorm)
    ]
    before = [norm.options for norm in norms]
    for norm in norms:
        norm.options = dataclasses.replace(norm.options, decay=0.0)
    net(tf.constant(images, tf.float32), training=True)
    for norm, options in zip(norms, before, strict=True):
        norm.options = options
    # Make each class occur somewhere.
    last, logits = net.logits.branches[0], net(tf.constant(images, tf.float32))
    scale = _LOGITS_STD / tf.math.reduce_std(logits)
    last.kernel.assign(last.kernel * scale)
    last.bias.assign((last.bias - tf.reduce_mean(logits, axis=(0, 1, 2))) * scale)


def forms() -> list[str]:
    """Return the names of the forms that this machine can run."""
    there = importlib.util.find_spec
    names = [_FROZEN, _AUTOMATIC, *_SAVED_MODELS]
    if flags.FLAGS.before:
        names.append(_BEFORE)
    if there("openvino"):
        names += _OPENVINO
    if there("onnxruntime") and there("tf2onnx"):
        names.append(_ONNX)
    if there("ai_edge_litert"):
        names.append(_LITERT)
    if flags.FLAGS.without_onednn:
        names += [f"{name}{_WITHOUT_ONEDNN}" for name in (_FROZEN, "SavedModel")]
    if unknown := set(flags.FLAGS.form) - set(names):
        raise ValueError(f"--form={min(unknown)} is unknown or not installed; there are {names}")
    chosen = {*(flags.FLAGS.form or names), _FROZEN}
    return [name for name in names if name in chosen]


@contextlib.contextmanager
def opened(name: str, folder: str) -> Iterator[Callable[[Any, bool], Any]]:
    """Yield a function from images to labels; its second argument requests all outputs."""
    name = name.removesuffix(_WITHOUT_ONEDNN)
    if name in _OPENVINO:
        yield _openvino(folder, _OPENVINO[name])
    elif name == _ONNX:
        yield _onnx(folder)
    elif name == _LITERT:
        yield _litert(folder)
    else:
        import tensorflow as tf

        threads = flags.FLAGS.threads
        config = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads
        )
        if name == _AUTOMATIC:
            rewrites = config.graph_options.rewrite_options
            rewrites.auto_mixed_precision_onednn_bfloat16 = 1
        with tf.Graph().as_default(), tf.compat.v1.Session(config=config) as session:
            if name in _SAVED_MODELS:
                yield _saved_model(session, os.path.join(folder, name))
            else:
                own = os.path.join(folder, "frozen.pb")
                yield _frozen(session, flags.FLAGS.before if name == _BEFORE else own)


def _frozen(session: Any, path: str) -> Callable[[Any, bool], Any]:
    """Run the frozen graph, which takes one image at a time."""
    import numpy as np
    import tensorflow as tf

    with open(path, "rb") as file:
        graph_def = tf.compat.v1.GraphDef.FromString(file.read())
    tf.compat.v1.import_graph_def(graph_def, name="")
    names = ("SemanticPredictions:0", "SemanticProbabilities:0")

    def run(images: Any, all_outputs: bool) -> Any:
        fetches = names if all_outputs else names[:1]
        results = [session.run(fetches, {"ImageTensor:0": image[np.newaxis]}) for image in images]
        return np.concatenate([result[0] for result in results])

    return run


def _saved_model(session: Any, path: str) -> Callable[[Any, bool], Any]:
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    loaded = tf.compat.v1.saved_model.load(session, ["serve"], path)

    def run(images: Any, all_outputs: bool) -> Any:
        name = "serving_default" if all_outputs else "serving_labels"
        definition = loaded.signature_def[name]
        outputs = {key: tensor.name for key, tensor in definition.outputs.items()}
        given = definition.inputs["ImageTensor"].name
        return session.run(outputs, {given: images})["SemanticPredictions"]

    return run


def _openvino(folder: str, precision: str) -> Callable[[Any, bool], Any]:
    """Run the default signature in OpenVINO; for labels alone, remove the other outputs."""
    import openvino

    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": flags.FLAGS.threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    network = core.read_model(os.path.join(folder, "SavedModel"))
    every = core.compile_model(network, "CPU", settings)
    labels = next(
        output for output in network.outputs if "SemanticPredictions" in output.get_names()
    )
    alone = openvino.Model([labels.get_node().input_value(0)], network.get_parameters())
    only = core.compile_model(alone, "CPU", settings)

    def run(images: Any, all_outputs: bool) -> Any:
        if all_outputs:
            return every([images])[labels.get_any_name()]
        return only([images])[0]

    return run


def _onnx(folder: str) -> Callable[[Any, bool], Any]:
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = flags.FLAGS.threads
    path = os.path.join(folder, "model.onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = ("SemanticPredictions", "SemanticProbabilities")

    def run(images: Any, all_outputs: bool) -> Any:
        fetches = names if all_outputs else names[:1]
        results = [session.run(fetches, {"ImageTensor": image[np.newaxis]}) for image in images]
        return np.concatenate([result[0] for result in results])

    return run


def _litert(folder: str) -> Callable[[Any, bool], Any]:
    """Run the TensorFlow Lite model, which only returns labels."""
    import numpy as np
    from ai_edge_litert import interpreter

    from deeplab.export import tflite

    path = os.path.join(folder, "model.tflite")
    if not os.path.exists(path):
        tflite.convert_file(os.path.join(folder, "frozen.pb"), path, "ImageTensor:0")
    loaded = interpreter.Interpreter(path, num_threads=flags.FLAGS.threads)
    loaded.allocate_tensors()
    (given,), (output,) = loaded.get_input_details(), loaded.get_output_details()

    def run(images: Any, all_outputs: bool) -> Any:
        del all_outputs
        results = []
        for image in images:
            loaded.set_tensor(given["index"], image[np.newaxis].astype(given["dtype"]))
            loaded.invoke()
            results.append(loaded.get_tensor(output["index"]))
        return np.concatenate(results)

    return run


def work(name: str, folder: str) -> None:
    """Run a form in this process once for each line of standard input."""
    import numpy as np
    import turns

    with np.load(os.path.join(folder, "data.npz")) as data:
        images, expected = data["images"], data["labels"]
    with opened(name, folder) as run:
        print(_READY, flush=True)
        for line in sys.stdin:
            count, all_outputs = json.loads(line)
            start = time.perf_counter()
            labels = run(images[:count], all_outputs)
            seconds = time.perf_counter() - start
            answer = {
                "seconds": seconds,
                "equal": float(np.mean(labels == expected[:count])),
                "megabytes": turns.held_bytes() // 2**20,
            }
            print(json.dumps(answer), flush=True)


class Process:
    """A process that runs a form.

    Args:
        name: Name of the form.
        folder: Folder that `prepare` has filled.
    """

    def __init__(self, name: str, folder: str):
        environment = {**os.environ, "OMP_NUM_THREADS": str(flags.FLAGS.threads)}
        environment["TF_ENABLE_ONEDNN_OPTS"] = "0" if name.endswith(_WITHOUT_ONEDNN) else "1"
        self._process = subprocess.Popen(
            [sys.executable, *sys.argv, f"--worker={name}", f"--worker_folder={folder}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def wait(self) -> bool:
        """Wait until the form is loaded; return whether that succeeded."""
        return any(line.strip() == _READY for line in self._process.stdout)

    def run(self, count: int, all_outputs: bool) -> dict[str, float] | None:
        """Run the form once; return its measurements, or None if it fails."""
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps([count, all_outputs]), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        return json.loads(line) if line.startswith("{") else None

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()


def measure(folder: str, count: int, all_outputs: bool) -> dict[str, dict[str, float]]:
    """Time all forms with this many images in a call; return the measurements of each."""
    processes, first, last, times = {}, {}, {}, {}
    for name in forms():
        process = Process(name, folder)
        if process.wait() and (answer := process.run(count, all_outputs)):
            processes[name], first[name], times[name] = process, answer["seconds"], []
        else:
            print(f"  {name}: cannot run", file=sys.stderr)
            process.close()
    order = list(processes)
    for round_number in range(flags.FLAGS.rounds):
        random.Random(round_number).shuffle(order)
        for name in order:
            processes[name].run(count, all_outputs)
            last[name] = processes[name].run(count, all_outputs)
            times[name].append(last[name]["seconds"])
    for process in processes.values():
        process.close()
    reference = statistics.median(times[_FROZEN])
    return {
        name: {
            "first_ms": 1000 * first[name],
            "p50_ms": 1000 * statistics.median(times[name]),
            "p95_ms": 1000 * statistics.quantiles(times[name], n=20)[-1],
            "ratio": statistics.median(times[name]) / reference,
            "peak_mb": last[name]["megabytes"],
            "equal": last[name]["equal"],
        }
        for name in processes
    }


def main(argv: Sequence[str]) -> None:
    """Print a table for each batch size, with labels only and with all outputs."""
    del argv
    values = flags.FLAGS
    if values.worker:
        work(values.worker, values.worker_folder)
        return
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        prepare(folder)
        for count in values.batch_size:
            for all_outputs in (False,) if values.labels_only else (False, True):
                outputs = "all outputs" if all_outputs else "labels only"
                title = f"{values.network}, batch {count}, {outputs}"
                print(f"{title:44} first ms   p50 ms   p95 ms  ratio  peak MB    equal")
                found[title] = measure(folder, count, all_outputs)
                for name, row in found[title].items():
                    print(
                        f"  {name:40}{row['first_ms']:11.0f}{row['p50_ms']:9.1f}"
                        f"{row['p95_ms']:9.1f}{row['ratio']:7.2f}{row['peak_mb']:9.0f}"
                        f"{row['equal']:9.3%}",
                        flush=True,
                    )
    if values.json:
        with open(values.json, "w") as file:
            json.dump(found, file, indent=2)


if __name__ == "__main__":
    script.run(main, define_flags, required=("images",))
