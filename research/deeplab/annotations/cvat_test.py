import pytest

_LABEL_MAP = """# label:color_rgb:parts:actions
background:0,0,0::
roof:128,0,0::
a:b:0,128,0::
"""


@pytest.fixture
def data(project):
    project.images("a.jpg", "x/b.jpg")
    project.write("cvat/labelmap.txt", _LABEL_MAP)
    for name in ("a", "x/b"):
        project.write(f"cvat/SegmentationClass/{name}.png", b"")
    project.write("cvat/ImageSets/Segmentation/default.txt", "a\nx/b\n")
    return project


def test_labels_are_colors_and_lists_are_splits(data):
    annotations = data.read("cvat")
    assert annotations.class_names == ("background", "roof", "a:b")
    colors = {(0, 0, 0): "background", (128, 0, 0): "roof", (0, 128, 0): "a:b"}
    assert annotations.mask_colors == colors
    assert [image.mask[-6:] for image in annotations.images] == ["/a.png", "/b.png"]
    assert list(annotations.splits) == ["default"]


def test_black_is_the_background_and_lists_may_be_missing(data):
    data.write("cvat/labelmap.txt", "roof:128,0,0::\n")
    (data.folder / "cvat/ImageSets/Segmentation/default.txt").unlink()
    annotations = data.read("cvat")
    assert annotations.class_names == ("background", "roof")
    assert annotations.mask_colors[0, 0, 0] == "background"
    assert (len(annotations.images), annotations.splits) == (2, None)


def test_an_image_without_a_mask_is_not_labeled(data):
    data.images("c.jpg")
    data.write("cvat/ImageSets/Segmentation/default.txt", "a\nc\n")
    assert [image.mask is None for image in data.read("cvat").images] == [False, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("roof:128,0::", "line 1 is 'roof:128,0::'; it must be name:red,green,blue::"),
        ("roof:128,0,300::", "line 1 is"),
        ("roof:::", "line 1 is"),
        ("roof", "line 1 is"),
        (":1,2,3::", "line 1 is"),
        ("a:1,2,3::\na:1,2,4::", "line 2 has the name 'a' again"),
        ("a:1,2,3::\nb:1,2,3::", r"line 2 has the color \[1, 2, 3\] of 'a'"),
        ("# nothing\n", "has no labels"),
    ],
)
def test_a_malformed_label_map_is_named(data, text, message):
    data.write("cvat/labelmap.txt", text)
    with pytest.raises(ValueError, match=rf"labelmap.txt.* ?{message}"):
        data.read("cvat")


def test_missing_files_are_named(data):
    data.write("cvat/ImageSets/Segmentation/default.txt", "a\nc\n")
    with pytest.raises(FileNotFoundError, match="default.txt, line 2 names the image 'c'"):
        data.read("cvat")
    (data.folder / "cvat/labelmap.txt").unlink()
    with pytest.raises(FileNotFoundError, match="labelmap.txt not found"):
        data.read("cvat")
