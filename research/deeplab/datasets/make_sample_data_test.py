import cv2
import numpy as np
import pytest
import tensorflow as tf

from deeplab.datasets import build_voc2012_data, descriptors, label_files, make_sample_data
from deeplab.datasets.conftest import read_records
from deeplab.utils import get_dataset_colormap


def _files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def make(run_script, tmp_path):
    """Draws a few images into a folder of that name."""

    def run(name, *more):
        folder = tmp_path / name
        run_script(
            make_sample_data, f"--output_dir={folder}", "--num_train=6", "--num_val=2", *more
        )
        return folder

    return run


def test_the_same_seed_gives_the_same_files_and_another_one_others(make):
    one, same, other = make("one"), make("same"), make("other", "--seed=2")
    assert _files(one) == _files(same)
    assert _files(one).keys() == _files(other).keys()
    assert _files(one) != _files(other)


def test_more_images_leave_the_first_ones_as_they_are(make):
    few, more = make("few"), make("more", "--num_train=9")
    name = "JPEGImages/sample_000005.jpg"
    assert _files(few)[name] == _files(more)[name]


def test_it_has_the_layout_of_voc_and_converts(make, run_script, tmp_path):
    folder = make("sample")
    run_script(
        build_voc2012_data,
        f"--image_folder={folder}/JPEGImages",
        f"--semantic_segmentation_folder={folder}/SegmentationClass",
        f"--list_folder={folder}/ImageSets/Segmentation",
        "--image_format=jpg",
        f"--dataset={folder}/sample.json",
        f"--output_dir={tmp_path}/records",
    )
    descriptor = descriptors.load(f"{folder}/sample.json")
    for split, size in descriptor.splits_to_sizes.items():
        paths = (tmp_path / "records").glob(f"{split}-*")
        assert sum(len(list(read_records(path))) for path in paths) == size
    assert descriptor.splits_to_sizes == {"train": 6, "val": 2, "trainval": 8}


def test_labels_have_the_palette_of_voc_and_a_border_around_objects(make):
    path = make("sample") / "SegmentationClass" / "sample_000000.png"
    indices = label_files.read_indices(path.read_bytes())
    palette = get_dataset_colormap.create_label_colormap("pascal")
    np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], palette[indices])
    # Whoever steps from one class to another crosses the border.
    for first, second in ((indices[:-1], indices[1:]), (indices[:, :-1], indices[:, 1:])):
        assert ((first == second) | (first == 255) | (second == 255)).all()


def test_every_class_is_seen_and_sizes_differ():
    counts = np.zeros(256, int)
    sizes = set()
    for index in range(40):
        image, label = make_sample_data.draw(np.random.default_rng(index))
        assert image.shape == (*label.shape, 3)
        assert image.dtype == label.dtype == np.uint8
        counts += np.bincount(label.ravel(), minlength=256)
        sizes.add(label.shape)
    shares = counts / counts.sum()
    num_classes = len(make_sample_data.CLASS_NAMES)
    assert set(np.flatnonzero(counts)) == {*range(num_classes), 255}
    assert shares[1:num_classes].min() > 0.02
    assert 0.01 < shares[255] < 0.1
    assert len(sizes) > 20


@pytest.mark.slow
def test_the_color_hardly_tells_the_class():
    colors, classes = [], []
    for index in range(100):
        image, label = make_sample_data.draw(np.random.default_rng(index))
        for class_id in set(np.unique(label)) - {0, 255}:
            colors.append(image[label == class_id].mean(axis=0))
            classes.append(class_id)
    colors, classes = np.array(colors), np.array(classes)
    means = np.array([colors[classes == class_id].mean(axis=0) for class_id in range(1, 6)])
    nearest = 1 + np.linalg.norm(colors[:, np.newaxis] - means, axis=2).argmin(axis=1)
    # One guess in five is right by chance.
    assert (nearest == classes).mean() < 0.4


def test_other_file_systems_hold_the_same_files(make, run_script):
    remote = "ram://make_sample_data_test"
    run_script(make_sample_data, f"--output_dir={remote}", "--num_train=6", "--num_val=2")
    local = _files(make("local"))
    for name, data in local.items():
        assert tf.io.gfile.GFile(f"{remote}/{name}", "rb").read() == data
