import pytest

_YAML = """# A comment
path: data  # root
train: images/train
val: images/val
names:
  0: road
  1: roof
"""


@pytest.fixture
def data(project):
    """Images of two splits, masks and polygons."""
    for name in ("train/a", "train/b", "val/c"):
        project.write(f"data/images/{name}.jpg", b"")
        project.write(f"data/masks/{name}.png", b"")
    project.write("data/labels/train/a.txt", "1 0 0 1 0 0 1\n")
    return project


def _names(paths):
    return [path.rpartition("/")[2] for path in paths]


def test_masks_lie_where_masks_dir_replaces_images(data):
    data.write("d.yaml", _YAML + "masks_dir: masks\n")
    annotations = data.read("d.yaml")
    assert annotations.class_names == ("road", "roof")
    assert annotations.mask_values == {0: "road", 1: "roof"}
    splits = {split: _names(paths) for split, paths in annotations.splits.items()}
    assert splits == {"train": ["a.jpg", "b.jpg"], "val": ["c.jpg"]}
    assert annotations.images[0].mask == str(data.folder / "data/masks/train/a.png")
    (data.folder / "data/masks/val/c.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"masks/val/c.png not found, the mask of .*c.jpg"):
        data.read("d.yaml")


def test_without_masks_dir_labels_are_polygons(data):
    data.write("d.yaml", _YAML)
    annotations = data.read("d.yaml")
    assert [len(image.regions) for image in annotations.images] == [1, 0, 0]
    assert annotations.images[0].regions[0].name == "roof"
    assert annotations.others_are_background


def test_a_split_may_be_a_list_of_images_or_several_folders(data):
    data.write("data/val.txt", "./images/val/c.jpg\nimages/train/a.jpg\n")
    text = _YAML.replace("images/val", "val.txt").replace(
        "train: images/train", "train: [images/train, images/val]"
    )
    data.write("d.yaml", text)
    splits = data.read("d.yaml").splits
    assert _names(splits["val"]) == ["c.jpg", "a.jpg"]
    assert _names(splits["train"]) == ["a.jpg", "b.jpg", "c.jpg"]


def test_a_list_may_name_images_from_its_own_folder(data):
    data.write("data/lists/val.txt", "./../images/val/c.jpg\nimages/train/a.jpg\n")
    data.write("d.yaml", _YAML.replace("images/val", "lists/val.txt"))
    assert _names(data.read("d.yaml").splits["val"]) == ["c.jpg", "a.jpg"]


def test_paths_may_be_those_of_windows(data):
    data.write("data/val.txt", "images\\val\\c.jpg\r\n.\\images\\train\\a.jpg\r\n")
    text = _YAML.replace("images/val", "val.txt").replace("images/train", "images\\train")
    data.write("d.yaml", text)
    splits = data.read("d.yaml").splits
    assert _names(splits["val"]) == ["c.jpg", "a.jpg"]
    assert _names(splits["train"]) == ["a.jpg", "b.jpg"]


def test_numbers_of_names_may_be_texts(data):
    data.write("d.yaml", _YAML.replace("0: road", "'0': road").replace("1: roof", "'1': roof"))
    assert data.read("d.yaml").class_names == ("road", "roof")


def test_names_may_be_a_list_and_the_path_may_be_elsewhere(data):
    text = _YAML.replace("path: data", "path: /datasets/nowhere")
    data.write("data/d.yaml", text.partition("names")[0] + "names: [road, roof]\n")
    assert data.read("data/d.yaml").class_names == ("road", "roof")


def test_paths_may_begin_beside_the_folder_of_the_file(project):
    """The form of Roboflow."""
    for split, name in (("train", "a"), ("valid", "b")):
        project.write(f"data/{split}/images/{name}.jpg", b"")
        project.write(f"data/{split}/labels/{name}.txt", "0 0 0 1 0 0 1\n")
    project.write(
        "data/data.yaml",
        "train: ../train/images\nval: ../valid/images\n\nnc: 2\nnames: ['road', 'roof']\n",
    )
    annotations = project.read("data/data.yaml")
    splits = {split: _names(paths) for split, paths in annotations.splits.items()}
    assert splits == {"train": ["a.jpg"], "val": ["b.jpg"]}
    assert [len(image.regions) for image in annotations.images] == [1, 1]


def test_label_files_may_lie_beside_the_images(project):
    for split, name in (("train", "a"), ("val", "b")):
        project.write(f"data/{split}/{name}.jpg", b"")
        project.write(f"data/{split}/{name}.txt", "0 0 0 1 0 0 1\n")
    project.write("data/data.yaml", "train: train\nval: val\nnames: [road, roof]\n")
    annotations = project.read("data/data.yaml")
    assert [len(image.regions) for image in annotations.images] == [1, 1]


def test_a_dataset_without_any_label_file_is_refused(data):
    """All of it would be background."""
    (data.folder / "data/labels/train/a.txt").unlink()
    data.write("d.yaml", _YAML)
    with pytest.raises(FileNotFoundError, match="none of the 3 images .* such as .*/train/a.txt"):
        data.read("d.yaml")


@pytest.mark.parametrize("folder", ["masks/", "./masks", "{}/data/masks"])
def test_masks_may_lie_anywhere(data, folder):
    data.write("d.yaml", f"{_YAML}masks_dir: {folder.format(data.folder)}\n")
    masks = [image.mask for image in data.read("d.yaml").images]
    names = ("train/a", "train/b", "val/c")
    assert masks == [str(data.folder / f"data/masks/{name}.png") for name in names]


def test_one_name_is_that_of_the_value_1(data):
    data.write("d.yaml", _YAML.partition("names")[0] + "names: [crack]\nmasks_dir: masks\n")
    annotations = data.read("d.yaml")
    assert annotations.class_names == ("background", "crack")
    assert annotations.mask_values == {0: "background", 1: "crack"}


def test_values_of_masks_may_be_mapped(data):
    data.write(
        "d.yaml",
        f"{_YAML}masks_dir: masks\nlabel_mapping: {{-1: ignore_label, 0: 255, 7: 0, 70000: 1}}\n",
    )
    assert data.read("d.yaml").mask_values == {0: "ignore", 1: "roof", 7: "road"}
    for mapping in ("{7: 2}", "{x: 0}", "{7: [0]}", "{7: -1}"):
        data.write("d.yaml", f"{_YAML}masks_dir: masks\nlabel_mapping: {mapping}\n")
        with pytest.raises(ValueError, match="label_mapping has .*; it maps values to numbers"):
            data.read("d.yaml")


def test_the_split_val_has_another_name_and_that_of_test_may_be_missing(data, caplog):
    data.write("d.yaml", _YAML.replace("val:", "test: images/test\nvalidation:"))
    assert list(data.read("d.yaml").splits) == ["train", "val"]
    assert "d.yaml: test is left out, there is no images/test" in caplog.text


# Each list is nine times the one before.
_LAUGHS = (
    "[&a0 [x], " + ", ".join(f"&a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)) + "]"
)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("path: data", "path: 3", "path is 3; it must be the path of a folder"),
        ("images/val", "images/test", "val is 'images/test', and there is no .*data/images/test"),
        ("images/val", "3", "val is 3; it must be a folder"),
        ("  1: roof", "  2: roof", "names must be numbered 0, 1, 2"),
        ("  1: roof", "  1:", "names has None, which is not a name"),
        ("  1: roof", "  1: road", "names has a name twice"),
        ("names:", "names: [", "d.yaml is not YAML"),
        ("  1: roof", "  1: 2024-13-45", "d.yaml is not YAML: month must be"),
        ("  1: roof", "  1: " + "9" * 5000, "d.yaml is not YAML: Exceeds the limit"),
        ("  1: roof", "  ? '" + "9" * 5000 + "'\n  : roof", "names must be numbered 0, 1, 2"),
        ("  1: roof", "  1: " + "[" * 5000, "d.yaml is not usable: .* nested too deeply"),
        ("  1: roof", "  1: &a [*a]", "d.yaml is not usable: it has more than 1000000 values"),
        ("  1: roof", f"  1: {_LAUGHS}", "d.yaml is not usable: it has more than 1000000 values"),
        ("train: images/train\nval: images/val\n", "", "has no images: train, val and test"),
    ],
)
def test_a_malformed_file_is_named(data, old, new, message):
    data.write("d.yaml", _YAML.replace(old, new))
    with pytest.raises((ValueError, FileNotFoundError), match=rf"d.yaml.*{message}|{message}"):
        data.read("d.yaml")
