"""The text form of protocol buffers, as configuration files have it."""

import pytest

from deeplab.export import server_files
from deeplab.serving import text_messages


def test_fields_messages_lists_and_comments_are_read():
    text = """
    # The models.
    model_config_list: {
      config { name: "a" base_path: '/models/a', model_platform: "tensor" "flow" }
      config <
        name: "b"  # The second one.
        model_version_policy { specific { versions: 1 versions: 3 } }
      >
    }
    allowed_batch_sizes: [1, 2.5, -4, 0x1F]; enable: true kind: SOME_NAME
    """
    found = text_messages.parse(text)
    (models,) = found["model_config_list"]
    first, second = models["config"]
    assert first == {"name": ["a"], "base_path": ["/models/a"], "model_platform": ["tensorflow"]}
    assert second["model_version_policy"] == [{"specific": [{"versions": [1, 3]}]}]
    assert found["allowed_batch_sizes"] == [1, 2.5, -4, 31]
    assert (found["enable"], found["kind"]) == ([True], ["SOME_NAME"])


def test_the_files_of_an_export_are_read(tmp_path):
    server_files.write(str(tmp_path), "pascal")
    found = text_messages.parse((tmp_path / server_files.MODELS_FILE).read_text())
    assert found["model_config_list"][0]["config"][0]["name"] == ["pascal"]


def test_letters_that_are_escaped_are_read():
    text = r"""a: "x\"y\\z\n\303\244" 'b\'c' d { e: "\x41\101" }"""
    assert text_messages.parse(text) == {"a": ["x\"y\\z\näb'c"], "d": [{"e": ["AA"]}]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a {\n b: 1\n", "line 3: the end in place of the name"),
        ("a: {\n b: }", "line 2: } in place of a value"),
        ("a 1", "line 1: 1 in place of a value"),
        ("a: 'b\n", "line 1: it cannot be read"),
        ("a: [1, 2", "in place of a value"),
        ("a {" * 5000, "nested too deeply"),
        ("}", "line 1: } in place of the name"),
    ],
)
def test_what_is_not_a_message_is_named_with_its_line(text, message):
    with pytest.raises(ValueError, match=message):
        text_messages.parse(text)
