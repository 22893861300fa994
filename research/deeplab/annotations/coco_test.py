import numpy as np
import pytest

from deeplab.annotations.conftest import drawn

_CATEGORIES = [
    {"id": 3, "name": "roof", "supercategory": "building"},
    {"id": 1, "name": "car", "supercategory": "vehicle"},
]


def _document(*annotations):
    images = [
        {"id": 7, "file_name": "a.jpg", "height": 6, "width": 8, "license": 1},
        {"id": 9, "file_name": "b.jpg", "height": 6, "width": 8},
    ]
    numbered = [{"id": i, "image_id": 7, **item} for i, item in enumerate(annotations)]
    return {
        "info": {"year": 2017},
        "licenses": [],
        "images": images,
        "annotations": numbered,
        "categories": _CATEGORIES,
    }


def _polygon(*numbers, **more):
    return {
        "category_id": 3,
        "segmentation": [list(numbers)],
        "area": 1.0,
        "bbox": [0, 0, 1, 1],
        "iscrowd": 0,
        **more,
    }


@pytest.fixture
def read(project):
    """Reads a COCO file with some annotations of the image a."""
    project.images("a.jpg", "b.jpg")

    def read(*annotations, **changes):
        project.write("instances.json", {**_document(*annotations), **changes})
        return project.read("instances.json")

    return read


def test_polygons_and_run_lengths_are_read_with_the_classes_in_the_order_of_the_file(read):
    rectangle = np.zeros((6, 8), bool)
    rectangle[1:4, 2:7] = True
    column = np.zeros((6, 8), bool)
    column[:, 1] = True
    annotations = read(
        _polygon(2, 1, 7, 1, 7, 4, 2, 4),
        {"category_id": 1, "segmentation": {"size": [6, 8], "counts": [6, 6, 36]}},
        {"category_id": 1, "segmentation": {"size": [6, 8], "counts": "66T1"}, "iscrowd": 1},
    )
    assert annotations.class_names == ("roof", "car")
    assert annotations.smaller_on_top
    first, second = annotations.images
    assert [region.name for region in first.regions] == ["roof", "car", "ignore"]
    for region, mask in zip(first.regions, (rectangle, column, column), strict=True):
        np.testing.assert_array_equal(drawn(region, 6, 8), mask)
    assert (second.size, second.regions) == ((6, 8), ())


def test_many_crowds_are_logged(read, caplog):
    """Some tools write iscrowd for every mask."""
    crowd = _polygon(2, 1, 7, 1, 7, 4, iscrowd=1)
    read(crowd, _polygon(2, 1, 7, 1, 7, 4), _polygon(2, 1, 7, 1, 7, 4))
    assert not caplog.text
    read(crowd, crowd, _polygon(2, 1, 7, 1, 7, 4))
    assert "2 of 3 regions are crowds, whose pixels are ignored, the first is" in caplog.text


def test_numbers_may_have_a_decimal_point(read):
    """As of a table with missing values."""
    (first, _) = read(_polygon(2, 1, 7, 1, 7, 4, image_id=7.0, category_id=1.0)).images
    assert [region.name for region in first.regions] == ["car"]


def test_the_panoptic_form_is_named(read):
    segment = {"id": 5, "category_id": 3, "iscrowd": 0, "bbox": [0, 0, 1, 1], "area": 1}
    with pytest.raises(ValueError, match=r"annotations\[0\] has segments_info: .* panoptic form"):
        read({"file_name": "a.png", "segments_info": [segment]})


def test_an_annotation_without_segment_is_left_out_and_logged(read, caplog):
    (first, _) = read(_polygon(2, 1, 7, 1, 7, 4), {"category_id": 1, "segmentation": []}).images
    assert len(first.regions) == 1
    assert r"1 of 2 annotations has no segmentation" in caplog.text
    with pytest.raises(ValueError, match="instances.json has no segmentation, only boxes"):
        read({"category_id": 1, "segmentation": [], "bbox": [1, 2, 3, 4]})


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (_polygon(1, 2, 3, 4), r"annotations\[0\].segmentation\[0\] has 2 points; .* at least 3"),
        (_polygon(1, 2, 3, 4, 5), r"annotations\[0\].segmentation\[0\] has 5 numbers"),
        (_polygon(1, 2, 3, 4, 5, "6"), r"segmentation\[0\] has the coordinate '6' at position 5"),
        (_polygon(1, 2, 3, 4, 5, 1e9), r"segmentation\[0\] has the coordinate 1000000000.0"),
        (_polygon(category_id=2), r"annotations\[0\] has the category_id 2, which no category has"),
        (_polygon(category_id=None), r"annotations\[0\] has no category_id"),
        (_polygon(image_id=1), r"annotations\[0\] has the image_id 1, which no image has"),
        (
            _polygon(0, 0, 9, 0, 9, 9, iscrowd="no"),
            r"annotations\[0\].iscrowd is 'no'; it must be 0 or 1",
        ),
        ({"category_id": 3, "segmentation": 3}, r"annotations\[0\].segmentation is 3"),
        ({"category_id": 3, "segmentation": [3]}, r"annotations\[0\].segmentation\[0\] is 3"),
        (
            {"category_id": 3, "segmentation": {"size": [8, 6], "counts": [48]}},
            r"annotations\[0\].segmentation.size is \[8, 6\] \(height, width\); .* \[6, 8\]",
        ),
        (
            {"category_id": 3, "segmentation": {"size": [6, 8], "counts": [1.5]}},
            r"annotations\[0\].segmentation.counts is \[1.5\]",
        ),
    ],
)
def test_a_malformed_annotation_is_named(read, annotation, message):
    with pytest.raises(ValueError, match=rf"instances.json: .*{message}"):
        read(annotation)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": {}}, "instances.json: images is {}; it must be a list"),
        ({"images": [3]}, r"instances.json: images\[0\] is 3; it must be an object"),
        ({"annotations": None}, "instances.json has no annotations"),
        ({"categories": []}, "instances.json has no categories"),
        ({"categories": _CATEGORIES[:1] * 2}, r"categories\[1\] has the id 3 of another"),
        (
            {"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]},
            r"categories\[1\] has the name 'a' of another",
        ),
        (
            {"images": [{"id": 1, "file_name": "a.jpg", "height": 0, "width": 8}]},
            r"images\[0\].height is 0; it must be an integer of at least 1",
        ),
        (
            {
                "images": [
                    {"id": i, "file_name": name, "height": 6, "width": 8}
                    for i, name in enumerate(("a.jpg", "x/a.jpg"))
                ]
            },
            r"images\[1\] is the image .*/a.jpg of .*images\[0\], too",
        ),
    ],
)
def test_a_malformed_file_is_named(read, changes, message):
    with pytest.raises(ValueError, match=message):
        read(**changes)


def test_a_missing_image_is_named(read):
    images = [{"id": 1, "file_name": "c.jpg", "height": 6, "width": 8}]
    with pytest.raises(
        FileNotFoundError, match=r"images\[0\] names the image 'c.jpg'.* \(2 images"
    ):
        read(images=images)
