"""Predicts images with a pipeline of Apache Beam, whose work item is an image."""

import contextlib
import dataclasses
import functools
import json
import os
import re
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from deeplab.cli import writable
from deeplab.core import error_text
from deeplab.core.options import PredictOptions
from deeplab.core.wording import agree, counted
from deeplab.datasets import (
    build_data,
    descriptors,
    examples,
    image_files,
    images,
    label_files,
    shards,
)
from deeplab.datasets.image_formats import image_format
from deeplab.export import runtimes
from deeplab.serving import chosen_network, outputs, video
from deeplab.sharing import pipelines
from deeplab.utils import file_systems, files

# Names of the files about all images: their facts, the bad images, and their records.
_FACTS, _BAD, _RECORDS = "predictions", "bad_images", "records"
_RECORD_FILE = re.compile(r".*(\.tfrecords?|-\d{5,}-of-\d{5,})")
_WRITTEN = re.compile(rf"({_FACTS}-\d+-of-\d+|{_BAD})\.jsonl|{_RECORDS}-\d+-of-\d+\.tfrecord")
# A file name may have 255 bytes, those that are added to it while the file is written included.
_LONGEST_NAME = 150
# Images per list. A worker reads a whole list.
_LISTED = 1000


@dataclasses.dataclass(frozen=True)
class _Item:
    """An image to predict.

    Args:
        shard: Number of its list, and of the shard that its record is written to.
        place: Path of its file, or number and file of its record, for messages.
        name: Start of the names of its results.
        record: The record; None if it is a file.
        number: Number of the record in its file.
        fault: Why it cannot be read, if that is known.
    """

    shard: int
    place: str
    name: str = ""
    record: bytes | None = None
    number: int = 0
    fault: str = ""


def predict(options: PredictOptions) -> None:
    """Predict the classes of images on workers, and write the requested outputs.

    Facts about images are JSON lines, and those of bad images are in a file of their own.

    Args:
        options: The network, the images, the results and the pipeline.

    Raises:
        FileNotFoundError: There is no such image or network.
        ValueError: Options are wrong (see `prediction.predict`), or some images could not be read
            or predicted. The others are done then.
        ChildProcessError: The pipeline failed.
    """
    pipelines.check(options)
    paths = _find(options.images)
    record_files = [path for path in paths if _RECORD_FILE.fullmatch(path)]
    image_paths = [path for path in paths if not _RECORD_FILE.fullmatch(path)]
    names = image_files.result_names(image_paths)
    results = outputs.paths(options.output_dir, options.outputs, names)
    results += _written_before(options.output_dir)
    image_files.refuse_overwriting("output_dir", paths, results)
    descriptor = chosen_network.choose_descriptor(options, _network.open(options))
    if outputs.RECORDS in options.outputs and descriptor.num_classes > descriptors.MAX_LABEL + 1:
        raise ValueError(
            f"--outputs=records holds labels up to {descriptors.MAX_LABEL}; the network has"
            f" {descriptor.num_classes} classes"
        )
    writable.make_folder("output_dir", options.output_dir)
    with pipelines.staging(options.output_dir) as folder:
        named = list(zip(image_paths, names, strict=True))
        # The files of records come first: their numbers are in names of results.
        lists = [[(path, "")] for path in record_files]
        lists += [named[start : start + _LISTED] for start in range(0, len(named), _LISTED)]
        stored = [os.path.join(folder, f"images-{number:06}") for number in range(len(lists))]
        for path, listed in zip(stored, lists, strict=True):
            pipelines.store(path, listed)
        logging.info("a pipeline predicts %s", options.images)
        pipelines.run(functools.partial(_build, stored, options, descriptor, folder), options)
        bad = _publish(folder, options.output_dir)
    logging.info("the results are in %s", options.output_dir)
    if bad:
        raise ValueError(
            f"{counted(len(bad), 'image')} could not be predicted (the others are done, and the"
            f" reasons are in {os.path.join(options.output_dir, f'{_BAD}.jsonl')}):"
            f" {bad[0]['error']}"
        )


def _find(images: str) -> list[str]:
    """Return the image and TFRecord files that --images names; log videos, which are left out."""
    found = image_files.find(images, (".tfrecord", *video.EXTENSIONS))
    paths = [path for path in found if not video.is_video(path)]
    if len(paths) < len(found):
        first = next(path for path in found if video.is_video(path))
        message = f"such as {first}: a pipeline predicts no videos (--runner=local does)"
        if not paths:
            raise ValueError(f"--images={images} names videos only, {message}")
        count = len(found) - len(paths)
        passed = f"{counted(count, 'video')} {agree(count, 'is', 'are')} passed over"
        logging.warning("%s, %s", passed, message)
    return paths


def _build(
    lists: Sequence[str],
    options: PredictOptions,
    descriptor: descriptors.DatasetDescriptor,
    folder: str,
    pipeline: Any,
) -> None:
    """Apply the transforms of a prediction to a pipeline.

    Args:
        lists: Paths of the lists of images.
        options: The options of the prediction.
        descriptor: Names and colors of the classes.
        folder: Folder of the files about all images.
        pipeline: The pipeline.
    """
    import apache_beam as beam

    images = (
        pipeline
        | "lists" >> beam.Create(list(enumerate(lists)))
        | "spread lists" >> beam.Reshuffle()
        | "read lists" >> beam.FlatMap(read_list)
        | "spread images" >> beam.Reshuffle()
    )
    repeated = (
        images
        | "names" >> beam.FlatMap(names_of)
        | "count names" >> beam.combiners.Count.PerElement()
        | "repeated names" >> beam.FlatMap(repeated_name)
    )
    found = images | "predict" >> beam.FlatMap(
        predict_image, options, descriptor, beam.pvalue.AsDict(repeated)
    ).with_outputs(_BAD, _RECORDS, main=_FACTS)
    prefix = functools.partial(os.path.join, folder)
    if outputs.JSON in options.outputs:
        _ = found[_FACTS] | "write facts" >> beam.io.WriteToText(prefix(_FACTS), ".jsonl")
    if outputs.RECORDS in options.outputs:
        _ = (
            found[_RECORDS]
            | "by shard" >> beam.GroupByKey()
            | "write records" >> beam.Map(write_records, folder, len(lists))
        )
    _ = found[_BAD] | "write bad images" >> beam.io.WriteToText(
        prefix(_BAD), ".jsonl", num_shards=1, shard_name_template=""
    )


def read_list(numbered: tuple[int, str]) -> Iterator[_Item]:
    """Yield the images of a list, on a worker.

    Args:
        numbered: Number and path of the list. It holds image files with the names of their
            results, or one TFRecord file.
    """
    shard, path = numbered
    for source, name in pipelines.load(path):
        if name:
            yield _Item(shard, source, name)
            continue
        number = 0
        try:
            for record in tf.data.TFRecordDataset(source).as_numpy_iterator():
                place = f"record {number} of {source}"
                yield _Item(shard, place, record=record, number=number)
                number += 1
        except tf.errors.OpError as error:
            fault = f"record {number} of {source} and those after it: {error_text.one_line(error)}"
            yield _Item(shard, source, fault=fault)


def names_of(item: _Item) -> Iterator[str]:
    """Yield the name of an image's results, if it has one."""
    if item.record is not None:
        with contextlib.suppress(ValueError):
            yield _record_name(item)
    elif item.name:
        yield item.name


def repeated_name(name_and_count: tuple[str, int]) -> Iterator[tuple[str, int]]:
    """Yield a name and its number of images, if there are several."""
    if name_and_count[1] > 1:
        yield name_and_count


def predict_image(
    item: _Item,
    options: PredictOptions,
    descriptor: descriptors.DatasetDescriptor,
    repeated: Collection[str] = (),
) -> Iterator[Any]:
    """Predict an image and save its pictures, on a worker.

    Args:
        item: The image.
        options: The options of the prediction.
        descriptor: Names and colors of the classes.
        repeated: The names that several images have.

    Yields:
        The facts about the image as a line of JSON, and its record; or why it is bad.

    Raises:
        FileNotFoundError, ValueError: The worker cannot open the network.
        OSError: A picture cannot be written.
    """
    import apache_beam as beam

    # No image is bad because there is no network: then the pipeline has to try again or to fail.
    _network.open(options)
    written = outputs.Outputs(options.output_dir, options.outputs, descriptor)
    try:
        name, image = _read(item, options, repeated)
        labels = _network.predict(options, image)
        if outputs.RECORDS in options.outputs:
            record = _record(item, name, image, labels)
    except Exception as error:  # Those of the runtimes have no common class.
        reason = outputs.shown(error_text.one_line(error))
        fault = {"path": outputs.shown(item.place), "error": reason}
        yield beam.pvalue.TaggedOutput(_BAD, json.dumps(fault))
        return
    written.save_pictures(image, labels, name)
    shares = outputs.class_shares(labels, descriptor.num_classes)
    yield json.dumps(written.facts(item.place, labels.shape, shares))
    if outputs.RECORDS in options.outputs:
        yield beam.pvalue.TaggedOutput(_RECORDS, (item.shard, record))


def _read(
    item: _Item, options: PredictOptions, repeated: Collection[str] = ()
) -> tuple[str, np.ndarray]:
    """Return the name of an image's results, and the image."""
    if item.fault:
        raise ValueError(item.fault)
    if item.record is None:
        return item.name, image_files.read(item.place, options.exif_orientation)
    try:
        image = examples.check(item.record, labels_required=False)
    except ValueError as error:
        raise ValueError(f"{item.place} {error}") from None
    name = _record_name(item)
    # Results of files have different names.
    return f"{name}-{item.shard:05}-{item.number:06}" if name in repeated else name, image


def _record_name(item: _Item) -> str:
    """Return the name of the image in a record.

    Raises:
        ValueError: It has none, or one that no file can have.
    """
    feature = examples.parse(item.record)["image/filename"]
    name = b"".join(feature.bytes_list.value[:1]).decode(errors="replace")
    # A name may be any path.
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    if not parts:
        raise ValueError(f"{item.place} has no name (feature image/filename)")
    if any("\0" in part or len(part.encode()) > _LONGEST_NAME for part in parts):
        raise ValueError(f"{item.place} has a name that no file can have (feature image/filename)")
    return "/".join(parts)


def _record(item: _Item, name: str, image: np.ndarray, labels: np.ndarray) -> bytes:
    """Return a record of an image with its predicted labels."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"image {item.place} has a name that is not UTF-8, which a record cannot hold: rename"
            " it"
        ) from None
    if item.record is not None:
        data = _feature(item.record, examples.IMAGE)
    else:
        data = files.read_bytes(item.place)
        kind = image_format(data)
        if kind is None or not np.array_equal(images.decode(data).pixels, image):
            data = build_data.encode_image(image, kind)
    label = label_files.encode(labels.astype(np.uint8))
    record = build_data.image_seg_to_tfexample(data, name, *labels.shape, label)
    return record.SerializeToString(deterministic=True)


def write_records(shard: tuple[int, Iterable[bytes]], folder: str, count: int) -> None:
    """Write the records of a shard, on a worker.

    Args:
        shard: Its number and records.
        folder: Folder to write it to.
        count: Number of shards.
    """
    number, records = shard
    path = os.path.join(folder, shards.shard_name(_RECORDS, number, count))
    with files.replacing(path) as temporary, tf.io.TFRecordWriter(temporary) as writer:
        for record in records:
            writer.write(record)


def _feature(record: bytes, name: str) -> bytes:
    return b"".join(examples.parse(record)[name].bytes_list.value[:1])


class _Network:
    """The network of a worker process: opened once, and used by one thread at a time."""

    def __init__(self):
        self._lock = threading.RLock()
        self._key: tuple[Any, ...] | None = None
        self._network: runtimes.Network | None = None

    def open(self, options: PredictOptions) -> runtimes.Network:
        """Return the network that options name."""
        key = options.export_path, options.window
        with self._lock:
            if self._key != key:
                self._network, self._key = chosen_network.open_network(options), key
            return self._network

    def predict(self, options: PredictOptions, image: np.ndarray) -> np.ndarray:
        """Return the labels of an image; see `runtimes.Network`."""
        with self._lock:
            return self.open(options).predict(image)


_network = _Network()


def _written_before(output_dir: str) -> list[str]:
    """Return the files about all images that an earlier run wrote and this one replaces."""
    names = file_systems.names_in(output_dir)
    return [os.path.join(output_dir, name) for name in names if _WRITTEN.fullmatch(name)]


def _publish(folder: str, output_dir: str) -> list[dict[str, str]]:
    """Move the files about all images to the output folder, in place of those of earlier runs.

    Returns:
        The bad images, with their errors.
    """
    gfile = file_systems.gfile()
    path = os.path.join(folder, f"{_BAD}.jsonl")
    # Some engines write no file where nothing is bad.
    lines = files.read_bytes(path).splitlines() if file_systems.exists(path) else ()
    bad = [json.loads(line) for line in lines]
    for earlier in _written_before(output_dir):
        gfile.remove(earlier)
    written = [name for name in file_systems.names_in(folder) if _WRITTEN.fullmatch(name)]
    records = [name for name in written if name.startswith(_RECORDS)]
    for name in written:
        if name in records:
            # A list without good images has no shard.
            target = shards.shard_name(_RECORDS, records.index(name), len(records))
        elif name.startswith(_BAD) and not bad:
            continue
        else:
            target = name
        gfile.rename(os.path.join(folder, name), os.path.join(output_dir, target))
    return bad
