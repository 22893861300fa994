import cv2
import numpy as np
import pytest
import tensorflow as tf

from deeplab.datasets import remove_gt_colormap
from deeplab.datasets.conftest import png
from deeplab.testing import golden


def _run(run_script, source, target):
    run_script(remove_gt_colormap, f"--original_gt_folder={source}", f"--output_dir={target}")


def test_pixels_are_those_of_the_official_script(run_script, tmp_path):
    folder = golden.DATA / "misc" / "tfrecords_voc"
    _run(run_script, folder / "SegmentationClass", tmp_path / "raw")
    official = sorted((folder / "SegmentationClassRaw").iterdir())
    assert [path.name for path in sorted((tmp_path / "raw").iterdir())] == [
        path.name for path in official
    ]
    for path in official:
        ours = cv2.imread(str(tmp_path / "raw" / path.name), cv2.IMREAD_UNCHANGED)
        assert ours.ndim == 2
        np.testing.assert_array_equal(ours, cv2.imread(str(path), cv2.IMREAD_UNCHANGED))


def test_color_images_are_refused(run_script, tmp_path):
    pixels = np.zeros((3, 4, 3), int)
    pixels[0, 0, 0] = 128
    (tmp_path / "rgb.png").write_bytes(png(pixels, 8, 2))
    with pytest.raises(ValueError, match=r"label .*rgb.png is a color image.*build_custom_data"):
        _run(run_script, tmp_path, tmp_path / "raw")


def test_no_label_is_replaced(run_script, tmp_path):
    labels, raw = tmp_path / "labels", tmp_path / "raw"
    palette = png(np.array([[0, 1]]), 8, 3, bytes(range(6)))
    for folder in (labels, raw):
        folder.mkdir()
    (labels / "a.png").write_bytes(palette)
    (raw / "a.png").symlink_to(labels / "a.png")
    for folder in (labels, raw):
        with pytest.raises(ValueError, match=r"--output_dir: .*a.png would replace .*labels/a.png"):
            _run(run_script, labels, folder)
    assert (labels / "a.png").read_bytes() == palette


def test_masks_in_the_alpha_channel_are_reported(run_script, tmp_path, caplog):
    mask = np.dstack([np.zeros((2, 3, 3), int), np.arange(6).reshape(2, 3)])
    (tmp_path / "a.png").write_bytes(png(mask, 8, 6))
    (tmp_path / "b.png").write_bytes(png(np.zeros((2, 3), int)))
    _run(run_script, tmp_path, tmp_path / "raw")
    assert "every pixel of 1 label has one value, such as in that of" in caplog.text
    assert "a.png, but their alpha channel varies" in caplog.text


def test_an_empty_folder_is_an_error(run_script, tmp_path):
    with pytest.raises(ValueError, match=r"no file \*.png in .*--original_gt_folder"):
        _run(run_script, tmp_path, tmp_path / "raw")


def test_labels_may_go_to_another_file_system(run_script, tmp_path):
    label = png(np.array([[0, 1], [2, 255]]))
    (tmp_path / "a.png").write_bytes(label)
    _run(run_script, tmp_path, "ram://remove_gt_colormap_test")
    assert tf.io.gfile.GFile("ram://remove_gt_colormap_test/a.png", "rb").read() == label
