"""Messages of errors are one line, whatever the names of files in them."""

import pytest

from deeplab.core import error_text
from deeplab.utils import files


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("image a.jpg not found (list.txt, line 3)", "image a.jpg not found (list.txt, line 3)"),
        ("image a\x1e.jpg not found", r"image a\x1e.jpg not found"),
        ("image a\u2028b\x85.jpg not found", r"image a\u2028b\x85.jpg not found"),
        ("image фото.jpg not found", "image фото.jpg not found"),
        ("Graph execution error:\n\n  bad image [Op:DecodePng]\n", "bad image"),
        ("first\r\nsecond", "first"),
    ],
)
def test_an_error_is_one_line(text, line):
    assert error_text.one_line(ValueError(text)) == line


def test_an_error_without_a_message_has_its_name():
    assert error_text.one_line(KeyError()) == "KeyError"


def test_line_breaks_in_a_name_are_written_out(tmp_path):
    path = tmp_path / "a\nb\t.json"
    path.write_text("{")
    with pytest.raises(ValueError, match="is not JSON") as error:
        files.read_json(path)
    line = error_text.one_line(error.value)
    assert line.startswith(rf"{tmp_path}/a\nb\t.json is not JSON: ")
    assert "\n" not in line


def test_of_what_another_library_says_the_first_line_counts():
    with pytest.raises(ValueError, match="first") as error:
        raise ValueError("the first line\n" + "of many\n" * 9)
    assert error_text.one_line(error.value) == "the first line"
