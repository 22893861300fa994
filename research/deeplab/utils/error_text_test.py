"""Messages of errors are one line, whatever the names of files in them."""

import pytest

from deeplab.utils import error_text


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
