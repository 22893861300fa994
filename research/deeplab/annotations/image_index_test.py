import unicodedata

import pytest

from deeplab.annotations.image_index import ImageIndex


@pytest.fixture
def index(tmp_path):
    for name in ("a.jpg", "2024/b.JPG", "x/c.png", "y/c.png", "e.f.png", ".hidden.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / unicodedata.normalize("NFD", "fotó.png")).touch()
    return ImageIndex(str(tmp_path), (".jpg", ".png"))


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a.jpg", "a.jpg"),
        ("train2017/a.jpg", "a.jpg"),
        ("C:\\photos\\2024\\b.JPG", "2024/b.JPG"),
        ("b", "2024/b.JPG"),
        ("b.jpg", "2024/b.JPG"),
        ("x/c.png", "x/c.png"),
        ("data/y/c.png", "y/c.png"),
        ("e.f", "e.f.png"),
        ("fotó.png", unicodedata.normalize("NFD", "fotó.png")),
    ],
)
def test_an_image_is_found_by_the_parts_of_its_path_that_a_tool_kept(index, tmp_path, name, file):
    assert index.find(name) == str(tmp_path / file)


@pytest.mark.parametrize("name", ["nowhere.jpg", "", "x", ".hidden.png"])
def test_what_is_not_there_is_not_found(index, name):
    assert index.find(name) is None


@pytest.mark.parametrize("name", ["c.png", "z/c.png"])
def test_a_name_that_may_mean_several_images_is_refused(index, name):
    with pytest.raises(ValueError, match=r"place names the image .* may be .*x/c.png or .*y/c.png"):
        index.require(name, "place")


def test_a_missing_image_is_named_with_place_and_folder(index, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"place names the image 'd.jpg'.*{tmp_path}"):
        index.require("d.jpg", "place")
