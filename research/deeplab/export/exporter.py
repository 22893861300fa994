"""Writes exports. Each is compared with the network before it takes its place."""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Sequence

from absl import logging

from deeplab import common, model
from deeplab.core import depthwise
from deeplab.core.options import ExportFiles, ExportOptions, InferenceOptions
from deeplab.datasets import descriptors
from deeplab.export import (
    comparison,
    destination,
    frozen_graphs,
    inference_graph,
    model_card,
    network_facts,
    numbered_folders,
    onnx_network,
    onnx_writer,
    photographs,
    runtimes,
    saved_model,
    saved_model_writer,
    server_files,
)
from deeplab.export.export_details import ExportDetails
from deeplab.utils import checkpoint, files, temporary_files

# The graph without its weights, beside a frozen graph (official name).
GRAPH_TEXT_FILE = "inference_graph.pbtxt"

_DEFAULT = InferenceOptions()
_DEFAULT_OPTIONS = ExportOptions()
_NO_DETAILS = ExportDetails()


def export_checkpoint(
    paths: ExportFiles,
    asked: Callable[..., common.ModelOptions],
    inference: InferenceOptions = _DEFAULT,
    options: ExportOptions = _DEFAULT_OPTIONS,
    *,
    use_ema: bool = False,
    command: Sequence[str] = (),
) -> None:
    """Export the network of a checkpoint: a frozen graph, an ONNX model, or a SavedModel.

    Args:
        paths: The checkpoint, and the paths of the export.
        asked: Returns the network's options, given those that are stored with the checkpoint
            (`stored`; None if there are none).
        inference: How the network is applied.
        options: Options of a SavedModel.
        use_ema: Use the moving averages of the weights.
        command: The words of the command that exports, for the model card.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: Options contradict each other or the checkpoint, or the path holds something
            that an export may not replace.
    """
    checkpoint_path, export_path = paths.checkpoint_path, paths.export_path
    _check_path(export_path, paths.next_version)
    _check_flags(paths, inference, options)
    if destination.is_onnx(export_path):
        onnx_writer.check(export_path)
    if options.target == "cpu" and not depthwise.native_dilation_works(options.precision):
        raise ValueError(
            "--target=cpu: native dilation does not work here, because TensorFlow runs without"
            " oneDNN, or sees another device (CUDA_VISIBLE_DEVICES=-1 hides GPUs): leave the flag"
            " out, or export on a machine like that of the server"
        )
    if paths.server_config_dir:
        versions = server_files.folder_of_versions(export_path, paths.next_version)
        server_files.check(paths.server_config_dir, versions)
    checkpoint.read(checkpoint_path)
    network_options = asked(stored=checkpoint.load_options(checkpoint_path))
    network_options = checkpoint.complete(network_options, checkpoint_path)
    if network_options.quantize and options.precision != "float32":
        raise ValueError(
            f"--precision={options.precision} is for float networks; this one is quantized"
        )
    if network_options.quantize and destination.is_onnx(export_path):
        raise ValueError(
            f"--export_path={export_path}: this network is quantized, and ONNX lacks its"
            " operations: export a frozen graph (.pb), and convert it to TensorFlow Lite"
        )
    descriptor = descriptors.load(paths.dataset) if paths.dataset else None
    if descriptor and descriptor.num_classes != network_options.num_classes:
        raise ValueError(
            f"--dataset={paths.dataset} has {descriptor.num_classes} classes, the network"
            f" {network_options.num_classes} (--num_classes)"
        )
    if inference.crf:
        inference.crf.check_classes(network_options.num_classes)
    photos = None
    if paths.test_images:
        photos = photographs.read("test_images", paths.test_images, paths.num_test_images)
    net = model.DeepLab(network_options, random_weights=False)
    checkpoint.restore(net, checkpoint_path, averages=use_ema)
    details = ExportDetails(
        descriptor=descriptor,
        photos=photos,
        card=functools.partial(
            model_card.text,
            checkpoint_path=checkpoint_path,
            options=network_options,
            descriptor=descriptor,
            command=command,
        ),
    )
    if destination.is_onnx(export_path):
        export_onnx(
            net,
            export_path,
            inference,
            details,
            add_probabilities=options.add_probabilities,
        )
    elif destination.is_frozen_graph(export_path):
        export_frozen_graph(
            net, export_path, inference, details, graph_text=paths.save_inference_graph
        )
    else:
        export_path = export_saved_model(
            net,
            export_path,
            inference,
            options,
            details,
            next_version=paths.next_version,
            server_config_dir=paths.server_config_dir,
        )
    logging.info("exported %s to %s", checkpoint_path, export_path)


def _check_flags(paths: ExportFiles, inference: InferenceOptions, options: ExportOptions) -> None:
    """Reject flags that do not apply to this kind of export."""
    path = paths.export_path
    if paths.save_inference_graph and not destination.is_frozen_graph(path):
        raise ValueError(
            f"--save_inference_graph goes with a frozen graph; --export_path={path} does not end in"
            " .pb"
        )
    of_saved_models = set(options.changed())
    if paths.server_config_dir:
        of_saved_models.add("server_config_dir")
    if inference.window:
        of_saved_models.add("window")
    if destination.is_onnx(path):
        of_saved_models -= {"add_probabilities"}
        if inference.crf:
            of_saved_models.add("crf")
    if destination.is_file(path) and of_saved_models:
        raise ValueError(
            f"--{min(of_saved_models)} goes with a SavedModel; --export_path={path} ends in"
            f" {os.path.splitext(path)[1]}"
        )
    if paths.server_config_dir and not (paths.next_version or server_files.is_version(path)):
        raise ValueError(
            "--server_config_dir: a server looks for folders with numbers, and"
            f" --export_path={path} is none: add --next_version"
        )
    if inference.window and options.add_logits:
        raise ValueError(
            "--add_logits: with --window no image has logits of its own; leave one of them out"
        )


def export_frozen_graph(
    net: model.DeepLab,
    path: str,
    inference: InferenceOptions = _DEFAULT,
    details: ExportDetails = _NO_DETAILS,
    *,
    graph_text: bool = False,
) -> None:
    """Write the official frozen graph; see `inference_graph.frozen`.

    All files take their places together.

    Args:
        net: The network.
        path: Path of the file; an existing one is replaced.
        inference: How the network is applied.
        details: Dataset, photographs and model card.
        graph_text: Also write the graph without its weights, as text, to `inference_graph.pbtxt`
            in the same folder.

    Raises:
        ValueError: The path is a folder, or the results of the graph differ from those of the
            network. What was at the path is unchanged.
        OSError: The file cannot be written.
    """
    destination.check(path)
    images = comparison.test_images(net)
    expected = comparison.expected(net, images, inference)
    graph_def, without_weights = inference_graph.frozen(net, inference)
    frozen_graphs.state(graph_def, network_facts.of_network(net, details.descriptor))
    texts: dict[str, Callable[[str], str]] = {}
    if graph_text:
        text_path = os.path.join(os.path.dirname(path), GRAPH_TEXT_FILE)
        texts[text_path] = lambda _: str(without_weights)
    if card := details.card:
        texts[model_card.path_of(path)] = lambda graph: card(graph, name=os.path.basename(path))
    for each in (path, *texts):
        temporary_files.remove_leftovers_of(each)
    with files.replacing_all([path, *texts]) as (temporary, *others):
        with open(temporary, "wb") as file:
            file.write(graph_def.SerializeToString())
        with comparison.open_frozen_graph(temporary) as run:
            comparison.compare(path, run(images), expected)
        if details.photos:
            graph = runtimes.GraphNetwork(temporary)
            comparison.compare_labels(path, net, inference, details, graph)
        for other, text in zip(others, texts.values(), strict=True):
            with open(other, "w", encoding="utf-8") as file:
                file.write(text(temporary))


def export_onnx(
    net: model.DeepLab,
    path: str,
    inference: InferenceOptions = _DEFAULT,
    details: ExportDetails = _NO_DETAILS,
    *,
    add_probabilities: bool = True,
) -> None:
    """Write an ONNX model; see `onnx_writer.write`. All files take their places together.

    Args:
        net: The network.
        path: Path of the file; an existing one is replaced.
        inference: How the network is applied; without windows and CRF.
        details: Dataset, photographs and model card.
        add_probabilities: Whether the model returns probabilities as well.

    Raises:
        ValueError: The path is a folder, a package is missing, the network cannot be converted, or
            the results of the model differ. What was at the path is unchanged.
        OSError: The file cannot be written.
    """
    destination.check(path)
    onnx_writer.check(path)
    images = comparison.test_images(net)
    expected = comparison.expected(net, images, inference)
    if not details.photos:
        drawn = photographs.drawn(comparison.crop_size(net))
        details = dataclasses.replace(details, photos=drawn)
    written = [path, model_card.path_of(path)] if details.card else [path]
    for each in written:
        temporary_files.remove_leftovers_of(each)
    with files.replacing_all(written) as (temporary, *others):
        onnx_writer.write(
            net,
            temporary,
            inference,
            network_facts.of_network(net, details.descriptor),
            add_probabilities=add_probabilities,
        )
        network = onnx_network.OnnxNetwork(temporary)
        comparison.compare(path, network.outputs(images), expected)
        comparison.compare_labels(path, net, inference, details, network)
        for other in others:
            with open(other, "w", encoding="utf-8") as file:
                file.write(details.card(temporary, name=os.path.basename(path)))


def export_saved_model(
    net: model.DeepLab,
    path: str,
    inference: InferenceOptions = _DEFAULT,
    options: ExportOptions = _DEFAULT_OPTIONS,
    details: ExportDetails = _NO_DETAILS,
    *,
    next_version: bool = False,
    server_config_dir: str | None = None,
) -> str:
    """Write a SavedModel with the signatures of `signatures.signatures`.

    Its folder also holds `model_options.json` and, if the dataset is known, `dataset.json`;
    `assets/`, with the classes and the options; and warm-up requests for TensorFlow Serving.

    Args:
        net: The network.
        path: Path of the folder; an earlier export there is replaced, see `destination.check`.
        inference: How the network is applied.
        options: Options of the SavedModel.
        details: Dataset, photographs and model card.
        next_version: Write a new folder in `path`, whose name is one more than the largest number
            there; nothing else there is changed.
        server_config_dir: Folder for the configuration files of TensorFlow Serving. None: write
            none.

    Returns:
        The path of the folder.

    Raises:
        ValueError: Something else is at that path, or the results of the SavedModel differ from
            those of the network. What was at the path is unchanged.
        OSError: The files cannot be written.
    """
    _check_path(path, next_version)
    versions = server_files.folder_of_versions(path, next_version)
    images = comparison.test_images(net, inference.window, options.precision, options.max_pixels)
    expected = comparison.expected(net, images, inference)
    if options.add_logits:
        logits = inference_graph.logits_on_their_grid(net, images)
        expected = {**expected, inference_graph.LOGITS: logits.numpy()}
    with _writing(path, next_version) as folder:
        name = server_files.model_name(versions)
        saved_model_writer.write(
            net, folder.temporary, name, inference, options, details.descriptor
        )
        comparison.check_saved_model(
            path,
            folder.temporary,
            images,
            expected,
            saved_model_writer.class_colors(net.options.num_classes, details.descriptor),
            options.precision,
        )
        if details.photos:
            network = saved_model.ExportedNetwork(folder.temporary)
            required = options.precision == "float32"
            comparison.compare_labels(path, net, inference, details, network, required=required)
        if details.card:
            files.write_text(model_card.path_of(folder.temporary), details.card(folder.temporary))
    if server_config_dir:
        server_files.write(server_config_dir, versions)
    return folder.path


def _check_path(path: str, next_version: bool) -> None:
    (destination.check_base if next_version else destination.check)(path)


@contextlib.contextmanager
def _writing(path: str, next_version: bool) -> Iterator[numbered_folders.NewFolder]:
    """Yield a folder to fill that takes its place when the block ends."""
    last = destination.SAVED_MODEL_FILE
    if next_version:
        with numbered_folders.adding(path, last=last) as folder:
            yield folder
    else:
        with files.replacing_folder(path, last=last) as temporary:
            yield numbered_folders.NewFolder(temporary, path)
