import json
import os
import subprocess
import sys

import numpy as np
import pytest

from deeplab.datasets import descriptors
from deeplab.testing import golden
from deeplab.utils import get_dataset_colormap
from deeplab.visualization import colors

_MINIMAL = {"num_classes": 3, "ignore_label": 255}


def _write(path, **fields):
    path.write_text(json.dumps(_MINIMAL | fields))
    return str(path)


@pytest.mark.parametrize("name", descriptors.NAMES)
def test_built_in_numbers_are_official(name):
    official, _ = golden.misc("datasets_and_colormaps")
    ours = descriptors.load(name)
    assert ours.name == name
    assert ours.num_classes == official[name]["num_classes"]
    assert ours.ignore_label == official[name]["ignore_label"]
    assert ours.splits_to_sizes == official[name]["splits_to_sizes"]


def test_cityscapes_eval_ids_are_official():
    official, _ = golden.misc("datasets_and_colormaps")
    expected = tuple(official["cityscapes_train_id_to_eval_id"])
    assert descriptors.load("cityscapes").train_id_to_eval_id == expected


def test_voc_names_are_in_the_order_of_its_labels():
    names = descriptors.load("pascal_voc_seg").class_names
    assert (names[0], names[6], names[15], names[20]) == (
        "background",
        "bus",
        "person",
        "tvmonitor",
    )


@pytest.mark.parametrize("name", descriptors.NAMES)
def test_json_round_trip(name, tmp_path):
    path = tmp_path / "copy.json"
    descriptors.load(name).save(path)
    assert descriptors.load(str(path)) == descriptors.load(name)


def test_minimal_file_takes_its_name_from_the_path_which_is_relative(tmp_path, monkeypatch):
    _write(tmp_path / "roofs.json")
    monkeypatch.chdir(tmp_path)
    loaded = descriptors.load("roofs.json")
    assert loaded == descriptors.DatasetDescriptor("roofs", 3, 255)
    assert loaded.splits_to_sizes == {}


def test_lists_become_tuples_and_the_descriptor_is_hashable(tmp_path):
    loaded = descriptors.load(
        _write(tmp_path / "a.json", class_names=["a", "b", "c"], colormap=[[0, 0, 0]] * 3)
    )
    assert loaded.class_names == ("a", "b", "c")
    assert loaded.colormap == ((0, 0, 0),) * 3
    assert hash(loaded) == hash(descriptors.load(str(tmp_path / "a.json")))


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="pascal_voc_seg, cityscapes, ade20k.*json"):
        descriptors.load("pascal")


def test_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match="nowhere.json"):
        descriptors.load("nowhere.json")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_classes": "3"}, "num_classes is '3'.*integer from 2 to 256"),
        ({"num_classes": True}, "num_classes is True"),
        ({"num_classes": 1}, "num_classes is 1"),
        ({"num_classes": 300}, "num_classes is 300"),
        ({"ignore_label": None}, "ignore_label is None"),
        ({"ignore_label": -1}, "ignore_label is -1.*from 0 to 255"),
        ({"name": ""}, "name is ''"),
        ({"splits_to_sizes": ["train"]}, "splits_to_sizes is"),
        ({"splits_to_sizes": {"train": 1.5}}, r"splits_to_sizes\['train'\] is 1.5"),
        ({"class_names": "abc"}, "class_names is 'abc'"),
        ({"class_names": ["a", "b"]}, "class_names has 2 entries for 3 classes"),
        ({"class_names": ["a", "b", "c", "d"]}, "class_names has 4 entries"),
        ({"class_names": ["a", "b", 3]}, r"class_names\[2\] is 3"),
        ({"class_names": ["a", "b", "c\n"]}, r"class_names\[2\] is .*; it must be one line"),
        ({"colormap": [[0, 0, 0]]}, "colormap has 1 entry for"),
        ({"colormap": [[0, 0, 0], [0, 0], [0, 0, 0]]}, r"colormap\[1\] is \[0, 0\]"),
        ({"colormap": [[0, 0, 0], [0, 0, 256], [0, 0, 0]]}, r"colormap\[1\] is 256"),
        ({"train_id_to_eval_id": [1, 2, 999]}, r"train_id_to_eval_id\[2\] is 999"),
        ({"classes": 3}, "unknown field 'classes'"),
    ],
)
def test_malformed_field_is_named_with_the_file(tmp_path, fields, message):
    path = _write(tmp_path / "bad.json", **fields)
    with pytest.raises(ValueError, match=f"bad.json.*{message}") as caught:
        descriptors.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "bad.json is not JSON"),
        ("[1]", "bad.json holds a list"),
        ('{"ignore_label": 255}', "bad.json has no field 'num_classes'"),
        ('{"num_classes": 2}', "bad.json has no field 'ignore_label'"),
    ],
)
def test_malformed_file_is_named(tmp_path, text, message):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        descriptors.load(str(tmp_path / "bad.json"))


def test_cityscapes_splits_have_two_names():
    cityscapes = descriptors.load("cityscapes")
    assert cityscapes.split_names("train_fine") == ("train_fine", "train")
    assert cityscapes.split_names("train") == ("train", "train_fine")
    assert cityscapes.split_names("train_coarse") == ("train_coarse",)
    assert cityscapes.split_size("val") == cityscapes.split_size("val_fine") == 500


def test_other_splits_have_one_name_and_need_not_be_listed():
    voc = descriptors.load("pascal_voc_seg")
    assert voc.split_names("train") == ("train",)
    assert voc.split_names("my_test") == ("my_test",)
    assert voc.split_size("my_test") is None


def test_labels_are_the_classes_and_the_ignore_label():
    voc = descriptors.load("pascal_voc_seg")
    assert [value for value in range(256) if voc.is_label(value)] == [*range(21), 255]


def test_import_needs_no_tensorflow():
    code = "import sys, deeplab.datasets.descriptors; sys.exit('tensorflow' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


def _dataset(**fields):
    defaults = {"name": "shapes", "num_classes": 3, "ignore_label": 255}
    return descriptors.DatasetDescriptor(**{**defaults, **fields})


class TestLabelColors:
    def test_own_colors(self):
        own = ((1, 2, 3), (4, 5, 6), (255, 0, 7))
        colormap = _dataset(colormap=own, name="cityscapes").label_colors()
        np.testing.assert_array_equal(colormap, own)

    @pytest.mark.parametrize(
        ("dataset", "name"),
        [("pascal_voc_seg", "pascal"), ("cityscapes", "cityscapes"), ("ade20k", "ade20k")],
    )
    def test_official_colors(self, dataset, name):
        np.testing.assert_array_equal(
            descriptors.load(dataset).label_colors(),
            get_dataset_colormap.create_label_colormap(name),
        )

    def test_every_built_in_dataset_has_a_color_for_every_class(self):
        for name in descriptors.NAMES:
            descriptor = descriptors.load(name)
            assert len(descriptor.label_colors()) >= descriptor.num_classes

    def test_generated(self):
        np.testing.assert_array_equal(_dataset().label_colors(), colors.distinct_colors(3))
        names = ("Background", "cat", "dog")
        np.testing.assert_array_equal(
            _dataset(class_names=names).label_colors(),
            colors.distinct_colors(3, background=True),
        )
