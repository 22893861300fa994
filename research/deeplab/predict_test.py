"""The prediction script: from an export and images to pictures."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab import predict
from deeplab.export import prediction
from deeplab.testing import tiny

NAMES = [
    f"{stem}_{title}.png" for stem in "ab" for title in ("labels", "overlay", "panel", "prediction")
]


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
    flags = (f"--images={tmp_path / 'images'}", f"--output_dir={tmp_path / 'out'}")
    tiny.run(predict, f"--export_path={export}", *flags, *more)


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
        (["--export_path=nowhere"], "--export_path=nowhere is no SavedModel"),
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
    assert prediction.summary(labels, tiny.DATASET) == "ground 89.8%, star 10.0%"
