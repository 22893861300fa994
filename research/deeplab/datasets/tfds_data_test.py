import io
import sys

import cv2
import numpy as np
import pytest

from deeplab.datasets import build_tfds_data, descriptors
from deeplab.datasets.conftest import jpeg, png, read_records

_LABEL = np.array([[0, 1, 2, 0], [1, 1, 2, 3]])


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """The folder of a small dataset of two splits, which the library knows by name."""
    tfds = pytest.importorskip("tensorflow_datasets", reason="needs the extra [tfds]")

    class DeeplabTiny(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(encoding_format="jpeg"),
                "segmentation_mask": tfds.features.Image(shape=(None, None, 1)),
                "named": tfds.features.LabeledImage(
                    labels=["sky", "tree", "road", "void"], shape=(None, None, 1)
                ),
                "file_name": tfds.features.Text(),
                "found": tfds.features.Tensor(shape=(2, 4), dtype=np.bool_),
                "group": {"mask": tfds.features.Image(shape=(None, None, 1))},
                "number": tfds.features.Scalar(np.int32),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            del dl_manager
            return {"train": self._examples(3), "test": self._examples(1)}

        def _examples(self, count):
            for index in range(count):
                yield (
                    index,
                    {
                        "image": io.BytesIO(jpeg(2, 4, seed=index)),
                        "segmentation_mask": io.BytesIO(png(_LABEL)),
                        "named": io.BytesIO(png(_LABEL)),
                        "file_name": f"image {index}.jpg",
                        "found": _LABEL > 0,
                        "group": {"mask": io.BytesIO(png(_LABEL))},
                        "number": index,
                    },
                )

        def _generate_examples(self):
            raise NotImplementedError

    folder = tmp_path_factory.mktemp("tfds")
    DeeplabTiny(data_dir=folder).download_and_prepare()
    return folder


@pytest.fixture
def convert(run_script, data_dir, tmp_path):
    def convert(*arguments, name="deeplab_tiny"):
        run_script(
            build_tfds_data,
            f"--name={name}",
            f"--data_dir={data_dir}",
            f"--output_dir={tmp_path}",
            "--num_shards=1",
            *arguments,
        )
        return descriptors.load(f"{tmp_path}/dataset.json")

    return convert


def _records(folder, split):
    return list(read_records(folder / f"{split}-00000-of-00001.tfrecord"))


def _labels(record):
    data = record["image/segmentation/class/encoded"][0]
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def test_records_have_the_stored_images_and_the_names_of_the_dataset(convert, tmp_path):
    descriptor = convert("--label_feature=named", "--split=train", "--split=val=test")
    assert descriptor == descriptors.DatasetDescriptor(
        name="deeplab_tiny",
        num_classes=4,
        ignore_label=255,
        splits_to_sizes={"train": 3, "val": 1},
        class_names=("sky", "tree", "road", "void"),
    )
    records = _records(tmp_path, "train")
    found = {record["image/filename"][0]: record["image/encoded"][0] for record in records}
    assert found == {f"image {index}".encode(): jpeg(2, 4, seed=index) for index in range(3)}
    np.testing.assert_array_equal(_labels(records[0]), _LABEL)


@pytest.mark.slow
def test_a_pipeline_writes_the_same_records(convert, tmp_path):
    pytest.importorskip("apache_beam", reason="needs the extra [beam]")
    arguments = ("--label_feature=named", "--split=all=train[1:]+test", "--num_shards=2")
    convert(*arguments)
    beam = ("--runner=beam", "--beam_options=--runner=FnApiRunner")
    convert(*arguments, f"--output_dir={tmp_path}/beam", *beam)
    for path in (tmp_path / "beam").iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()
    names = [
        record["image/filename"][0]
        for number in (0, 1)
        for record in read_records(tmp_path / f"beam/all-0000{number}-of-00002.tfrecord")
    ]
    assert len(names) == 3


def test_masks_of_two_classes_may_be_bools(convert, tmp_path):
    convert("--label_feature=found", "--num_classes=2")
    np.testing.assert_array_equal(_labels(_records(tmp_path, "train")[0]), _LABEL > 0)


def test_labels_are_replaced(convert, tmp_path):
    arguments = ("--label_map=0:1,1:0,3:7", "--ignore_label=7")
    with pytest.raises(ValueError, match="or --label_map changes them: set --class_names or"):
        convert("--label_feature=named", *arguments)
    assert convert(*arguments, "--class_names=tree, sky,road").class_names[1] == "sky"
    expected = np.array([1, 0, 2, 7])[_LABEL]
    np.testing.assert_array_equal(_labels(_records(tmp_path, "train")[0]), expected)
    # A class that is ignored leaves the names of the others.
    descriptor = convert("--label_feature=named", "--label_map=3:255")
    assert descriptor.class_names == ("sky", "tree", "road", "void")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--label_feature=mask",), r"no feature 'mask' \(--label_feature\); it has \['file_name'"),
        (("--num_classes=4", "--split=val"), r"no split 'val' \(--split\); it has \['test', 'tr"),
        (("--num_classes=4", "--split=="), "--split is '='; it takes <split> or <name>=<split>"),
        (("--num_classes=4", "--split=a=train", "--split=a=test"), "there is another split a"),
        ((), "does not name the classes of segmentation_mask"),
        (
            ("--num_classes=2", "--label_feature=group"),
            r"the label is a group of features, \['mask'\]; it must be an image",
        ),
        (("--num_classes=2", "--label_feature=number"), "the label is of the type int"),
        (("--num_classes=2", "--image_feature=group"), "the image is a group of features"),
        (("--num_classes=2",), r"split train, example 0 \(image \d\): the label has values that"),
    ],
)
def test_what_is_not_there_is_named(convert, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        convert(*arguments)
    assert not list(tmp_path.glob("*.tfrecord"))


def test_an_unknown_dataset_is_named(convert):
    with pytest.raises(ValueError, match=r"no dataset 'deeplab_none' \(--name\)"):
        convert(name="deeplab_none")


@pytest.mark.parametrize("name", ["deeplab_tiny:9.9.9", "deeplab_tiny/none"])
def test_an_unknown_version_or_configuration_is_named(convert, name):
    with pytest.raises(ValueError, match=f"--name={name}: ") as caught:
        convert("--num_classes=4", name=name)
    assert "\n" not in str(caught.value)


def test_without_the_library_the_extra_is_named(run_script, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ValueError, match=r"cannot be imported .*: pip install 'deeplab\[tfds\]'"):
        run_script(build_tfds_data, "--name=x", f"--output_dir={tmp_path}")
