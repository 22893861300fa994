"""Conversions of annotations by the script, with masks that are drawn here independently."""

import json

import cv2
import numpy as np
import pytest

from deeplab.datasets import build_custom_data, descriptors
from deeplab.datasets.conftest import jpeg, png, read_records, with_orientation

_HEIGHT, _WIDTH = 20, 30


def _decode(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


class _Data:
    """A folder of images, and what the script makes of it."""

    def __init__(self, folder, run_script):
        self.folder = folder
        self._run_script = run_script

    def write(self, name, content):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())

    def convert(self, *arguments, images=True):
        arguments += (f"--image_folder={self.folder}/images",) * images
        self._run_script(
            build_custom_data, f"--output_dir={self.folder}/out", "--num_shards=1", *arguments
        )
        return descriptors.load(f"{self.folder}/out/dataset.json")

    def labels(self, split="all"):
        """The label of each record, by name."""
        records = read_records(self.folder / "out" / f"{split}-00000-of-00001.tfrecord")
        key = "image/segmentation/class/encoded"
        return {
            record["image/filename"][0].decode(): _decode(record[key][0]) if key in record else None
            for record in records
        }


@pytest.fixture
def data(tmp_path, run_script):
    """Images a and b of 30x20 pixels."""
    data = _Data(tmp_path, run_script)
    for name in ("a", "b"):
        data.write(f"images/{name}.jpg", jpeg(_HEIGHT, _WIDTH))
    return data


def _box(left, top, right, bottom):
    return [left, top, right, top, right, bottom, left, bottom]


def _coco(*annotations):
    names = ("a.jpg", "b.jpg")
    return {
        "images": [
            {"id": i, "file_name": name, "height": _HEIGHT, "width": _WIDTH}
            for i, name in enumerate(names)
        ],
        "annotations": [
            {"id": i, "image_id": 0, "category_id": category, "segmentation": segment, **more}
            for i, (category, segment, more) in enumerate(annotations)
        ],
        "categories": [{"id": 5, "name": "roof"}, {"id": 2, "name": "car"}],
    }


def _runs(mask):
    """Uncompressed lengths of runs, column by column."""
    flat = np.concatenate([[0], mask.T.ravel(), [1 - mask.T.ravel()[-1]]])
    ends = np.flatnonzero(np.diff(flat))
    return {"size": list(mask.shape), "counts": np.diff([0, *ends.tolist()]).tolist()}


def test_coco_with_holes_overlaps_and_a_crowd(data):
    ring = np.zeros((_HEIGHT, _WIDTH), np.uint8)
    ring[2:18, 4:20] = 1
    ring[6:12, 8:14] = 0
    # Beyond the image, with a hole by a bridge, and smaller than the ring on which it lies.
    frame = [10, 10, 40, 10, 40, 16, 10, 16, 10, 10, 22, 12, 22, 14, 26, 14, 26, 12, 22, 12]
    document = _coco(
        (2, [frame], {}),
        (5, _runs(ring), {}),
        (2, [_box(0, 0, 3, 2), _box(5, 0, 7, 1)], {}),
        (5, _runs(np.eye(_HEIGHT, _WIDTH, dtype=np.uint8)), {"iscrowd": 1}),
    )
    data.write("instances.json", document)
    descriptor = data.convert(
        f"--annotations={data.folder}/instances.json",
        "--split=all=*",
        f"--write_label_images={data.folder}/seen",
    )
    assert descriptor.class_names == ("background", "roof", "car")
    assert descriptor.splits_to_sizes == {"all": 2}
    expected = np.zeros((_HEIGHT, _WIDTH), np.uint8)
    expected[ring == 1] = 1
    expected[10:16, 10:] = 2
    expected[12:14, 22:26] = 0
    expected[np.arange(20), np.arange(20)] = 255
    expected[:2, :3] = 2
    expected[0, 5:7] = 2
    labels = data.labels()
    np.testing.assert_array_equal(labels["a"], expected)
    assert not labels["b"].any()
    # A picture of the label, which is a label file as well.
    seen = cv2.imread(str(data.folder / "seen/a.png"))[..., ::-1]
    colors = descriptor.label_colors()
    np.testing.assert_array_equal(seen[11, 12], colors[2])
    np.testing.assert_array_equal(seen[3, 3], [224, 224, 192])


def test_splits_may_have_files_of_their_own(data):
    for split, name, right in (("train", "a", 9), ("val", "b", 4)):
        document = _coco((5, [_box(0, 0, right, 9)], {}))
        document["images"] = [{**document["images"][0], "file_name": f"{name}.jpg"}]
        data.write(f"{split}.json", document)
        data.convert(f"--annotations={data.folder}/{split}.json", f"--split={split}={name}*")
    sizes = [np.count_nonzero(*data.labels(split).values()) for split in ("train", "val")]
    assert sizes == [81, 36]


def test_pictures_of_labels_replace_no_file_that_is_read(data):
    label = png(np.zeros((_HEIGHT, _WIDTH), int))
    for name in ("labels/a.png", "labels/b.png", "other/a.png"):
        data.write(name, label)
    data.write("other/a.jpg", jpeg(_HEIGHT, _WIDTH))
    (data.folder / "link").symlink_to(data.folder / "labels")

    def refuse(folder, message):
        flags = (f"--label_folder={data.folder}/labels", "--num_classes=2", "--split=all=*")
        with pytest.raises(ValueError, match=message):
            data.convert(*flags, f"--write_label_images={data.folder}/{folder}")
        assert not (data.folder / "out").exists()

    refuse(
        "labels", "--write_label_images: .*/labels/a.png would replace the image .*/labels/a.png"
    )
    refuse("link", "--write_label_images: .*/link/a.png would replace the image .*/labels/a.png")
    refuse("other/a.jpg", "--write_label_images=.*/other/a.jpg cannot be written")
    assert (data.folder / "labels/a.png").read_bytes() == label


@pytest.mark.parametrize(
    "pattern", ["../other/*.jpg", "../other/../other/a.jpg", "{folder}/other/a.j*"]
)
def test_pictures_of_labels_lie_in_their_folder(data, pattern):
    data.write("other/a.jpg", jpeg(_HEIGHT, _WIDTH))
    data.write("other/a.png", png(np.zeros((_HEIGHT, _WIDTH), int)))
    flags = (f"--label_folder={data.folder}/labels", "--num_classes=2")
    with pytest.raises(ValueError, match="--write_label_images: .*other/a.jpg would lie outside"):
        data.convert(
            *flags,
            f"--split=train={pattern.format(folder=data.folder)}",
            f"--write_label_images={data.folder}/seen",
        )
    assert not (data.folder / "out").exists()
    assert not (data.folder / "seen").exists()


def test_names_are_merged_and_left_out_and_the_background_is_no_class(data):
    document = _coco((5, [_box(0, 0, 20, 10)], {}), (2, [_box(5, 5, 10, 8)], {}))
    data.write("c.json", document)
    arguments = (f"--annotations={data.folder}/c.json", "--split=all=a*")
    with pytest.raises(ValueError, match="c.json: --class_map names 'van'"):
        data.convert(*arguments, "--class_map=van:car")
    data.convert(*arguments, "--class_map=car:", "--class_names=roof", "--num_shards=1")
    label = data.labels()["a"]
    assert (label[:10, :20] == 1).all()
    assert np.count_nonzero(label) == 200
    descriptor = data.convert(*arguments, "--background=false", "--class_names=car,roof")
    assert descriptor.class_names == ("car", "roof")
    np.testing.assert_array_equal(np.unique(data.labels()["a"]), [0, 1, 255])


def test_labelme_with_later_shapes_on_top(data):
    def shape(label, *points, kind="polygon"):
        return {"label": label, "points": points, "shape_type": kind, "flags": {}}

    shapes = [
        shape("tree", [0, 0], [12, 12], kind="rectangle"),
        shape("barn", [4, 4], [20, 4], [20, 16], [4, 16]),
        shape("_background_", [6, 6], [10, 6], [10, 10], [6, 10]),
        shape("__ignore__", [0, 0], [2, 2], kind="rectangle"),
    ]
    for name, listed in (("a", shapes), ("b", [])):
        path = f"C:\\photos\\{name}.jpg"
        size = {"imageHeight": _HEIGHT, "imageWidth": _WIDTH}
        data.write(f"json/{name}.json", {"shapes": listed, "imagePath": path, **size})
    descriptor = data.convert(f"--annotations={data.folder}/json", "--split=all=*")
    # In alphabetical order.
    assert descriptor.class_names == ("background", "barn", "tree")
    expected = np.zeros((_HEIGHT, _WIDTH), np.uint8)
    expected[:12, :12] = 2
    expected[4:16, 4:20] = 1
    expected[6:10, 6:10] = 0
    expected[:2, :2] = 255
    labels = data.labels()
    np.testing.assert_array_equal(labels["a"], expected)
    assert not labels["b"].any()
    (data.folder / "json/b.json").unlink()
    message = "1 of the 2 images of all has no label in .*/json: b$"
    with pytest.raises(ValueError, match=message):
        data.convert(f"--annotations={data.folder}/json", "--split=all=*")


def test_cvat_masks_have_the_colors_of_the_label_map(data):
    label_map = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroof:128,0,0::\ncar:0,0,90::"
    data.write("cvat/labelmap.txt", label_map.encode())
    data.write("cvat/ImageSets/Segmentation/train.txt", b"a\n")
    data.write("cvat/ImageSets/Segmentation/val.txt", b"b\n")
    data.write("cvat/ImageSets/Segmentation/Test.txt", b"c\n")
    data.write("images/c.jpg", jpeg(_HEIGHT, _WIDTH))
    expected = np.random.default_rng(0).integers(0, 3, (_HEIGHT, _WIDTH))
    palette = np.array([[0, 0, 0], [128, 0, 0], [0, 0, 90]], np.uint8)
    data.write("cvat/SegmentationClass/a.png", png(expected, 8, 3, palette.tobytes()))
    soft = palette[expected].astype(int)
    soft[0, 0] = [120, 3, 5]
    data.write("cvat/SegmentationClass/b.png", png(soft, 8, 2))
    arguments = (f"--annotations={data.folder}/cvat",)
    with pytest.raises(ValueError, match=r"b.png has colors .*\[120, 3, 5\].*--nearest_color"):
        data.convert(*arguments)
    descriptor = data.convert(*arguments, "--nearest_color=10")
    assert descriptor.class_names == ("background", "roof", "car")
    assert descriptor.colormap == ((0, 0, 0), (128, 0, 0), (0, 0, 90))
    assert data.labels("Test") == {"c": None}
    np.testing.assert_array_equal(data.labels("train")["a"], expected)
    expected[0, 0] = 1
    np.testing.assert_array_equal(data.labels("val")["b"], expected)
    descriptor = data.convert(*arguments, "--nearest_color=10", "--class_map=car:roof")
    assert descriptor.colormap == ((0, 0, 0), (128, 0, 0))
    np.testing.assert_array_equal(data.labels("val")["b"], expected > 0)


def test_label_studio_matches_images_without_prefix(data):
    def task(image, *results):
        size = {"original_width": _WIDTH, "original_height": _HEIGHT}
        results = [{"type": "polygonlabels", "value": value, **size} for value in results]
        return {"data": {"image": image}, "annotations": [{"id": 1, "result": results}]}

    def polygon(label, left, top, right, bottom):
        points = [[left, top], [right, top], [right, bottom], [left, bottom]]
        return {"points": points, "closed": True, "polygonlabels": [label]}

    tasks = [
        task(
            "/data/upload/3/12ab34cd-a.jpg",
            polygon("x", 0, 0, 50, 50),
            polygon("y", 40, 40, 60, 60),
        ),
        task("/data/local-files/?d=set/b.jpg"),
    ]
    data.write("export.json", tasks)
    data.convert(f"--annotations={data.folder}/export.json", "--split=all=*")
    expected = np.zeros((_HEIGHT, _WIDTH), np.uint8)
    expected[:10, :15] = 1
    expected[8:12, 12:18] = 2
    np.testing.assert_array_equal(data.labels()["a"], expected)


def test_yolo_polygons_with_the_smaller_on_top(data):
    data.write("labels/a.txt", b"1 0.1 0.1 0.2 0.1 0.2 0.5 0.1 0.5\n0 0 0 0.5 0 0.5 1 0 1\n")
    arguments = (f"--annotations={data.folder}/labels", "--split=all=*")
    descriptor = data.convert(*arguments, "--class_names=roof,car")
    assert descriptor.class_names == ("background", "roof", "car")
    expected = np.zeros((_HEIGHT, _WIDTH), np.uint8)
    expected[:, :15] = 1
    expected[2:10, 3:6] = 2
    labels = data.labels()
    np.testing.assert_array_equal(labels["a"], expected)
    assert not labels["b"].any()


def test_relative_regions_are_those_of_the_image_as_tools_show_it(data):
    turned = with_orientation(jpeg(_WIDTH, _HEIGHT), ".jpg", 6)
    data.write("images/a.jpg", turned)
    data.write("labels/a.txt", b"0 0 0 0.5 0 0.5 1 0 1\n")
    data.convert(f"--annotations={data.folder}/labels", "--split=all=a*", "--class_names=roof")
    label = data.labels()["a"]
    assert label.shape == (_HEIGHT, _WIDTH)
    assert label[:, :15].all()


def test_ultralytics_masks_are_taken_as_they_are(data):
    data.write("set/images/train/a.jpg", jpeg(_HEIGHT, _WIDTH))
    data.write("set/images/val/b.jpg", jpeg(_HEIGHT, _WIDTH))
    expected = np.full((_HEIGHT, _WIDTH), 1)
    expected[0] = 0
    expected[1] = 255
    for name in ("train/a", "val/b"):
        data.write(f"set/masks/{name}.png", png(expected))
    text = b"path: .\ntrain: images/train\nval: images/val\nmasks_dir: masks\nnames: [road, roof]\n"
    data.write("set/data.yaml", text)
    arguments = (f"--annotations={data.folder}/set/data.yaml",)
    descriptor = data.convert(*arguments, images=False)
    assert descriptor.class_names == ("road", "roof")
    assert descriptor.splits_to_sizes == {"train": 1, "val": 1}
    np.testing.assert_array_equal(data.labels("train")["images/train/a"], expected)
    data.convert(*arguments, "--ignore_label=9", images=False)
    expected[1] = 9
    np.testing.assert_array_equal(data.labels("val")["images/val/b"], expected)


def test_polygons_of_ultralytics_are_divided_anew_if_flags_say_so(data):
    for name in ("a", "b"):
        data.write(f"labels/{name}.txt", b"0 0 0 0.5 0 0.5 1 0 1\n")
    data.write("data.yaml", b"train: images\nval: images\nnames: [roof]\n")
    descriptor = data.convert(
        f"--annotations={data.folder}/data.yaml",
        "--split_fractions=one:0.5,two:0.5",
        images=False,
    )
    assert descriptor.splits_to_sizes == {"one": 1, "two": 1}
    (label,) = data.labels("one").values()
    assert label[:, :15].all() and not label[:, 15:].any()


def test_a_table_names_images_labels_and_splits(data):
    values = np.arange(_HEIGHT * _WIDTH).reshape(_HEIGHT, _WIDTH) % 3
    data.write("masks/1.png", png(values))
    data.write("masks/2.tif", cv2.imencode(".tif", values.astype(np.uint8))[1].tobytes())
    data.write("table.csv", b"image,label,split\na.jpg,masks/1.png,train\nb.jpg,masks/2.tif,val\n")
    arguments = (f"--annotations={data.folder}/table.csv", "--class_names=x,y,z")
    descriptor = data.convert(*arguments)
    assert descriptor.splits_to_sizes == {"train": 1, "val": 1}
    np.testing.assert_array_equal(data.labels("train")["a"], values)
    np.testing.assert_array_equal(data.labels("val")["b"], values)
    for flag in ("--split=val=*", "--split_fractions=train:0.5,val:0.5"):
        with pytest.raises(ValueError, match="has a column of splits, which stands in place of"):
            data.convert(*arguments, flag)


def test_gray_masks_have_a_threshold(data):
    values = np.arange(_HEIGHT * _WIDTH).reshape(_HEIGHT, _WIDTH) % 256
    for name in ("a", "b"):
        data.write(f"labels/{name}.png", png(values))
    arguments = (f"--label_folder={data.folder}/labels", "--split=all=*", "--num_classes=2")
    data.convert(*arguments, "--threshold=127")
    np.testing.assert_array_equal(data.labels()["a"], values > 127)


def test_classes_of_label_files_are_merged_by_name(data):
    values = np.arange(_HEIGHT * _WIDTH).reshape(_HEIGHT, _WIDTH) % 4
    for name in ("a", "b"):
        data.write(f"labels/{name}.png", png(values))
    descriptor = data.convert(
        f"--label_folder={data.folder}/labels",
        "--split=all=*",
        "--class_names=sky,van,car,road",
        "--class_map=van:car,sky:ignore",
    )
    assert descriptor.class_names == ("car", "road")
    np.testing.assert_array_equal(data.labels()["a"], np.array([255, 0, 0, 1])[values])


@pytest.mark.parametrize("annotated", [True, False])
def test_images_are_divided_by_the_classes_in_them(data, annotated):
    """Each class is in two of eight images, so one of them is in each half."""
    lines = []
    for index in range(8):
        name = f"image_{index}"
        data.write(f"images/{name}.png", png(np.zeros((8, 8), int)))
        label = 1 + index // 2
        data.write(f"labels/{name}.png", png(np.full((8, 8), label)))
        data.write(f"yolo/{name}.txt", f"{label} 0 0 1 0 1 1 0 1".encode())
        lines.append(label)
    names = "--class_names=background,a,b,c,d"
    source = (
        f"--annotations={data.folder}/yolo" if annotated else f"--label_folder={data.folder}/labels"
    )
    data.convert(
        source, names, "--image_format=png", "--split_fractions=train:0.5,val:0.5", "--seed=3"
    )
    for split in ("train", "val"):
        found = [int(label[4, 4]) for label in data.labels(split).values()]
        assert sorted(found) == [1, 2, 3, 4]


def test_what_is_not_annotated_yet_is_left_out_of_a_division(data, caplog):
    data.write("images/c.jpg", jpeg(_HEIGHT, _WIDTH))
    document = _coco((5, [_box(0, 0, 9, 9)], {}))
    data.write("c.json", document)
    arguments = ("--split_fractions=train:0.5,val:0.5",)
    descriptor = data.convert(f"--annotations={data.folder}/c.json", *arguments)
    assert descriptor.splits_to_sizes == {"train": 1, "val": 1}
    assert "1 of the 3 images in" in caplog.text and "/images/c.jpg" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--label_folder=x",), "stands in place of --label_folder: leave one of the two out"),
        (("--num_classes=2",), "--num_classes is for label files without names"),
        (("--threshold=3",), "--threshold: .*c.json has no masks of gray values"),
        (("--nearest_color=3",), "--nearest_color: .*c.json has no masks of colors"),
        (
            ("--nobackground", "--class_map=car:ignore"),
            r"there is 1 class \(roof\); there must be 2 to 256: change --background or",
        ),
        (("--group_by=x",), "--group_by needs --split_fractions"),
        (("--split_fractions=train:1",), "set one of them"),
    ],
)
def test_flags_that_do_not_fit_are_named(data, arguments, message):
    data.write("c.json", _coco((5, [_box(0, 0, 9, 9)], {})))
    with pytest.raises(ValueError, match=message):
        data.convert(f"--annotations={data.folder}/c.json", "--split=all=*", *arguments)


def test_a_region_that_cannot_be_drawn_is_named(data):
    data.write("c.json", _coco((5, {"size": [_HEIGHT, _WIDTH], "counts": [3]}, {})))
    with pytest.raises(ValueError, match=r"c.json: annotations\[0\] has 3 pixels; 30x20"):
        data.convert(f"--annotations={data.folder}/c.json", "--split=all=a*")


def test_annotations_of_another_size_are_named(data):
    data.write("images/a.jpg", jpeg(8, 9))
    document = _coco()
    document["images"][1]["height"] = 10**12
    data.write("c.json", document)
    for name, size in (("a", "30x20"), ("b", "30x1000000000000")):
        message = rf"c.json: images\[.\] is for an image of {size} pixels .*; its image has"
        with pytest.raises(ValueError, match=message):
            data.convert(f"--annotations={data.folder}/c.json", f"--split=all={name}*")
