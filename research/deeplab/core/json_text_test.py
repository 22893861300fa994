import pytest

from deeplab.core import json_text


def test_values():
    assert json_text.parse('{"a": [1, "ö"]}', "x") == {"a": [1, "ö"]}
    assert json_text.parse('\ufeff{"a": 1}'.encode(), "x") == {"a": 1}


@pytest.mark.parametrize(
    "text", ["", "{", "[1,]", b"\xff\xfe", b"\x00\x01", '"\\ud800', "1" * 10_000]
)
def test_what_is_no_json_names_its_source(text):
    with pytest.raises(ValueError, match=r"^a/b\.json is not JSON: \S"):
        json_text.parse(text, "a/b.json")


@pytest.mark.parametrize("text", ['{"a": 1, "b": 2, "a": 1}', '[{"x": {"a": [], "a": []}}]'])
def test_a_field_that_is_there_twice_is_named(text):
    with pytest.raises(ValueError, match=r"^a/b\.json is not usable: .* the field 'a' twice$"):
        json_text.parse(text, "a/b.json")


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_deep_nesting_names_its_source(opening):
    with pytest.raises(ValueError, match=r"^a/b\.json is not usable: .* nested too deeply"):
        json_text.parse(opening * 200_000, "a/b.json")
