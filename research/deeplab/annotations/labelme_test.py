import base64

import numpy as np
import pytest

from deeplab.annotations.conftest import drawn
from deeplab.datasets.conftest import png


def _shape(kind, points, label="roof", **more):
    return {
        "label": label,
        "points": points,
        "group_id": None,
        "description": "",
        "shape_type": kind,
        "flags": {},
        "mask": None,
        **more,
    }


def _document(*shapes, **changes):
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": list(shapes),
        "imagePath": "a.jpg",
        "imageData": None,
        "imageHeight": 20,
        "imageWidth": 24,
        **changes,
    }


def _mask(*boxes):
    mask = np.zeros((20, 24), bool)
    for rows, columns in boxes:
        mask[rows, columns] = True
    return mask


def _encoded(values):
    return base64.b64encode(png(np.array(values))).decode()


@pytest.fixture
def read(project):
    project.images("a.jpg")

    def read(*shapes, **changes):
        project.write("labels/a.json", _document(*shapes, **changes))
        (image,) = project.read("labels").images
        return image

    return read


_CIRCLE = [[(x + 0.5 - 12) ** 2 + (y + 0.5 - 9) ** 2 <= 25 for x in range(24)] for y in range(20)]


@pytest.mark.parametrize(
    ("shape", "mask"),
    [
        (_shape("polygon", [[2, 3], [9, 3], [9, 8], [2, 8]]), _mask(np.s_[3:8, 2:9])),
        (_shape("rectangle", [[9.0, 8.0], [2.0, 3.0]]), _mask(np.s_[3:8, 2:9])),
        (_shape("rectangle", [[-5, -5], [3, 40]]), _mask(np.s_[:, :3])),
        (
            _shape("oriented_rectangle", [[2, 3], [9, 3], [9, 8], [2, 8]]),
            _mask(np.s_[3:8, 2:9]),
        ),
        # X-AnyLabeling writes all corners.
        (_shape("rectangle", [[2, 3], [9, 3], [9, 8], [2, 8]]), _mask(np.s_[3:8, 2:9])),
        (_shape("rotation", [[2, 3], [9, 3], [9, 8], [2, 8]]), _mask(np.s_[3:8, 2:9])),
        (_shape("circle", [[12, 9], [15, 13]]), np.array(_CIRCLE)),
        # A click without a motion.
        (_shape("circle", [[12, 9], [12, 9]]), _mask()),
        (_shape("line", [[4, 10], [20, 10]]), _mask(np.s_[5:15, 4:20])),
        (
            _shape("linestrip", [[6, 5], [18, 5], [18, 20]]),
            _mask(np.s_[:10, 6:18], np.s_[5:, 13:23]),
        ),
        (
            # Points are the first and the last pixel; any value but 0 counts.
            _shape("mask", [[4.0, 5.0], [6.0, 6.0]], mask=_encoded([[1, 0, 255], [0, 7, 0]])),
            _mask(np.s_[5, 4], np.s_[5, 6], np.s_[6, 5]),
        ),
        (
            # Moved, so that its edges, rounded one by one, are not as far apart as before.
            _shape("mask", [[0.5, 1.5], [1.5, 2.5]], mask=_encoded([[1, 1], [0, 1]])),
            _mask(np.s_[2, :2], np.s_[3, 1]),
        ),
        (
            _shape("mask", [[-1, 18], [1, 20]], mask=_encoded(np.ones((3, 3), int))),
            _mask(np.s_[18:, :2]),
        ),
    ],
)
def test_shapes_cover_their_pixels(read, shape, mask):
    (region,) = read(shape).regions
    assert region.name == "roof"
    np.testing.assert_array_equal(drawn(region, 20, 24), mask)


def test_names_of_ignored_pixels_and_of_the_background_are_known(read):
    points = [[0, 0], [9, 0], [9, 9]]
    names = ("__ignore__", "_background_", "roof")
    image = read(*(_shape("polygon", points, name) for name in names))
    assert [region.name for region in image.regions] == ["ignore", "background", "roof"]
    assert image.size == (20, 24)


def test_the_first_versions_did_not_name_the_shape(read):
    shape = {"label": "roof", "points": [[0, 0], [9, 0], [9, 9]], "line_color": None}
    (region,) = read(shape, imageHeight=None, imageWidth=None).regions
    assert drawn(region, 20, 24).any()


@pytest.mark.parametrize("path", ["a.jpg", "../images/a.jpg", "..\\images\\a.jpg", "D:\\x\\a.jpg"])
def test_the_image_is_found_by_the_last_part_of_its_path(read, project, path):
    assert read(imagePath=path).image == str(project.folder / "images/a.jpg")


def test_images_of_one_name_are_told_by_the_folder_of_the_file(project):
    project.images("x/a.jpg", "y/a.jpg", "z/b.jpg")
    for folder in ("x", "y"):
        project.write(f"labels/{folder}/1.json", _document())
    images = project.read("labels").images
    assert [image.image[-8:] for image in images] == ["/x/a.jpg", "/y/a.jpg"]


def test_two_files_about_one_image_are_refused(read, project):
    project.write("labels/b.json", _document())
    with pytest.raises(ValueError, match="b.json and .*a.json are both about the image .*a.jpg"):
        read()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (7, " is 7; it must be an object"),
        (_shape("polygon", [[0, 0], [9, 0]]), ".points has 2 points; it takes at least 3"),
        (
            _shape("polygon", [0, 0, 9, 0]),
            r".points is \[0, 0, 9, 0\]; it must be a list of points",
        ),
        (_shape("polygon", [[0, None]] * 3), ".points has the coordinate None at position 1"),
        (_shape("rectangle", [[0, 0]] * 3), ".points has 3 points; a rectangle has two"),
        (_shape("point", [[0, 0]]), ".shape_type is 'point'; known are polygon, rectangle"),
        (_shape("polygon", [[0, 0]] * 3, label=""), ".label is ''; it must be a string"),
        (_shape("polygon", [[0, 0]] * 3, label=None), " has no label"),
        (_shape("mask", [[0, 0], [1, 1]]), " has no mask"),
    ],
)
def test_a_malformed_shape_is_named(read, shape, message):
    with pytest.raises(ValueError, match=rf"a.json: shapes\[0\]{message}"):
        read(shape)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("?", "has a mask that is not base64"),
        ("AAAA", "has a mask that is a broken PNG file"),
        (_encoded([[1]]), "has a mask of 1x1 pixels .*, which are inclusive, span 2x2"),
    ],
)
def test_a_broken_mask_is_refused_when_it_is_drawn(read, mask, message):
    (region,) = read(_shape("mask", [[0, 0], [1, 1]], mask=mask)).regions
    with pytest.raises(ValueError, match=message):
        drawn(region, 20, 24)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"imagePath": None}, "a.json has no imagePath"),
        ({"imagePath": "x/"}, "a.json: imagePath is 'x/'"),
        ({"shapes": None}, "a.json has no shapes"),
        ({"imageHeight": "3"}, "a.json: imageHeight is '3'"),
    ],
)
def test_a_malformed_file_is_named(read, changes, message):
    with pytest.raises(ValueError, match=message):
        read(**changes)
