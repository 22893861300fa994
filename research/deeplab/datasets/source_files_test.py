import codecs
import os
import unicodedata

import pytest

from deeplab.annotations import lists
from deeplab.datasets import source_files


def _texts(folder):
    lists = source_files.read_lists(str(folder))
    return {split: [line.text for line in lines] for split, lines in lists.items()}


def test_lists_are_read_as_they_come(tmp_path):
    (tmp_path / "train.txt").write_bytes(b"b\r\n a \n\nc")
    (tmp_path / "notes.md").write_text("no list")
    (tmp_path / ".hidden.txt").write_text("no list")
    assert _texts(tmp_path) == {"train": ["b", "a", "c"]}
    (*_, last) = source_files.read_lists(str(tmp_path))["train"]
    assert last.place == f"{tmp_path}/train.txt, line 4"


@pytest.mark.parametrize(
    "name",
    [
        "a b",
        "a, b",
        "a (1)",
        "v1.2",
        "фото",
        "写真 1",
        "a\x85b",
        "a\u2028b",
        "\u2028a\u3000",
        "#a",
        "'a'",
    ],
)
def test_names_may_have_any_characters(tmp_path, name):
    (tmp_path / "train.txt").write_text(f"{name}\nsecond\n", encoding="utf-8", newline="")
    assert _texts(tmp_path) == {"train": [name, "second"]}


def test_a_byte_order_mark_is_skipped(tmp_path):
    (tmp_path / "train.txt").write_bytes(codecs.BOM_UTF8 + b"a\nb\n")
    assert _texts(tmp_path) == {"train": ["a", "b"]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("a\nb\n".encode("utf-16"), "train.txt, line 1: the file is UTF-16; save it as UTF-8"),
        ("a\nb\n".encode("utf-32"), "train.txt, line 1: the file is UTF-32; save it as UTF-8"),
        ("a\nb\n".encode("utf-16-le"), "train.txt, line 1: this is not UTF-8 text"),
        ("a\r\nb\ngr\xfcn\n".encode("latin-1"), "train.txt, line 3: this is not UTF-8 text"),
        ("写真\n".encode("shift-jis"), "train.txt, line 1: this is not UTF-8 text"),
        (b"a\nb\0", "train.txt, line 2: this is not UTF-8 text; save the file as UTF-8"),
    ],
)
def test_another_encoding_is_named_with_list_and_line(tmp_path, data, message):
    (tmp_path / "train.txt").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        source_files.read_lists(str(tmp_path))


def test_repeated_lines_are_kept_and_logged(tmp_path, caplog):
    (tmp_path / "train.txt").write_text("a\nb\na\na\n")
    assert _texts(tmp_path) == {"train": ["a", "b", "a", "a"]}
    assert "train.txt: 1 name is repeated, such as 'a'" in caplog.text
    assert "4 records of 2 images" in caplog.text


def test_a_list_that_cannot_be_read_is_not_passed_over(tmp_path):
    """Otherwise its split would be missing without a word."""
    (tmp_path / "val.txt").write_text("a\n")
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "train.txt").symlink_to("train.txt")
    with pytest.raises(ValueError, match=f"{tmp_path}/train.txt is a link that leads to no file"):
        source_files.read_lists(str(tmp_path))
    (tmp_path / "train.txt").unlink()
    os.mkfifo(tmp_path / "train.txt")
    with pytest.raises(OSError, match=f"{tmp_path}/train.txt is a named pipe"):
        source_files.read_lists(str(tmp_path))


def test_the_extension_may_be_in_upper_case_but_a_split_has_one_list(tmp_path):
    (tmp_path / "val.TXT").write_text("a\n")
    assert _texts(tmp_path) == {"val": ["a"]}
    (tmp_path / "val.txt").write_text("a\n")
    with pytest.raises(ValueError, match="val.txt is one of two lists of the split val"):
        source_files.read_lists(str(tmp_path))


def test_a_folder_without_lists_is_an_error(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match=r"no list \(\*.txt\) in .*--list_folder"):
            source_files.read_lists(str(folder))


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "data" / "images"
    for name in ("a.jpg", "b/c.JPG", "v1.2.jpg", "x y.jpg", "e.jpg.jpg", "e.jpg", "images/a.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return source_files.ImageFolder(str(folder), [".jpg", ".png"])


@pytest.mark.parametrize(
    ("listed", "name", "file"),
    [
        ("a", "a", "a.jpg"),
        ("b/c", "b/c", "b/c.JPG"),
        ("v1.2", "v1.2", "v1.2.jpg"),
        ("x y", "x y", "x y.jpg"),
        ("./a", "a", "a.jpg"),
        ("a.jpg", "a", "a.jpg"),
        ("b/c.JPG", "b/c", "b/c.JPG"),
        ("b\\c", "b/c", "b/c.JPG"),
        ("b\\c.JPG", "b/c", "b/c.JPG"),
        ("data/images/a", "a", "a.jpg"),
        ("images/b/c.JPG", "b/c", "b/c.JPG"),
        ("images\\b\\c.JPG", "b/c", "b/c.JPG"),
        ("/images/b/c.JPG", "b/c", "b/c.JPG"),
        ("../images/a.jpg", "a", "a.jpg"),
        # As written first.
        ("images/a", "images/a", "images/a.png"),
        ("e.jpg", "e.jpg", "e.jpg.jpg"),
    ],
)
def test_a_name_counts_as_written_and_then_without_extension_and_folder(
    images, tmp_path, listed, name, file
):
    assert images.find(listed) == (name, [str(tmp_path / "data" / "images" / file)])


@pytest.mark.parametrize(("listed", "stored"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_may_be_joined_or_taken_apart(tmp_path, listed, stored):
    path = tmp_path / f"{unicodedata.normalize(stored, 'café')}.jpg"
    path.touch()
    folder = source_files.ImageFolder(str(tmp_path), [".jpg"])
    assert folder.find(unicodedata.normalize(listed, "café")) == (path.stem, [str(path)])


def test_whole_paths_are_names(images, tmp_path):
    folder = tmp_path / "data" / "images"
    assert images.find(f"{folder}/b/c.JPG") == ("b/c", [f"{folder}/b/c.JPG"])


def test_files_that_differ_in_the_extension_are_told_by_it(images, tmp_path):
    folder = tmp_path / "data" / "images"
    (folder / "a.png").touch()
    assert images.find("a") == ("a", [f"{folder}/a.jpg", f"{folder}/a.png"])
    assert images.find("a.png") == ("a", [f"{folder}/a.png"])


@pytest.mark.parametrize(
    ("listed", "hint"),
    [
        ("elsewhere/b/c", "; there is 'b/c': remove 'elsewhere/'"),
        ("C:\\photos\\a.jpg", "; there is 'a.jpg': remove 'C:\\photos\\'"),
        (
            "/images/a.jpg /labels/a.png",
            "; a line is the name of one image: remove the other columns",
        ),
        ("nowhere", ""),
        ("images/b/d", ""),
    ],
)
def test_the_hint_says_what_to_remove(images, listed, hint):
    assert images.find(listed) == (listed, [])
    assert images.hint(listed) == hint


@pytest.mark.parametrize("split", ["../x", "a/b", "a\\b", ".x", "..", "a\nb"])
def test_some_words_cannot_name_a_split(split):
    assert lists.split_name_fault(split)


@pytest.mark.parametrize("split", ["train", "train-extra", "test.v2", "a b", "валидация"])
def test_other_words_can_name_a_split(split):
    assert not lists.split_name_fault(split)
