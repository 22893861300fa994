"""The files of datasets that `fuzz` damages, and how converters, checks and training read them."""

import contextlib
import functools
import json
import struct
import zlib

import cv2
import numpy as np
import tensorflow as tf

from deeplab.datasets import (
    build_data,
    descriptors,
    examples,
    image_files,
    label_colors,
    label_files,
    sbd,
    shards,
    source_files,
    split_statistics,
)
from deeplab.testing import fuzz, fuzz_annotations, tiny
from deeplab.testing.fuzz import Subject

_SIZE = (21, 18)
_LABEL = (np.indices(_SIZE).sum(axis=0) // 3 % 4).astype(np.uint8)


def _encoded(extension: str, *parameters: int) -> bytes:
    pixels = np.ascontiguousarray(tiny.picture(*_SIZE)[..., ::-1])
    return cv2.imencode(extension, pixels, parameters)[1].tobytes()


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


def _read_mat(folder: str) -> None:
    label = sbd.SbdLabel(f"{folder}/a.mat").draw(_SIZE)
    assert (label.dtype, label.ndim) == (np.uint8, 2)


def _mat() -> bytes:
    """A MATLAB file with a compressed array."""
    parts = (
        (6, struct.pack("<II", 9, 0)),
        (5, struct.pack("<ii", *_SIZE)),
        (1, b"Segmentation"),
        (2, _LABEL.tobytes("F")),
    )
    packed = [
        struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8) for kind, data in parts
    ]
    content = b"".join(packed)
    data = zlib.compress(struct.pack("<II", 14, len(content)) + content)
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"
    return header + struct.pack("<II", 15, len(data)) + data


def _read_list_of_paths(folder: str) -> None:
    # Paths in the list are relative to the working directory.
    with contextlib.chdir(folder):
        image_files.find(f"{folder}/list.txt")


def subjects() -> list[Subject]:
    """Return the files of datasets."""
    label = tiny.png(_LABEL)
    samples = {"a": (tiny.picture(*_SIZE), _LABEL), "b": (tiny.picture(*_SIZE, 1), None)}
    (record,) = fuzz.files_made_by(lambda folder: tiny.write_records(folder, samples)).items()
    found = [
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
        found += [
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
    colors = fuzz.json_bytes(
        {"ground": [0, 0, 0], "disc": [[9, 9, 9], [1, 2, 3]], "ignore": [255, 255, 255]}
    )
    found += fuzz_annotations.subjects(label)
    found += [
        Subject("MATLAB file", {"a.mat": _mat()}, "a.mat", _read_mat),
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
    return found
