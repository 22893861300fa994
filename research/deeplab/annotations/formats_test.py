import typing

import pytest

from deeplab.annotations import formats
from deeplab.datasets import custom_options

# A file or folder of each format, with as little as tells it.
_CONTENT = {
    "coco": {"x": {"images": [], "annotations": [], "categories": []}},
    "labelme": {"x/a.json": {"version": "5.5.0", "shapes": []}, "x/a.jpg": b""},
    "cvat": {"x/labelmap.txt": "roof:1,2,3::", "x/ImageSets/Segmentation/default.txt": "a"},
    "label_studio": {"x": [{"id": 1, "data": {}, "annotations": []}]},
    "yolo": {
        "x/notes.json": {"categories": []},
        "x/classes.txt": "roof",
        "x/a.txt": "0 0 0 1 0 0 1",
    },
    "ultralytics": {"x.yaml": "train: a\nnames: [roof]\n"},
    "csv": {"x": "split, Image ,label\n"},
}


def test_every_format_has_a_flag():
    assert tuple(formats.READERS) == typing.get_args(custom_options.AnnotationFormat)
    assert set(_CONTENT) == set(formats.READERS)


@pytest.mark.parametrize("name", _CONTENT)
def test_the_content_tells_the_format(project, name):
    for path, content in _CONTENT[name].items():
        project.write(path, content)
    (path,) = (
        project.folder / part for part in ("x", "x.yaml") if (project.folder / part).exists()
    )
    assert formats.detect(str(path)) == name


def test_hidden_folders_do_not_count_and_links_do(project):
    """As those of notebooks, and of datasets whose parts lie on several disks."""
    project.images("a.jpg", "b.jpg")
    shapes = [{"label": "roof", "points": [[0, 0], [9, 0], [9, 9]]}]
    for name, image in (("x/a", "a"), ("x/.ipynb_checkpoints/a-checkpoint", "a"), ("y/b", "b")):
        project.write(f"{name}.json", {"shapes": shapes, "imagePath": f"{image}.jpg"})
    (project.folder / "x/more").symlink_to(project.folder / "y")
    (project.folder / "y/back").symlink_to(project.folder / "x")
    names = [image.image.rpartition("/")[2] for image in project.read("x").images]
    assert names == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", {"images": []}, r'a.json is an object with the fields \["images"\], which is'),
        ("a.json", [1, 2], "a.json is a list of 2 items, which is neither COCO"),
        ("a.json", "{", "a.json is not JSON"),
        ("a.yaml", "train: x", "a.yaml has no names"),
        ("a.yaml", "[1]", "a.yaml is not JSON|a.yaml is a list"),
        ("a", "hello", "a is neither JSON nor YAML, .* say what it is with --annotation_format"),
        ("a", b"\xff\xfe", "a is neither JSON nor YAML"),
        ("a", "x" * 200_000, "a is neither JSON nor YAML"),
    ],
)
def test_an_unknown_file_is_named_with_what_it_holds(project, name, content, message):
    with pytest.raises(ValueError, match=message):
        formats.detect(project.write(name, content))


def test_a_folder_of_another_kind_is_named_with_what_to_give(project):
    folder = project.folder / "x"
    folder.mkdir()
    with pytest.raises(ValueError, match="x has neither labelmap.txt .CVAT. nor .json"):
        formats.detect(str(folder))
    project.write("x/data.yaml", "names: [a]")
    with pytest.raises(ValueError, match="has the file .*data.yaml: give this file"):
        formats.detect(str(folder))
    project.write("x/c.json", {"images": [], "annotations": []})
    with pytest.raises(ValueError, match="c.json has the format coco: give this file"):
        formats.detect(str(folder))


def test_a_file_in_place_of_a_folder_and_no_file_at_all_are_refused(project):
    project.write("x", "0 0 0 1 0 0 1")
    with pytest.raises(
        ValueError, match="x is a file; annotations of the format yolo are a folder"
    ):
        formats.read(formats.ReaderInput(str(project.folder / "x"), ()), "yolo")
    with pytest.raises(ValueError, match="is a folder; annotations of the format coco are a file"):
        formats.read(formats.ReaderInput(str(project.folder), ()), "coco")
    with pytest.raises(FileNotFoundError, match=r"nowhere not found \(--annotations\)"):
        formats.read(formats.ReaderInput("nowhere", ()), "coco")
