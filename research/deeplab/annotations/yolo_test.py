import numpy as np
import pytest

from deeplab.annotations.conftest import drawn

_NAMES = ("roof", "car")


@pytest.fixture
def read(project):
    project.images("train/a.jpg", "b.jpg")

    def read(text, names=_NAMES):
        project.write("labels/train/a.txt", text)
        return project.read("labels", class_names=names)

    return read


def test_coordinates_are_parts_of_width_and_height(read, project):
    annotations = read("1 0.25 0.5 0.75 0.5 0.75 1.0 0.25 1.0\n0 0 0 1 0 0 1\n\n")
    (image,) = annotations.images
    assert image.image == str(project.folder / "images/train/a.jpg")
    assert [region.name for region in image.regions] == ["car", "roof"]
    mask = np.zeros((6, 8), bool)
    mask[3:, 2:6] = True
    np.testing.assert_array_equal(drawn(image.regions[0], 6, 8), mask)
    assert annotations.smaller_on_top
    assert annotations.others_are_background


def test_numbers_begin_after_a_first_name_background(read):
    (image,) = read("1 0 0 1 0 0 1", ("background", "roof")).images
    assert image.regions[0].name == "roof"
    with pytest.raises(ValueError, match=r"line 1 has the class 0; known are 1 to 1 \(roof\)"):
        read("0 0 0 1 0 0 1", ("background", "roof"))


def test_names_may_lie_beside_the_files(read, project):
    project.write("labels/classes.txt", "roof\ncar\n")
    assert read("0 0 0 1 0 0 1", None).class_names == _NAMES
    (project.folder / "labels/classes.txt").rename(project.folder / "classes.txt")
    assert read("0 0 0 1 0 0 1", None).class_names == _NAMES
    (project.folder / "classes.txt").unlink()
    with pytest.raises(ValueError, match="no classes.txt with their names: set --class_names"):
        read("0 0 0 1 0 0 1", None)


def test_names_beside_the_files_number_the_classes_and_others_only_order_them(read, project):
    path = project.write("labels/classes.txt", "roof\ncar\n")
    annotations = read("1 0 0 1 0 0 1", ("background", "car", "roof"))
    assert annotations.images[0].regions[0].name == "car"
    assert annotations.class_names == _NAMES
    project.write("labels/classes.txt", "roof\nroof\n")
    with pytest.raises(ValueError, match=rf"{path} has a name twice: \['roof', 'roof'\]"):
        read("1 0 0 1 0 0 1")


def test_other_texts_in_the_folder_are_no_labels(read, project):
    for name in ("README.roboflow.txt", "ReadMe.txt", "train.txt", "classes.txt"):
        project.write(f"labels/{name}", "roof\ncar")
    assert len(read("0 0 0 1 0 0 1").images) == 1


def test_white_space_and_blank_lines_do_not_count(read):
    (image,) = read("\ufeff0 0 0 1 0 0 1  \r\n\r\n \t1\t0 0 1 0 0 1 \r\n").images
    assert [region.name for region in image.regions] == ["roof", "car"]
    assert read(" \n").images[0].regions == ()


def test_a_polygon_may_reach_a_little_beyond_the_image(read):
    (image,) = read("0 -0.1 -0.1 1.2 -0.1 1.2 1.2 -0.1 1.2").images
    assert drawn(image.regions[0], 6, 8).all()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 0 0 1 0 0 1", r"has the class 2; known are 0 to 1 \(roof, car\)"),
        ("0.5 0 0 1 0 0 1", "has the class 0.5"),
        ("roof 0 0 1 0 0 1", "is 'roof 0 0 1 0 0 1'; it must be numbers: class x1 y1"),
        ("0 0.5 0.5 0.2 0.2", "is a box"),
        ("0 0 0 1 0 0", "has 5 numbers"),
        ("0", "has 0 points; it takes at least 3"),
        ("0 0 0 100 0 0 100", "has the coordinate 100; coordinates are parts"),
        ("0 0 0 nan 0 0 1", "has the coordinate nan at position 2"),
    ],
)
def test_a_malformed_line_is_named(read, line, message):
    with pytest.raises(ValueError, match=rf"a.txt, line 2 {message}"):
        read(f"0 0 0 1 0 0 1\n{line}\n")


def test_a_file_without_image_is_named(read, project):
    project.write("labels/c.txt", "0 0 0 1 0 0 1")
    with pytest.raises(FileNotFoundError, match="c.txt names the image 'c', which is not in"):
        read("")
