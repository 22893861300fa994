"""Makes every form of an export, and prints a table of agreement, size, speed and command.

The forms are made by the commands that users type. All of them then predict the same photographs,
which are first shrunk to the crop size if they are larger, because a TensorFlow Lite model takes a
single size. The forms take turns, in a different order each round. Before each timed prediction
there is one that is not timed. The time is the processor time of all cores, which other work on the
machine hardly changes. OpenVINO, ONNX Runtime and LiteRT are measured if they are installed.

Example:
    PYTHONPATH=research python benchmarks/serving_forms.py --name=mobilenet_v2 \
        --test_images=voc_tfrecord/val --representative_images='photos/*.jpg' \
        --page=research/deeplab/g3doc/serving.md -- \
        --checkpoint_path=deeplabv3_mnv2_pascal/model.ckpt --dataset=pascal_voc_seg \
        --output_stride=16 --num_classes=21 --crop_size=513 --crop_size=513
"""

import dataclasses
import importlib.util
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags

from deeplab.cli import script

_EXPORT, _CONVERT = "deeplab.export_model", "deeplab.convert_to_tflite"
_COMMANDS = {_EXPORT: "deeplab-export-model", _CONVERT: "deeplab-convert-to-tflite"}
_FROZEN, _SAVED_MODEL = "frozen graph", "SavedModel"
# The precision of each.
_OPENVINO = {"OpenVINO": "f32", "OpenVINO, bfloat16": "bf16"}
# The flags after `--`.
_exported: list[str] = []


@dataclasses.dataclass(frozen=True)
class Form:
    """A form of an export.

    Args:
        name: Its name in the table.
        file: Its file or folder.
        module: The script that makes it. None: another form has the same file.
        arguments: Flags of the script besides those that all forms share.
        package: The package that runs it. None: TensorFlow.
    """

    name: str
    file: str
    module: str | None = _EXPORT
    arguments: tuple[str, ...] = ()
    package: str | None = None

    def command(self) -> str:
        """Return the command without the flags that all forms share."""
        if not self.module:
            return "reads the SavedModel"
        target = "output_tflite_path" if self.module == _CONVERT else "export_path"
        return f"`{' '.join([_COMMANDS[self.module], f'--{target}={self.file}', *self.arguments])}`"


FORMS = (
    Form(_FROZEN, "frozen.pb"),
    Form(_SAVED_MODEL, "1"),
    Form("SavedModel, bfloat16", "bfloat16/1", arguments=("--precision=bfloat16",)),
    Form("SavedModel, cpu", "cpu/1", arguments=("--target=cpu",)),
    Form(
        "SavedModel, cpu, bfloat16",
        "cpu-bfloat16/1",
        arguments=("--target=cpu", "--precision=bfloat16"),
    ),
    *(Form(name, "1", module=None, package="openvino") for name in _OPENVINO),
    Form("ONNX", "network.onnx", package="onnxruntime"),
    Form("TFLite", "float32.tflite", _CONVERT),
    Form("TFLite, float16", "float16.tflite", _CONVERT, ("--float16",)),
    Form("TFLite, dynamic range", "dynamic.tflite", _CONVERT, ("--dynamic_range",)),
    Form("TFLite, int8", "int8.tflite", _CONVERT, ("--int8", "--representative_images=...")),
)


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the script's flags; those after `--` are the flags of export_model.py."""

    def define(kind: str, name: str, default: Any, help_text: str, **more: Any) -> None:
        getattr(flags, f"DEFINE_{kind}")(name, default, help_text, flag_values=flag_values, **more)

    define("string", "name", None, "Name of the network in the markers of the page.")
    define("string", "test_images", None, "Photographs, or folder/split of TFRecords.")
    define("integer", "num_test_images", 16, "Use at most this many.", lower_bound=1)
    define("string", "representative_images", None, "Photographs for int8.")
    define("integer", "num_representative_images", 20, "Use at most this many.", lower_bound=1)
    define("integer", "rounds", 20, "How often each form is timed.", lower_bound=1)
    define("string", "page", None, "Write the table into this page, between its markers.")
    define("string", "folder", None, "Keep the forms here. Default: remove them.")


def make(form: Form, folder: str, shared: Sequence[str]) -> bool:
    """Run the command that makes a form if it is missing; return whether it exists then."""
    path = os.path.join(folder, form.file)
    if not form.module or os.path.exists(path):
        return os.path.exists(path)
    arguments = list(form.arguments)
    if form.module == _CONVERT:
        graph = os.path.join(folder, FORMS[0].file)
        arguments += [f"--quantized_graph_def_path={graph}", f"--output_tflite_path={path}"]
        if "--int8" in arguments:
            arguments.remove("--representative_images=...")
            arguments += [
                f"--{name}={flags.FLAGS[name].value}"
                for name in ("representative_images", "num_representative_images")
            ]
    else:
        arguments += [f"--export_path={path}", *shared]
    subprocess.run([sys.executable, "-m", form.module, *arguments], check=False)
    return os.path.exists(path)


def opened(form: Form, folder: str) -> Callable[[Any], Any]:
    """Return a function from an image to its labels."""
    from deeplab.export import runtimes

    path = os.path.join(folder, form.file)
    if form.name not in _OPENVINO:
        return runtimes.open_network(path).predict
    import openvino

    core = openvino.Core()
    network = core.read_model(path)
    labels = next(each for each in network.outputs if "SemanticPredictions" in each.get_names())
    alone = openvino.Model([labels.get_node().input_value(0)], network.get_parameters())
    settings = {"INFERENCE_PRECISION_HINT": _OPENVINO[form.name]}
    compiled = core.compile_model(alone, "CPU", settings)
    return lambda image: compiled([image[None]])[0][0]


def photographs_of(size: Sequence[int]) -> list[Any]:
    """Return the photographs, shrunk to a size if they are larger."""
    import numpy as np

    from deeplab.export import fitting, photographs

    values = flags.FLAGS
    found = []
    for each in photographs.read("test_images", values.test_images, values.num_test_images):
        fitted = fitting.fit(each.image, size, (0, 0, 0))
        height, width = fitted.size
        image = fitted.pixels[:height, :width].astype(np.uint8)
        label = each.label if each.label is None else fitting.resize(each.label, fitted.size)
        found.append(photographs.Photograph(image, label))
    return found


def bytes_of(path: str) -> int:
    """Return the size of a file, or of all files in a folder."""
    if os.path.isfile(path):
        return os.path.getsize(path)
    walked = (os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
    return sum(map(os.path.getsize, walked))


def timed(networks: Mapping[str, Callable[[Any], Any]], image: Any) -> dict[str, float]:
    """Return the median processor seconds of each form."""
    times: dict[str, list[float]] = {name: [] for name in networks}
    order = list(networks)
    for number in range(flags.FLAGS.rounds):
        random.Random(number).shuffle(order)
        for name in order:
            networks[name](image)
            start = time.process_time()
            networks[name](image)
            times[name].append(time.process_time() - start)
    return {name: statistics.median(each) for name, each in times.items()}


def measure(folder: str, shared: Sequence[str]) -> list[str]:
    """Make and measure all forms; return the lines of the table."""
    from deeplab import model
    from deeplab.export import agreement
    from deeplab.utils import checkpoint

    there = importlib.util.find_spec
    forms = [form for form in FORMS if not form.package or there(form.package)]
    if not flags.FLAGS.representative_images:
        forms = [form for form in forms if "--int8" not in form.arguments]
    forms = [form for form in forms if make(form, folder, shared)]
    options = checkpoint.load_options(os.path.join(folder, FORMS[1].file))
    net = model.DeepLab(options)
    (path,) = (each for each in shared if each.startswith("--checkpoint_path="))
    checkpoint.restore(net, path.partition("=")[2])
    photos = photographs_of(options.crop_size)
    expected = [_labels(net, photo.image) for photo in photos]
    networks = {form.name: opened(form, folder) for form in forms}
    agreements = {
        name: agreement.measure(
            (
                (wanted, predict(photo.image), photo.label)
                for wanted, photo in zip(expected, photos, strict=True)
            ),
            options.num_classes,
        )
        for name, predict in networks.items()
    }
    seconds = timed(networks, photos[0].image)
    lines = ["| form | equal pixels | mIoU | size | CPU time | command |", "| --- " * 6 + "|"]
    for form in forms:
        found = agreements[form.name]
        miou = "" if found.miou is None else f"{found.miou:.1%}"
        size = bytes_of(os.path.join(folder, form.file)) / 1e6
        ratio = seconds[form.name] / seconds[_FROZEN]
        lines.append(
            f"| {form.name} | {found.equal:.2%} | {miou} | {size:.1f} MB | {ratio:.2f} |"
            f" {form.command()} |"
        )
    if found.network_miou is not None:
        lines.append(f"| the network itself | | {found.network_miou:.1%} | | | |")
    return lines


def _labels(net: Any, image: Any) -> Any:
    import tensorflow as tf

    from deeplab.export import inference_graph

    outputs = inference_graph.predict_outputs(net, tf.constant(image)[tf.newaxis])
    return outputs[inference_graph.PREDICTIONS][0].numpy()


def parts(page: str, name: str) -> tuple[str, str]:
    """Return what is before and after a table of a page, with its markers.

    Raises:
        ValueError: The page has no such markers.
    """
    with open(page, encoding="utf-8") as file:
        text = file.read()
    begin, end = f"<!-- forms of {name} -->\n", f"<!-- end of {name} -->\n"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"--page={page} has no lines {begin.strip()} and {end.strip()}")
    return before + begin, end + after


def main(argv: Sequence[str]) -> None:
    """Print the table of all forms, and write it into the page."""
    del argv
    values = flags.FLAGS
    if values.page:
        before, after = parts(values.page, values.name)
    with tempfile.TemporaryDirectory() as temporary:
        lines = measure(values.folder or temporary, _exported)
    print("\n".join(lines))
    if values.page:
        with open(values.page, "w", encoding="utf-8") as file:
            file.write("".join([before, *(f"{line}\n" for line in lines), after]))


if __name__ == "__main__":
    if "--" in sys.argv:
        _split = sys.argv.index("--")
        _exported, sys.argv = sys.argv[_split + 1 :], sys.argv[:_split]
    script.run(main, define_flags, required=("name", "test_images"))
