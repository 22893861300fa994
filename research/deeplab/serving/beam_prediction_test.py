"""A pipeline of Beam predicts the labels of predict.py, and tells which images are bad."""

import json
import os
import re

import numpy as np
import pytest
import tensorflow as tf

from deeplab import predict, predict_test
from deeplab.core.options import PredictOptions
from deeplab.datasets import examples
from deeplab.serving import beam_prediction
from deeplab.testing import tiny
from deeplab.utils import files

export = predict_test.export
# The engine of Beam's DirectRunner, which would download another one first where it can.
_BEAM = ("--runner=beam", "--beam_options=--runner=FnApiRunner", "--outputs=labels,json,records")


def _run(export, images, out, *more):
    tiny.run(predict, f"--export_path={export}", f"--images={images}", f"--output_dir={out}", *more)


def _lines(folder, pattern):
    return [json.loads(line) for path in folder.glob(pattern) for line in path.open()]


def _labels(folder):
    return {path.name: path.read_bytes() for path in folder.glob("**/*_labels.png")}


@pytest.mark.slow
def test_labels_and_facts_are_those_without_a_pipeline(export, tmp_path):
    pytest.importorskip("apache_beam", reason="needs the extra [beam]")
    folder, local, beam = (tmp_path / name for name in ("images", "local", "beam"))
    folder.mkdir()
    for name, size in (("a", (20, 30)), ("b", (41, 17)), ("c", (9, 9))):
        (folder / f"{name}.png").write_bytes(tiny.png(tiny.picture(*size)))
    (folder / "bad.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="1 of 4 images could not be read"):
        _run(export, folder, local, "--outputs=labels,json")
    for _ in range(2):  # The files of the first run are replaced.
        with pytest.raises(
            ValueError, match=r"1 image could not .*bad_images.jsonl\): image .*bad"
        ):
            _run(export, folder, beam, *_BEAM)
    assert len(_labels(local)) == 3
    assert _labels(beam) == _labels(local)
    facts = json.loads((local / "predictions.json").read_text())["images"]
    found = _lines(beam, "predictions-*.jsonl")
    assert sorted(found, key=lambda image: image["path"]) == [
        image for image in facts if "error" not in image
    ]
    assert _lines(beam, "bad_images.jsonl") == [image for image in facts if "error" in image]
    others = {re.sub(r"-\d+-of-\d+", "", path.name) for path in beam.iterdir()}
    assert others - set(_labels(beam)) == {
        "bad_images.jsonl",
        "predictions.jsonl",
        "records.tfrecord",
    }


@pytest.mark.slow
def test_records_are_predicted_and_written(export, tmp_path):
    pytest.importorskip("apache_beam", reason="needs the extra [beam]")
    pictures = {f"x/{number}": tiny.picture(33, 33, number) for number in range(3)}
    label = np.zeros((33, 33), np.uint8)
    tiny.write_records(tmp_path, {name: (each, label) for name, each in pictures.items()})
    _run(export, tmp_path / "val-*", tmp_path / "out", *_BEAM)
    for name, picture in pictures.items():
        read = tiny.read_png(tmp_path / f"out/{name}_labels.png")
        np.testing.assert_array_equal(read, picture[..., 0] % 4)
    assert not list(tmp_path.glob("out/bad*"))
    paths = [str(path) for path in tmp_path.glob("out/records-*.tfrecord")]
    for record in tf.data.TFRecordDataset(paths):
        features, image, found = examples.decode(record, None)
        name = features["image/filename"].numpy().decode()
        np.testing.assert_array_equal(image, pictures.pop(name))
        np.testing.assert_array_equal(found[..., 0], image[..., 0] % 4)
    assert not pictures


@pytest.mark.slow
def test_images_of_one_name_do_not_replace_each_other(export, tmp_path):
    pytest.importorskip("apache_beam", reason="needs the extra [beam]")
    pictures = [tiny.picture(33, 33, number) for number in range(4)]
    label = np.zeros((33, 33), np.uint8)
    for folder, picture in zip("abc", pictures, strict=False):
        tiny.write_records(tmp_path / folder, {"same": (picture, label)}, folder)
    (tmp_path / "same.png").write_bytes(tiny.png(pictures[3]))
    images = f"{tmp_path}/same.png,{tmp_path}/[abc]/*"
    _run(export, images, tmp_path / "out", *_BEAM)
    found = {path.name: tiny.read_png(path).tolist() for path in tmp_path.glob("out/*_labels.png")}
    names = ("-00000-000000", "-00001-000000", "-00002-000000", "")
    assert found == {
        f"same{name}_labels.png": (picture[..., 0] % 4).tolist()
        for name, picture in zip(names, pictures, strict=True)
    }


@pytest.mark.slow
def test_a_name_that_no_record_can_hold_is_a_bad_image(tmp_path, monkeypatch):
    pytest.importorskip("apache_beam", reason="needs the extra [beam]")
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")
    files.write_bytes(path, tiny.png(tiny.picture(9, 9)))
    labels = np.zeros((9, 9), np.int32)
    monkeypatch.setattr(beam_prediction._network, "open", lambda options: None)
    monkeypatch.setattr(beam_prediction._network, "predict", lambda *arguments: labels)
    item = beam_prediction._Item(0, path, "\udcff")
    for kinds, tags in (("records", ["bad_images"]), ("json", [None])):
        options = PredictOptions(
            export_path="net",
            images=path,
            output_dir=str(tmp_path / "out"),
            outputs=(kinds,),
            runner="beam",
        )
        found = list(beam_prediction.predict_image(item, options, tiny.DATASET))
        assert [getattr(each, "tag", None) for each in found] == tags
        facts = json.loads(getattr(found[0], "value", found[0]))
        assert facts["path"] == f"{tmp_path}/\\xff.png"
        assert ("is not UTF-8, which a record cannot hold" in str(facts)) == (kinds == "records")


def test_a_failing_image_is_bad_but_a_missing_network_is_an_error(tmp_path, monkeypatch):
    pytest.importorskip("apache_beam", reason="needs the extra [beam]")
    path = tmp_path / "a.png"
    path.write_bytes(tiny.png(tiny.picture(9, 9)))
    item = beam_prediction._Item(0, str(path), "a")
    options = PredictOptions(
        export_path=str(tmp_path / "net"), images=str(path), output_dir="out", runner="beam"
    )
    with pytest.raises(FileNotFoundError, match="--export_path=.*net is not there"):
        list(beam_prediction.predict_image(item, options, tiny.DATASET))

    def fail(*arguments):
        raise MemoryError("no memory for 5 TiB")

    monkeypatch.setattr(beam_prediction._network, "open", lambda options: None)
    monkeypatch.setattr(beam_prediction._network, "predict", fail)
    (found,) = beam_prediction.predict_image(item, options, tiny.DATASET)
    assert json.loads(found.value) == {"path": str(path), "error": "no memory for 5 TiB"}


def test_videos_are_named_and_left_out(tmp_path, caplog):
    for name in ("a.png", "b.mp4", "c.avi", "d.tfrecord"):
        (tmp_path / name).touch()
    expected = [f"{tmp_path}/a.png", f"{tmp_path}/d.tfrecord"]
    assert beam_prediction._find(str(tmp_path)) == expected
    assert f"2 videos are passed over, such as {tmp_path}/b.mp4: a pipeline" in caplog.text
    with pytest.raises(ValueError, match="--images=.* names videos only, such as .*/c.avi"):
        beam_prediction._find(str(tmp_path / "c.avi"))


@pytest.mark.parametrize("name", ["..", "a/" + "b" * 151, "a\0b"])
def test_a_name_that_no_file_can_have_is_named(name):
    feature = {
        "image/encoded": tiny._bytes(tiny.png(tiny.picture(9, 9))),
        "image/filename": tiny._bytes(name.encode()),
        "image/height": tiny._integer(9),
        "image/width": tiny._integer(9),
    }
    record = tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
    item = beam_prediction._Item(0, "record 3 of a", record=record)
    options = PredictOptions(export_path="net", images="a", output_dir="out", runner="beam")
    with pytest.raises(ValueError, match="record 3 of a has .* name.* .feature image/filename"):
        beam_prediction._read(item, options)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"outputs": ("records",)}, "--outputs=records is for --runner=beam"),
        ({"runner": "beam", "num_clones": 2}, "--num_clones is for --runner=local"),
        ({"runner": "beam", "server": "localhost:8500"}, "--server is for --runner=local"),
        ({"beam_options": ["--x"]}, "--beam_options=.* belongs to --runner=beam"),
    ],
)
def test_what_does_not_go_together_is_named(given, message):
    with pytest.raises(ValueError, match=message):
        PredictOptions(images="photos", output_dir="out", **given)
