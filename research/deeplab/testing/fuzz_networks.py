"""The files of networks that `fuzz` damages, and how scripts read them: checkpoints and exports."""

import io
import json
import zipfile
from collections.abc import Mapping

import h5py
import keras
import numpy as np
import tensorflow as tf

from deeplab import common
from deeplab.core import dense_prediction_cell
from deeplab.export import frozen_graphs, network_facts, saved_model
from deeplab.testing import fuzz, tiny
from deeplab.testing.fuzz import Subject
from deeplab.training.evaluation import TrainingEvaluation
from deeplab.utils import checkpoint, checkpoint_files, checkpoint_integrity, files
from deeplab.weights import saved_networks

_CELL = [
    {"op": "conv", "kernel": 3, "rate": [1, 6], "input": -1},
    {"op": "conv", "kernel": 1, "input": 0},
    {"op": "pyramid_pooling", "grid_size": [2, 2], "input": -1},
]
_FACTS = network_facts.NetworkFacts(
    num_classes=4, descriptor=tiny.DATASET, pixel_scale=(1, 1, 1), pixel_offset=(-1, 0, 0.5)
)
_STEP = 7


def _variables(start: int) -> Mapping[str, keras.Variable]:
    return {
        name: keras.Variable(np.arange(start, start + 6, dtype=np.float32).reshape(2, 3))
        for name in ("conv/weights", "conv/BatchNorm/gamma", "logits/semantic/weights")
    }


def _read_checkpoint(folder: str) -> None:
    prefix = checkpoint_files.latest(folder)
    # The order in which a script asks: is there one, is it whole, what are its values.
    checkpoint_integrity.newest_whole(folder)
    reader, variables = checkpoint.read(prefix or folder), _variables(0)
    checkpoint.assign(variables, reader, prefix)
    assert checkpoint.global_step(reader, prefix) == _STEP
    for name, expected in _variables(1).items():
        np.testing.assert_array_equal(variables[name], expected)


def _read_facts(folder: str) -> None:
    path = f"{folder}/facts.json"
    facts = network_facts.parse(files.read_bytes(path), path)
    assert network_facts.parse(facts.to_json(), path) == facts


def _read_options(folder: str) -> None:
    options = checkpoint.load_options(folder)
    assert common.ModelOptions.from_json(options.to_json()) == options
    options.to_json().encode()


def _write_export(folder: str) -> None:
    weights = tf.Variable(tf.ones((3, 4)))

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, "ImageTensor")])
    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = tf.einsum("bhwc,cd->bhwd", tf.cast(images, tf.float32), weights)
        return {
            "SemanticPredictions": tf.argmax(logits, -1),
            "SemanticProbabilities": tf.nn.softmax(logits),
        }

    module = tf.Module()
    module.weights = weights
    tf.saved_model.save(module, folder, signatures=serve)


def _frozen_graph() -> bytes:
    with tf.Graph().as_default() as graph:
        tf.identity(tf.compat.v1.placeholder(tf.uint8, (1, 5, 5, 3), "ImageTensor"), "ArgMax")
    return graph.as_graph_def().SerializeToString()


def _keras_file() -> bytes:
    """Return a file with options and weights as Keras saves them; it is opened, not built."""
    config = {"class_name": "DeepLab", "config": {"options": common.ModelOptions().to_json()}}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", _weights_file())
    return stream.getvalue()


def _weights_file() -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for name, shape in (("backbone/conv", (3, 3, 3, 4)), ("logits/semantic", (1, 1, 4, 5))):
            file.create_group(name).create_dataset("vars/0", data=np.ones(shape, np.float32))
    return stream.getvalue()


def _read_keras_file(folder: str) -> None:
    options = saved_networks.stored_options(f"{folder}/net.keras")
    assert common.ModelOptions.from_json(options.to_json()) == options
    saved_networks.SavedNetwork(f"{folder}/net.keras")


def _read_weights_file(folder: str) -> None:
    saved_networks.SavedNetwork(f"{folder}/net.weights.h5", common.ModelOptions())


def _read_best_result(folder: str) -> None:
    TrainingEvaluation.check_best(folder)


def subjects() -> list[Subject]:
    """Return the files of networks, except those of `exports`."""
    files = fuzz.files_made_by(lambda folder: checkpoint.save(folder, _STEP, _variables(1)))
    prefix = f"model.ckpt-{_STEP}"
    best = {f"best/{name}": data for name, data in files.items()}
    options = {common.OPTIONS_FILE: common.ModelOptions().to_json().encode()}
    parts = [
        Subject(
            f"checkpoint {name}", files, name, _read_checkpoint, name == "checkpoint", called=called
        )
        for name, called in (
            ("checkpoint", ""),
            (f"{prefix}.index", ""),
            (f"{prefix}.data-00000-of-00001", ""),
        )
    ]
    return [
        *parts,
        Subject("options", options, common.OPTIONS_FILE, _read_options, True, weight=2),
        Subject(
            "best/eval.json",
            {**best, "best/eval.json": fuzz.json_bytes({"step": _STEP, "miou": 0.5})},
            "best/eval.json",
            _read_best_result,
            True,
        ),
        Subject("Keras file", {"net.keras": _keras_file()}, "net.keras", _read_keras_file),
        Subject(
            "weights of Keras",
            {"net.weights.h5": _weights_file()},
            "net.weights.h5",
            _read_weights_file,
        ),
        Subject(
            "dense prediction cell",
            {"cell.json": fuzz.json_bytes(_CELL)},
            "cell.json",
            lambda folder: dense_prediction_cell.read(f"{folder}/cell.json"),
            True,
        ),
        Subject(
            "frozen graph",
            {"graph.pb": _frozen_graph()},
            "graph.pb",
            lambda folder: frozen_graphs.read(f"{folder}/graph.pb"),
        ),
        Subject(
            "facts of a network",
            {"facts.json": _FACTS.to_json().encode()},
            "facts.json",
            _read_facts,
            True,
        ),
    ]


def exports() -> list[Subject]:
    """Return the files of an export, which TensorFlow alone reads: slowly."""
    export = fuzz.files_made_by(_write_export)
    return [
        Subject(f"export {name}", export, name, saved_model.ExportedNetwork, called="", weight=0.1)
        for name in export
        if name != "fingerprint.pb"
    ]
