import pytest

from deeplab.datasets import source_files


def test_lists_are_read_as_they_come(tmp_path):
    (tmp_path / "train.txt").write_bytes(b"b\r\n a \n\nc")
    assert source_files.read_lists(str(tmp_path)) == {"train": ["b", "a", "c"]}


def test_lists_of_paths_are_refused(tmp_path):
    (tmp_path / "train.txt").write_text("/JPEGImages/a.jpg /SegmentationClassAug/a.png\n")
    with pytest.raises(ValueError, match=r"train.txt has the line '/JPEGImages/a.jpg /Seg.*name"):
        source_files.read_lists(str(tmp_path))


def test_a_folder_without_lists_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"no list \(\*.txt\) in .*--list_folder"):
        source_files.read_lists(str(tmp_path))
