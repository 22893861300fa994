"""The verdict of the check is that of training, for generated records."""

import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
import tensorflow as tf

from deeplab.datasets import data_generator, descriptors, examples, split_statistics
from deeplab.datasets.conftest import jpeg, png
from deeplab.input_preprocess import Preprocessing

_DESCRIPTOR = descriptors.DatasetDescriptor("tiny", 3, 255)
_LABEL = np.random.default_rng(0).integers(0, 3, (6, 8))
_KEYS = tuple(examples._FEATURES)


def _feature(*values):
    if isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if isinstance(values[0], int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _good():
    return {
        "image/encoded": _feature(jpeg(6, 8)),
        "image/filename": _feature(b"photo"),
        "image/height": _feature(6),
        "image/width": _feature(8),
        "image/segmentation/class/encoded": _feature(png(_LABEL)),
        "image/format": _feature(b"jpeg"),
    }


def _large(data, height, width):
    """Lets the header of a PNG file state another size."""
    data = bytearray(data)
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def _webp():
    return cv2.imencode(".webp", np.zeros((6, 8, 3), np.uint8))[1].tobytes()


def _records():
    """Yields pairs of what is wrong and a record."""
    yield "nothing", _good()
    for key in _KEYS:
        for value in (b"text", 7, 0.5):
            yield f"{key} is {value}", _good() | {key: _feature(value)}
        good = _good()[key]
        values = list(good.bytes_list.value or good.int64_list.value)
        yield f"{key} twice", _good() | {key: _feature(*values, *values)}
        empty = tf.train.Feature()
        getattr(empty, good.WhichOneof("kind")).SetInParent()
        yield f"{key} without value", _good() | {key: empty}
        yield f"{key} without kind", _good() | {key: tf.train.Feature()}
        without = _good()
        del without[key]
        yield f"no {key}", without
    yield "no feature", {}
    image, label = "image/encoded", "image/segmentation/class/encoded"
    color = png(np.zeros((6, 8, 3), int), 8, 2)
    for what, key, data in (
        ("an empty image", image, b""),
        ("an empty label", label, b""),
        ("a large image", image, _large(color, 40000, 40000)),
        ("a large label", label, _large(png(_LABEL), 40000, 40000)),
        ("an image of another size", image, jpeg(6, 9)),
        ("a label of another size", label, png(_LABEL.T.copy())),
        ("a PNG image", image, color),
        ("a WebP image", image, _webp()),
        ("a WebP label", label, _webp()),
        ("a BMP image", image, cv2.imencode(".bmp", np.zeros((6, 8, 3), np.uint8))[1].tobytes()),
        ("a JPEG label", label, cv2.imencode(".jpg", np.zeros((6, 8), np.uint8))[1].tobytes()),
        ("a color label", label, color),
        ("a 16-bit label", label, png(_LABEL, 16)),
        ("a wrong value", label, png(_LABEL + 7)),
    ):
        yield what, _good() | {key: _feature(data)}
    random = np.random.default_rng(1)
    for key in (image, label):
        data = _good()[key].bytes_list.value[0]
        for position in random.integers(0, len(data), 12):
            damaged = bytearray(data)
            damaged[position] ^= 1 << random.integers(0, 8)
            yield f"{key} with byte {position} changed", _good() | {key: _feature(bytes(damaged))}
            yield f"{key} cut at {position}", _good() | {key: _feature(data[:position])}


def _serialized():
    for what, features in _records():
        example = tf.train.Example(features=tf.train.Features(feature=features))
        yield what, example.SerializeToString()
    good = tf.train.Example(features=tf.train.Features(feature=_good())).SerializeToString()
    random = np.random.default_rng(2)
    for position in random.integers(0, len(good), 30):
        damaged = bytearray(good)
        damaged[position] ^= 1 << random.integers(0, 8)
        yield f"the record with byte {position} changed", bytes(damaged)
    yield "no example", b"\xff\xff"


@pytest.fixture(scope="module")
def refused_by_training(tmp_path_factory):
    """Whether training refuses each record: it trains on all of them, skipping errors."""
    folder = tmp_path_factory.mktemp("records")
    with tf.io.TFRecordWriter(str(folder / "train-00000-of-00001.tfrecord")) as writer:
        for _, record in _serialized():
            writer.write(record)
    preprocessing = Preprocessing(crop_size=(9, 9), mean_pixel=(0.0, 0.0, 0.0))
    records = data_generator.Dataset(_DESCRIPTOR, "train", str(folder), preprocessing)

    def sample(record):
        records._training_sample(tf.constant(0, tf.int64), record)
        return record

    batches = tf.data.Dataset.range(len(records)).map(sample).ignore_errors()
    accepted = {int(record) for record in batches.as_numpy_iterator()}
    return [index not in accepted for index in range(len(records))]


def test_the_check_refuses_what_training_refuses(refused_by_training):
    differing = []
    for refused, (what, record) in zip(refused_by_training, _serialized(), strict=True):
        try:
            examples.check(record)
            found = False
        except ValueError as error:
            found = True
            assert "\n" not in str(error)
        if found != refused:
            differing.append(what)
    assert not differing
    assert 60 < sum(refused_by_training) < len(refused_by_training) - 20


def test_the_script_also_refuses_what_training_refuses(refused_by_training):
    differing = []
    for refused, (what, record) in zip(refused_by_training, _serialized(), strict=True):
        statistics = split_statistics.SplitStatistics()
        try:
            statistics.add(record, _DESCRIPTOR)
            found = statistics.num_labels == 0  # An error in a training split.
        except ValueError:
            found = True
        if refused and not found:
            differing.append(what)
    assert not differing


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("image/height is text", r"image/height with 1 value in a bytes_list; .* in an int64"),
        (
            "image/filename is 7",
            r"\(no name\) has the feature image/filename with 1 value in",
        ),
        (
            "image/encoded twice",
            "image/encoded with 2 values in a bytes_list; it must have",
        ),
        ("image/filename without value", "the feature image/filename with 0 values"),
        ("no image/encoded", r"\(photo\) has no image \(feature image/encoded\)"),
        ("an empty label", r"\(photo\) has no label \(feature image/segmentation/class/encoded\)"),
        ("a large image", "an image that is too large: 40000x40000 pixels .* image/encoded"),
        ("a large label", "a label that is too large: 40000x40000 pixels"),
        ("a label of another size", "a label that is 6x8 pixels .* the image is 8x6"),
        ("a WebP image", "an image that is neither JPEG nor PNG"),
    ],
)
def test_the_message_names_image_and_feature(what, message):
    what = what.replace("text", "b'text'")
    (features,) = [features for name, features in _records() if name == what]
    example = tf.train.Example(features=tf.train.Features(feature=features))
    with pytest.raises(ValueError, match=message):
        examples.check(example.SerializeToString())


_SHORT_OF_MEMORY = """
import resource, sys
import tensorflow as tf
from deeplab.datasets import examples

def decode(record):
    return examples.decode(record, None)[1]

record, how = tf.constant(bytes.fromhex(sys.argv[1])), sys.argv[2]
if how == "pipeline":
    images = iter(tf.data.Dataset.from_tensors(record).map(decode))
    call = lambda: next(images)
else:
    call = lambda: decode(record)
with open("/proc/self/statm") as file:
    held = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 2**29, -1))
try:
    call()
except examples.RECORD_ERRORS:
    print("refused")
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["eagerly", "pipeline"])
def test_a_record_that_states_gigabytes_is_refused_by_a_process_that_is_short_of_memory(how):
    def field(data: bytes, stated: bytes | None = None) -> bytes:
        return b"\x0a" + (stated or bytes([len(data)])) + data

    almost_2_gb = b"\xf0\xff\xff\xff\x07"
    value = b"\x12" + field(field(field(b"image", almost_2_gb)))[1:]
    record = field(field(field(b"image/encoded") + value))
    command = [sys.executable, "-c", _SHORT_OF_MEMORY, record.hex(), how]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "refused\n"), ended.stderr[-2000:]
