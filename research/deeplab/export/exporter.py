"""Writes exports. Each is compared with the network before it takes its place."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import cv2
import numpy as np
import tensorflow as tf
from absl import logging

from deeplab import common, model
from deeplab.core.options import InferenceOptions
from deeplab.datasets import descriptors
from deeplab.export import inference_graph, model_card, saved_model
from deeplab.utils import checkpoint, file_systems, files, temporary_files

# The graph without its weights, beside a frozen graph (official name).
GRAPH_TEXT_FILE = "inference_graph.pbtxt"

_SAVED_MODEL_FILE = "saved_model.pb"
_OWN_FILES = {
    *(_SAVED_MODEL_FILE, "fingerprint.pb", "variables", "assets"),
    *(saved_model.DATASET_FILE, common.OPTIONS_FILE, model_card.FILE),
}
# Sums in another order change results a little: a probability by at most this much, and this share
# of the labels, where two classes are equally likely.
_PROBABILITY_TOLERANCE = 1e-3
_LABEL_TOLERANCE = 1e-3
# Side of the image to compare on, for a network without a crop size.
_TEST_SIZE = 129

_DEFAULT = InferenceOptions()

_Outputs = Mapping[str, np.ndarray]


def is_frozen_graph(path: str) -> bool:
    """Return whether an export to this path is a frozen graph, not a SavedModel."""
    return path.endswith(".pb")


def check_destination(path: str) -> None:
    """Reject a path whose content an export may not replace.

    A frozen graph may replace a file. A SavedModel may replace an empty folder, or an earlier
    export whose folder holds nothing else.

    Raises:
        ValueError: Something else is at the path, or a parent of it is a file.
    """
    if not path:
        raise ValueError("--export_path is empty")
    if file_systems.is_remote(path):
        if tf.io.gfile.exists(path) and not is_frozen_graph(path):
            raise ValueError(
                f"--export_path={path} is there already, and a folder in this file system cannot be"
                " replaced in one step: choose another --export_path"
            )
        return
    above = os.path.dirname(os.path.abspath(path))
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    if not os.path.isdir(above):
        raise ValueError(f"--export_path={path} cannot be written: {above} is no folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ValueError(
            f"--export_path={path} cannot be written: no permission to write to {above}"
        )
    if is_frozen_graph(path):
        if os.path.isdir(path):
            raise ValueError(
                f"--export_path={path} ends in .pb, so it is a file, but a folder has that name"
            )
        return
    advice = "choose another --export_path, or move that file or folder"
    if os.path.lexists(path) and not os.path.isdir(path):
        raise ValueError(
            f"--export_path={path} is an existing file, but a SavedModel is a folder (a frozen"
            f" graph ends in .pb): {advice}"
        )
    present = set(os.listdir(path)) if os.path.isdir(path) else set()
    if present and _SAVED_MODEL_FILE not in present:
        raise ValueError(
            f"--export_path={path} exists and is no earlier export; it holds {min(present)}:"
            f" {advice}"
        )
    own = set(_OWN_FILES)
    if present and (options := checkpoint.load_options(path)):
        own.add(os.path.basename(options.dense_prediction_cell_json))
    if others := present - own:
        raise ValueError(
            f"--export_path={path} holds {min(others)}, which does not belong to the earlier"
            f" export and would be lost: {advice}"
        )


def export_checkpoint(
    checkpoint_path: str,
    export_path: str,
    asked: Callable[..., common.ModelOptions],
    inference: InferenceOptions = _DEFAULT,
    *,
    use_ema: bool = False,
    dataset: str | None = None,
    graph_text: bool = False,
    command: Sequence[str] = (),
) -> None:
    """Export the network of a checkpoint: a frozen graph, or a SavedModel.

    Args:
        checkpoint_path: prefix of the checkpoint, or the folder of the newest.
        export_path: of the frozen graph, if it ends in `.pb`; else the folder of the SavedModel.
        asked: gives the network's options for those that it was trained with (`stored`, None where
            they are not known).
        inference: how the network is applied.
        use_ema: use the moving averages of the weights.
        dataset: name of the dataset, or its JSON description, for a SavedModel. None: unknown.
        graph_text: see `export_frozen_graph`.
        command: the words of the command that exports, for the model card.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: Options contradict each other or the checkpoint, or an export cannot replace
            what is at the path.
    """
    check_destination(export_path)
    frozen = is_frozen_graph(export_path)
    if graph_text and not frozen:
        raise ValueError(
            f"--save_inference_graph goes with a frozen graph; --export_path={export_path} does not"
            " end in .pb"
        )
    checkpoint.read(checkpoint_path)
    options = asked(stored=checkpoint.load_options(checkpoint_path))
    options = checkpoint.complete(options, checkpoint_path)
    descriptor = descriptors.load(dataset) if dataset else None
    if descriptor and descriptor.num_classes != options.num_classes:
        raise ValueError(
            f"--dataset={dataset} has {descriptor.num_classes} classes, the network"
            f" {options.num_classes} (--num_classes)"
        )
    if inference.crf:
        inference.crf.check_classes(options.num_classes)
    net = model.DeepLab(options)
    checkpoint.restore(net, checkpoint_path, averages=use_ema)
    if frozen:
        export_frozen_graph(net, export_path, inference, graph_text=graph_text)
    else:
        export_saved_model(net, export_path, inference, descriptor=descriptor)
    model_card.write(export_path, checkpoint_path, options, descriptor, command)
    logging.info("exported %s to %s", checkpoint_path, export_path)


def export_frozen_graph(
    net: model.DeepLab,
    path: str,
    inference: InferenceOptions = _DEFAULT,
    graph_text: bool = False,
) -> None:
    """Write the official frozen graph; see `inference_graph.frozen`.

    Args:
        net: the network.
        path: of the file; an existing one is replaced.
        inference: how the network is applied.
        graph_text: also write the graph without its weights, as text, to `inference_graph.pbtxt`
            in the same folder.

    Raises:
        ValueError: The path is a folder, or the written graph computes something else than the
            network. What was at the path is unchanged.
        OSError: The file cannot be written.
    """
    check_destination(path)
    images = _test_images(net)
    expected = _expected(net, images, inference)
    graph_def, without_weights = inference_graph.frozen(net, inference)
    temporary_files.remove_leftovers_of(path)
    with files.replacing(path) as temporary:
        with open(temporary, "wb") as file:
            file.write(graph_def.SerializeToString())
        with open_frozen_graph(temporary) as run:
            _compare(path, run(images), expected)
        if graph_text:
            text_path = os.path.join(os.path.dirname(path), GRAPH_TEXT_FILE)
            files.write_text(text_path, str(without_weights))


@contextlib.contextmanager
def open_frozen_graph(path: str) -> Iterator[Callable[[np.ndarray], _Outputs]]:
    """Yield a function from images, uint8 [1, H, W, 3], to the outputs of a frozen graph."""
    with open(path, "rb") as file:
        graph_def = tf.compat.v1.GraphDef.FromString(file.read())
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.import_graph_def(graph_def, name="")
        outputs = {name: f"{name}:0" for name in inference_graph.OUTPUTS}
        yield lambda images: session.run(outputs, {f"{inference_graph.INPUT}:0": images})


def export_saved_model(
    net: model.DeepLab,
    path: str,
    inference: InferenceOptions = _DEFAULT,
    descriptor: descriptors.DatasetDescriptor | None = None,
) -> None:
    """Write a SavedModel with the signatures of `inference_graph.signatures`.

    Its folder also holds `model_options.json` and, if the dataset is known, `dataset.json`.

    Args:
        net: the network.
        path: of the folder; an earlier export there is replaced, see `check_destination`.
        inference: how the network is applied.
        descriptor: the dataset that the network was trained on.

    Raises:
        ValueError: Something else is at that path, or the written SavedModel computes something
            else than the network. What was at the path is unchanged.
        OSError: The files cannot be written.
    """
    check_destination(path)
    images = _test_images(net)
    expected = _expected(net, images, inference)
    with files.replacing_folder(path, last=_SAVED_MODEL_FILE) as temporary:
        module = tf.Module()
        module.weights = [variable.value for variable in net.weights]
        with _quiet():
            signatures = inference_graph.signatures(net, inference)
            tf.saved_model.save(module, temporary, signatures=signatures)
        checkpoint.save_options(temporary, net.options)
        if descriptor:
            descriptor.save(os.path.join(temporary, saved_model.DATASET_FILE))
        for name, outputs in _run_saved_model(temporary, images):
            _compare(f"{path}, signature {name}", outputs, expected)


def _run_saved_model(path: str, images: np.ndarray) -> Iterator[tuple[str, _Outputs]]:
    """Yield the name of each signature and its outputs for one image."""
    encoded = tf.io.encode_png(images[0])[tf.newaxis]
    with file_systems.without_wildcards(path) as plain:
        loaded = tf.saved_model.load(plain).signatures
    for name, value in (
        (inference_graph.SERVING_IMAGES, tf.constant(images)),
        (inference_graph.SERVING_BYTES, encoded),
        (inference_graph.SERVING_PNG, encoded),
    ):
        (argument,) = loaded[name].structured_input_signature[1]
        outputs = {key: value.numpy() for key, value in loaded[name](**{argument: value}).items()}
        if name == inference_graph.SERVING_PNG:
            png = np.frombuffer(outputs.pop(inference_graph.LABEL_PNG)[0], np.uint8)
            labels = cv2.imdecode(png, cv2.IMREAD_UNCHANGED)
            outputs[inference_graph.PREDICTIONS] = labels[np.newaxis]
        outputs.pop(inference_graph.IMAGE_SIZE, None)
        yield name, outputs


def _test_images(net: model.DeepLab) -> np.ndarray:
    """Return one image of noise, uint8 [1, H, W, 3], that has to be padded."""
    height, width = net.options.crop_size or (_TEST_SIZE, _TEST_SIZE)
    noise = np.random.default_rng(0).integers(0, 256, (1, -(-3 * height // 4), width, 3))
    return noise.astype(np.uint8)


def _expected(net: model.DeepLab, images: np.ndarray, inference: InferenceOptions) -> _Outputs:
    """Return the outputs of the network itself."""
    outputs = inference_graph.predict_outputs(net, tf.constant(images), inference)
    expected = {name: tensor.numpy() for name, tensor in outputs.items()}
    if not np.isfinite(expected[inference_graph.PROBABILITIES]).all():
        raise ValueError(
            "the network's probabilities are not finite: the checkpoint holds weights that are"
            " infinite or not a number"
        )
    return expected


def _compare(title: str, outputs: _Outputs, expected: _Outputs) -> None:
    """Reject outputs that differ from those of the network."""
    for name, values in outputs.items():
        wanted = expected[name]
        if values.shape != wanted.shape:
            raise ValueError(
                f"{title}: {name} has the shape {list(values.shape)}, but {list(wanted.shape)} in"
                " the network; nothing was exported"
            )
        if name in (inference_graph.PROBABILITIES, inference_graph.RAW_PROBABILITIES):
            difference, tolerance = np.abs(values - wanted).max(), _PROBABILITY_TOLERANCE
        else:
            difference, tolerance = np.mean(values != wanted), _LABEL_TOLERANCE
        if not difference <= tolerance:
            raise ValueError(
                f"{title}: {name} differs from the network's by {difference:.2g}, more than"
                f" {tolerance:g}; nothing was exported"
            )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide what TensorFlow logs while it saves: pages of generated names."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
