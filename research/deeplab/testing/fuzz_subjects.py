"""The kinds of files that `fuzz` damages, small, and how scripts read them."""

import contextlib
import functools
import io
import json
import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping

import cv2
import keras
import numpy as np
import tensorflow as tf
from absl import flags

from deeplab import common, train
from deeplab import eval as eval_script
from deeplab.annotations import formats, image_index, values
from deeplab.cli import crf_flags, script
from deeplab.core import dense_prediction_cell
from deeplab.datasets import (
    build_data,
    descriptors,
    examples,
    image_files,
    label_colors,
    label_files,
    shards,
    source_files,
    split_statistics,
)
from deeplab.evaluation import eval_coco_format
from deeplab.export import saved_model, tflite
from deeplab.testing import tiny
from deeplab.testing.fuzz import Subject
from deeplab.training.evaluation import TrainingEvaluation
from deeplab.utils import checkpoint, checkpoint_files, checkpoint_integrity
from deeplab.zoo import download

_SIZE = (21, 18)
_LABEL = (np.indices(_SIZE).sum(axis=0) // 3 % 4).astype(np.uint8)
_CELL = [
    {"op": "conv", "kernel": 3, "rate": [1, 6], "input": -1},
    {"op": "conv", "kernel": 1, "input": 0},
    {"op": "pyramid_pooling", "grid_size": [2, 2], "input": -1},
]
_STEP = 7


def _encoded(extension: str, *parameters: int) -> bytes:
    pixels = np.ascontiguousarray(tiny.picture(*_SIZE)[..., ::-1])
    return cv2.imencode(extension, pixels, parameters)[1].tobytes()


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1).encode()


def _files_made_by(make: Callable[[str], object]) -> dict[str, bytes]:
    """Return the files that a function writes into a folder."""
    with tempfile.TemporaryDirectory() as folder:
        make(folder)
        found = {}
        for name in tiny.files(folder):
            with open(os.path.join(folder, name), "rb") as file:
                found[name] = file.read()
    return found


# --- Datasets ---


def _read_records(folder: str) -> None:
    split_statistics.check("val", folder, tiny.DATASET)
    # What the check accepts, training decodes.
    records = shards.open_split(folder, ["val"])
    for index in range(len(records)):
        examples.decode(tf.constant(records[index]), 0)


def _read_image(name: str, folder: str) -> None:
    source = source_files.Source("a", f"{folder}/{name}", f"{folder}/label.png")
    sample = build_data.read_sample(source, label_files.LabelReader(tiny.DATASET))
    # What is stored, training decodes.
    for data, channels in ((sample.image, 3), (sample.label.data, 1)):
        pixels = tf.io.decode_jpeg(data, channels=channels).numpy()
        assert pixels.shape == (sample.height, sample.width, channels)


def _read_photograph(name: str, folder: str) -> None:
    image_files.read(f"{folder}/{name}")


def _read_descriptor(folder: str) -> None:
    descriptor = descriptors.load(f"{folder}/dataset.json")
    assert descriptors.DatasetDescriptor(**json.loads(descriptor.to_json())) == descriptor
    descriptor.label_colors()
    descriptor.to_json().encode()


def _read_annotations(name: str, folder: str) -> None:
    index = image_index.ImageIndex(f"{folder}/images", [".png"])
    formats.read(values.Request(f"{folder}/{name}", (".png",), index))


def _read_list_of_paths(folder: str) -> None:
    # Paths in the list are relative to the working directory.
    with contextlib.chdir(folder):
        image_files.find(f"{folder}/list.txt")


def _datasets() -> list[Subject]:
    label = tiny.png(_LABEL)
    samples = {"a": (tiny.picture(*_SIZE), _LABEL), "b": (tiny.picture(*_SIZE, 1), None)}
    (record,) = _files_made_by(lambda folder: tiny.write_records(folder, samples)).items()
    subjects = [
        Subject("records", dict([record]), record[0], _read_records, weight=2),
        Subject(
            "label",
            {"a.jpg": _encoded(".jpg"), "label.png": label},
            "label.png",
            functools.partial(_read_image, "a.jpg"),
        ),
    ]
    images = {
        "a.jpg": _encoded(".jpg"),
        "progressive.jpg": _encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        "a.png": _encoded(".png"),
        "a.tiff": _encoded(".tiff"),
        "a.bmp": _encoded(".bmp"),
        "a.webp": _encoded(".webp"),
    }
    for name, data in images.items():
        subjects += [
            Subject(
                f"image {name}",
                {name: data, "label.png": label},
                name,
                functools.partial(_read_image, name),
            ),
            Subject(
                f"photograph {name}",
                {name: data},
                name,
                functools.partial(_read_photograph, name),
                weight=0.5,
            ),
        ]
    descriptor = tiny.DATASET.to_json().encode()
    colors = _json({"ground": [0, 0, 0], "disc": [[9, 9, 9], [1, 2, 3]], "ignore": [255, 255, 255]})
    polygon = [0, 0, 9, 0, 9.5, 9]
    size = {"height": _SIZE[0], "width": _SIZE[1]}
    coco = {
        "images": [{"id": 1, "file_name": "a.png", **size}],
        "categories": [{"id": 3, "name": "disc"}],
        "annotations": [
            {"image_id": 1, "category_id": 3, "segmentation": [polygon], "iscrowd": 0},
            {"image_id": 1, "category_id": 3, "segmentation": {"size": _SIZE, "counts": [8, 9]}},
        ],
    }
    labelme = {
        "imagePath": "a.png",
        "imageHeight": _SIZE[0],
        "imageWidth": _SIZE[1],
        "shapes": [
            {"label": "disc", "shape_type": "polygon", "points": [[0, 0], [9, 0], [9.5, 9]]},
            {"label": "square", "shape_type": "circle", "points": [[5, 5], [9, 5]]},
        ],
    }
    subjects += [
        Subject(
            f"annotations of {name}",
            {"a.json": _json(content), "images/a.png": label},
            "a.json",
            functools.partial(_read_annotations, "a.json"),
            True,
        )
        for name, content in (("COCO", coco), ("labelme", labelme))
    ]
    subjects += [
        Subject(
            "dataset.json", {"dataset.json": descriptor}, "dataset.json", _read_descriptor, True
        ),
        Subject(
            "colors.json",
            {"colors.json": colors},
            "colors.json",
            lambda folder: label_colors.read_colors(f"{folder}/colors.json", 255),
            True,
        ),
        Subject(
            "list of names",
            {"lists/train.txt": "a\nb c\nd,e (1)\nü\n".encode()},
            "lists/train.txt",
            lambda folder: source_files.read_lists(f"{folder}/lists"),
            True,
        ),
        Subject(
            "list of paths",
            {"list.txt": b"a.png\nb.png\n", "a.png": b"-", "b.png": b"-"},
            "list.txt",
            _read_list_of_paths,
            True,
        ),
    ]
    return subjects


# --- Checkpoints and exports ---


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


def _read_best_result(folder: str) -> None:
    TrainingEvaluation.check_best(folder)


def _checkpoints() -> list[Subject]:
    files = _files_made_by(lambda folder: checkpoint.save(folder, _STEP, _variables(1)))
    prefix = f"model.ckpt-{_STEP}"
    best = {f"best/{name}": data for name, data in files.items()}
    options = {common.OPTIONS_FILE: common.ModelOptions().to_json().encode()}
    subjects = [
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
        *subjects,
        Subject("options", options, common.OPTIONS_FILE, _read_options, True, weight=2),
        Subject(
            "best/eval.json",
            {**best, "best/eval.json": _json({"step": _STEP, "miou": 0.5})},
            "best/eval.json",
            _read_best_result,
            True,
        ),
        Subject(
            "dense prediction cell",
            {"cell.json": _json(_CELL)},
            "cell.json",
            lambda folder: dense_prediction_cell.read(f"{folder}/cell.json"),
            True,
        ),
        Subject(
            "frozen graph",
            {"graph.pb": _frozen_graph()},
            "graph.pb",
            lambda folder: tflite.read_graph(f"{folder}/graph.pb"),
        ),
    ]


def exports() -> list[Subject]:
    """Return the files of an export, which TensorFlow alone reads: slowly."""
    export = _files_made_by(_write_export)
    return [
        Subject(f"export {name}", export, name, saved_model.ExportedNetwork, called="", weight=0.1)
        for name in export
        if name != "fingerprint.pb"
    ]


# --- Other files that flags name ---


def _read_flags(folder: str) -> None:
    flag_values = flags.FlagValues()
    train.define_flags(flag_values)
    script.parse(["train", f"--flagfile={folder}/flags.txt"], flag_values)


def _read_matrix(folder: str) -> None:
    parsed = tiny.parse(eval_script, ["--crf", f"--crf_compatibility={folder}/matrix.npy"])
    options = crf_flags.from_flags(parsed)
    assert options.compatibility is None or np.isfinite(options.compatibility).all()


def _read_panoptic(folder: str) -> None:
    eval_coco_format.eval_coco_format(f"{folder}/gt.json", f"{folder}/pred.json", num_categories=4)


def _read_archive(name: str, content: bytes | None, folder: str) -> None:
    try:
        download.unpack(f"{folder}/{name}", f"{folder}/unpacked", f"{folder}/{name}")
        if content is not None:
            with open(f"{folder}/unpacked/model/file", "rb") as file:
                assert file.read() == content
    finally:
        # A download unpacks to a temporary folder.
        shutil.rmtree(f"{folder}/unpacked", ignore_errors=True)


def _tar(content: bytes, mode: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        member = tarfile.TarInfo("model/file")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def _zip(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/file", content)
    return stream.getvalue()


def _others() -> list[Subject]:
    matrix = io.BytesIO()
    np.save(matrix, np.eye(4))
    segments = [{"id": index, "category_id": index} for index in range(1, 4)]
    truth = {
        "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": segments}],
        "categories": [{"id": index, "isthing": index % 2} for index in range(4)],
    }
    ids = tiny.png(np.stack([_LABEL, 0 * _LABEL, 0 * _LABEL], axis=-1))
    panoptic = {
        "gt.json": _json(truth),
        "pred.json": _json({"annotations": truth["annotations"]}),
        "gt/a.png": ids,
        "pred/a.png": ids,
    }
    given = "--output_stride=16\n--atrous_rates=6\n--train_crop_size=513,513\n--momentum=0.9\n"
    content = bytes(range(256)) * 9
    archives = {
        "a.tar.gz": _tar(content, "w:gz"),
        "a.tar": _tar(content, "w"),
        "a.zip": _zip(content),
    }
    return [
        Subject(
            "flag file",
            {"flags.txt": f"# A recipe\n{given}".encode()},
            "flags.txt",
            _read_flags,
            True,
            weight=0.3,
        ),
        Subject(
            "matrix", {"matrix.npy": matrix.getvalue()}, "matrix.npy", _read_matrix, weight=0.3
        ),
        *(
            Subject(f"panoptic {victim}", panoptic, victim, _read_panoptic, is_text, called=called)
            for victim, is_text, called in (
                ("gt.json", True, "gt"),
                ("pred.json", True, "pred"),
                ("gt/a.png", False, None),
                ("pred/a.png", False, None),
            )
        ),
        *(
            Subject(
                f"archive {name}",
                {name: data},
                name,
                # A tar archive has no checksum of the content.
                functools.partial(_read_archive, name, content if name == "a.tar.gz" else None),
            )
            for name, data in archives.items()
        ),
    ]


@functools.cache
def all_subjects() -> list[Subject]:
    """Return every kind of file but those of `exports`."""
    return [*_datasets(), *_checkpoints(), *_others()]
