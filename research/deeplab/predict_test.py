"""The prediction script: from a network, images and videos to pictures and facts."""

import json
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
import tensorflow as tf

from deeplab import predict
from deeplab.datasets import conftest
from deeplab.serving import conftest as servers
from deeplab.serving import outputs, video
from deeplab.testing import tiny

NAMES = [
    f"{stem}_{title}.png" for stem in "ab" for title in ("labels", "overlay", "panel", "prediction")
]


# Fixtures, of which the second one is used by itself.
server, waits = servers.server, servers.waits


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    """A stand-in for a network: the class of a pixel is its red channel modulo 4."""

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, "ImageTensor")])
    def serve(images):
        labels = tf.cast(images[..., 0] % 4, tf.int32)
        return {"SemanticPredictions": labels, "SemanticProbabilities": tf.one_hot(labels, 4)}

    path = tmp_path_factory.mktemp("exports") / "1"
    tf.saved_model.save(tf.Module(), str(path), signatures=serve)
    return path


@pytest.fixture
def images(tmp_path):
    """Two images of different sizes."""
    folder = tmp_path / "images"
    folder.mkdir()
    pixels = {"a": tiny.picture(20, 30), "b": tiny.picture(41, 17)}
    for name, image in pixels.items():
        (folder / f"{name}.png").write_bytes(tiny.png(image))
    return pixels


def run(export, tmp_path, *more):
    run_with(f"--export_path={export}", tmp_path, *more)


def run_with(network, tmp_path, *more):
    flags = (f"--images={tmp_path / 'images'}", f"--output_dir={tmp_path / 'out'}")
    tiny.run(predict, network, *flags, *more)


def test_every_image_has_its_pictures(export, images, tmp_path, caplog):
    caplog.set_level("INFO", logger="absl")
    (tmp_path / "tiny.json").write_text(tiny.DATASET.to_json())
    run(export, tmp_path, f"--dataset={tmp_path / 'tiny.json'}")
    assert tiny.files(tmp_path / "out") == NAMES
    for name, image in images.items():
        labels = image[..., 0] % 4
        read = {
            title: tiny.read_png(tmp_path / "out" / f"{name}_{title}.png")
            for title in ("labels", "prediction", "overlay")
        }
        np.testing.assert_array_equal(read["labels"], labels)
        colors = tiny.DATASET.label_colors()[labels]
        np.testing.assert_array_equal(read["prediction"], colors)
        assert read["overlay"].shape == image.shape
    assert "star" in caplog.text


def test_classes_without_names_have_numbers(export, images, tmp_path, caplog):
    caplog.set_level("INFO", logger="absl")
    run(export, tmp_path)
    assert tiny.files(tmp_path / "out") == NAMES
    share = np.mean(images["b"][..., 0] % 4 == 3)
    assert f"3 {share:.1%}" in caplog.text


def test_a_single_class_is_said(export, tmp_path, caplog):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(tiny.png(np.full((9, 9, 3), 6, np.uint8)))
    run(export, tmp_path)
    assert "every pixel is predicted as class 2" in caplog.text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset=cityscapes"], "--dataset=cityscapes has 19 classes, the network in .* 4"),
        (["--dataset=camvid"], "unknown dataset 'camvid'"),
        (["--images=nowhere/*.jpg"], "--images: there is no file nowhere"),
        (["--window=9,9"], "--window needs the probabilities of --export_path=.*, which has none"),
        (["--window_overlap=0.5"], "--window_overlap has no effect without --window"),
        (["--export_path=nowhere"], "--export_path=nowhere is not there"),
        (["--outputs=labels,maps"], "--outputs is .*; it must be a list of some of labels, pred"),
        (["--server=localhost:8500"], "--export_path=.* and --server=localhost:8500 both name"),
        (["--export_path="], "give --export_path .* or --server"),
        (["--model_name=other"], "--model_name=other has no effect without --server"),
    ],
)
def test_a_wrong_flag_is_named(export, images, tmp_path, flags, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run(export, tmp_path, *flags)
    assert not (tmp_path / "out").exists()


def test_summary_leaves_out_what_is_hardly_there():
    labels = np.zeros((20, 20), np.int32)
    labels[:2] = 3
    labels[5, 5] = 1
    assert (
        outputs.summary(outputs.class_shares(labels, 4), tiny.DATASET) == "ground 89.8%, star 10.0%"
    )


def test_classes_that_the_dataset_does_not_have_are_named():
    with pytest.raises(ValueError, match="predicts class 4, but the dataset has 4 classes: give"):
        outputs.class_shares(np.array([[0, 4]]), 4)
    with pytest.raises(ValueError, match="predicts class -1: it is damaged"):
        outputs.class_shares(np.array([[0, -1]]), 4)


def test_a_broken_image_is_named_and_the_others_are_done(export, images, tmp_path, caplog):
    folder = tmp_path / "images"
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    large = bytearray(tiny.png(tiny.picture(4, 4)))
    large[16:24] = struct.pack(">II", 60000, 60000)
    large[29:33] = struct.pack(">I", zlib.crc32(large[12:29]))
    (folder / "large.png").write_bytes(large)
    for name in ("._a.png", ".DS_Store"):
        (folder / name).write_bytes(b"no image")
    message = r"2 of 4 images could not be read \(the others are done\): image .*/broken.jpg is a"
    with pytest.raises(ValueError, match=message):
        run(export, tmp_path)
    assert tiny.files(tmp_path / "out") == NAMES
    assert "large.png is too large: 60000x60000 pixels" in caplog.text
    assert "at most 178956970 pixels" in caplog.text


@pytest.mark.parametrize("size", [(1, 1), (4, 300)])
def test_tiny_images_are_predicted(export, tmp_path, size):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(tiny.png(tiny.picture(*size)))
    run(export, tmp_path)
    assert tiny.read_png(tmp_path / "out" / "a_labels.png").shape == size


def test_equal_names_keep_their_folders(export, tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").write_bytes(tiny.png(tiny.picture(5, 6)))
    run(export, tmp_path, f"--images={tmp_path}/*/a.png")
    for folder in ("x", "y"):
        assert tiny.files(tmp_path / "out" / folder) == NAMES[:4]


def test_images_are_never_replaced(export, images, tmp_path):
    folder = tmp_path / "images"
    (folder / "a_labels.png").write_bytes((folder / "a.png").read_bytes())
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    message = "--output_dir: .*a_labels.png would replace the image .*a_labels.png"
    with pytest.raises(ValueError, match=message):
        run(export, tmp_path, f"--output_dir={folder}")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp", ".tiff"])
def test_photographs_are_shown_upright_unless_stored_pixels_are_asked_for(
    export, tmp_path, extension
):
    (tmp_path / "images").mkdir()
    picture = cv2.resize(tiny.picture(4, 5), (30, 20))
    parameters = [cv2.IMWRITE_WEBP_QUALITY, 101] if extension == ".webp" else []
    data = cv2.imencode(extension, picture, parameters)[1].tobytes()
    (tmp_path / "images" / "a").with_suffix(extension).write_bytes(
        conftest.with_orientation(data, extension, 6)
    )
    run(export, tmp_path)
    turned = tiny.read_png(tmp_path / "out" / "a_labels.png")
    run(export, tmp_path, "--noexif_orientation")
    stored = tiny.read_png(tmp_path / "out" / "a_labels.png")
    assert stored.shape == (20, 30)
    np.testing.assert_array_equal(turned, np.rot90(stored, -1))


def test_a_broken_image_may_have_a_name_that_is_no_text(export, images, tmp_path):
    path = os.fsencode(tmp_path / "images") + b"/\xff.jpg"
    with open(path, "wb") as file:
        file.write(b"\xff\xd8\xff broken")
    with pytest.raises(ValueError, match="1 of 3 images could not be read"):
        run(export, tmp_path, "--outputs=json")
    facts = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert "images/\\xff.jpg is a broken" in facts["images"][-1]["error"]


def test_outputs_are_chosen(export, images, tmp_path):
    (tmp_path / "images" / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    (tmp_path / "tiny.json").write_text(tiny.DATASET.to_json())
    with pytest.raises(ValueError, match="1 of 3 images could not be read"):
        run(export, tmp_path, "--outputs=overlay,json", f"--dataset={tmp_path / 'tiny.json'}")
    assert tiny.files(tmp_path / "out") == ["a_overlay.png", "b_overlay.png", "predictions.json"]
    text = (tmp_path / "out" / "predictions.json").read_text()
    # An image in a line.
    assert [line.count("path") for line in text.splitlines() if "path" in line] == [1, 1, 1]
    facts = json.loads(text)
    assert facts["network"] == str(export)
    assert facts["dataset"] == "tiny"
    first, second, broken = facts["images"]
    assert first["path"] == str(tmp_path / "images" / "a.png")
    assert (second["width"], second["height"]) == (17, 41)
    assert broken["error"].startswith(f"image {tmp_path / 'images' / 'broken.jpg'} is a")
    labels = images["a"][..., 0] % 4
    shares = {each["label"]: each["share"] for each in first["classes"]}
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    for label, share in shares.items():
        assert share == pytest.approx(np.mean(labels == label), abs=1e-6)
    assert {each["name"] for each in first["classes"]} <= set(tiny.DATASET.class_names)


@pytest.fixture
def clip(tmp_path):
    """Eight frames of flat colors."""
    folder = tmp_path / "images"
    folder.mkdir()
    frames = [np.full((48, 64, 3), 30 * index, np.uint8) for index in range(8)]
    return video.write(str(folder / "clip"), frames, 10)


@pytest.mark.parametrize("devices", [(), ("--num_clones=2", "--clone_on_cpu")])
def test_a_video_becomes_a_video(export, clip, tmp_path, devices, monkeypatch, caplog):
    caplog.set_level("INFO", logger="absl")
    if devices:
        # TensorFlow has begun, so that its CPU cannot be divided any more.
        monkeypatch.setattr(
            "deeplab.sharing.devices.choose", lambda options: ["CPU:0"] * options.num_clones
        )
    run(export, tmp_path, "--outputs=overlay,json", *devices)
    assert tiny.files(tmp_path / "out") == ["clip_overlay.mp4", "predictions.json"]
    with video.reading(str(tmp_path / "out" / "clip_overlay.mp4")) as (facts, frames):
        shown = list(frames)
    assert facts == video.VideoFacts(10, 8)
    assert [frame.shape for frame in shown] == [(48, 64, 3)] * 8
    (found,) = json.loads((tmp_path / "out" / "predictions.json").read_text())["images"]
    assert (found["frames"], found["frames_per_second"]) == (8, 10)
    with video.reading(clip) as (_, frames):
        labels = np.stack(list(frames))[..., 0] % 4
    for each in found["classes"]:
        assert each["share"] == pytest.approx(np.mean(labels == each["label"]), abs=1e-6)
    assert "predicted 8 frames in 0:00:0" in caplog.text


def test_a_broken_video_is_named_and_the_others_are_done(export, clip, tmp_path):
    (tmp_path / "images" / "broken.mov").write_bytes(b"no video")
    with pytest.raises(ValueError, match="1 of 2 images could not be read .*: video .*broken.mov"):
        run(export, tmp_path)
    assert tiny.files(tmp_path / "out") == ["clip_overlay.mp4"]
    with pytest.raises(ValueError, match="--outputs=labels writes nothing for the video .*: add"):
        run(export, tmp_path, "--outputs=labels")


def test_a_server_predicts_images_and_videos(server, clip, tmp_path, monkeypatch):
    picture = tiny.picture(20, 30)
    (tmp_path / "images" / "a.png").write_bytes(tiny.png(picture))
    network = f"--server={server.address}"
    run_with(network, tmp_path, "--outputs=labels,overlay")
    assert tiny.files(tmp_path / "out") == ["a_labels.png", "a_overlay.png", "clip_overlay.mp4"]
    labels = tiny.read_png(tmp_path / "out" / "a_labels.png")
    np.testing.assert_array_equal(labels, picture[..., 0] % 4)
    server.largest = 1000
    with pytest.raises(ValueError, match="1 of 2 images could not be predicted .*: video .*clip"):
        run_with(network, tmp_path)
    server.signatures.pop("serving_default")
    with pytest.raises(ValueError, match="does not say how many classes .*: give --dataset"):
        run_with(network, tmp_path)
